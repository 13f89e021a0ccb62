import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from rlsd_cli.data.problems import Problem, content_hash, is_held_out, problem_of, read_problems
from rlsd_cli.errors import RlsdError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def fault_of(path: Path) -> str:
    with pytest.raises(RlsdError) as caught:
        read_problems(path)
    return caught.value.message


def test_every_field_of_a_row_arrives(tmp_path: Path) -> None:
    row = {
        "id": "p1",
        "question": "q",
        "answer": "a",
        "solution": "s",
        "verifier": "exact",
        "tests": [{"args": [1], "expected": 2}],
        "entry_point": "f",
        "choices": ["x", 2],
        "ignored": 1,
    }
    (problem,) = read_problems(write(tmp_path / "p.jsonl", json.dumps(row)))
    assert problem == Problem(
        id="p1",
        fingerprint=content_hash("q x 2"),
        question="q",
        answer="a",
        solution="s",
        verifier="exact",
        tests=[{"args": [1], "expected": 2}],
        entry_point="f",
        choices=("x", "2"),
    )


def test_rows_keep_their_order_blank_lines_are_skipped_and_a_line_separator_is_text(tmp_path: Path) -> None:
    rows = [{"question": f"{n} \u2028 \u0085 \x1c", "answer": "a"} for n in range(3)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path = write(tmp_path / "p.jsonl", "", lines[0], "  ", *lines[1:], "")
    assert [problem.question for problem in read_problems(path)] == [row["question"] for row in rows]


@pytest.mark.parametrize(("answer", "text"), [("72", "72"), ("-3", "-3"), ("0", "0"), ("0.5", "0.5")])
def test_a_number_is_an_answer(tmp_path: Path, answer: str, text: str) -> None:
    (problem,) = read_problems(write(tmp_path / "p.jsonl", f'{{"question": "q", "answer": {answer}}}'))
    assert problem.answer == text


@pytest.mark.parametrize(("given", "kept"), [('"x"', "x"), ("7", "7"), ("0", "0"), ("null", None), ('""', None)])
def test_an_id_is_the_files_own_or_the_fingerprint(tmp_path: Path, given: str, kept: str | None) -> None:
    (problem,) = read_problems(write(tmp_path / "p.jsonl", f'{{"id": {given}, "question": "q", "answer": "a"}}'))
    assert problem.id == (content_hash("q") if kept is None else kept)


def test_tests_stand_in_for_an_answer(tmp_path: Path) -> None:
    (problem,) = read_problems(write(tmp_path / "p.jsonl", '{"question": "q", "tests": "assert f(1) == 2"}'))
    assert (problem.answer, problem.tests) == ("", "assert f(1) == 2")


def test_a_table_gives_lists_and_rates_as_text(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('question,answer,choices,pass_rate\nq,"[1, 2]","[1, ""b""]",.5\nw,1,,1e0\n', encoding="utf-8")
    first, second = read_problems(path)
    assert (first.answer, first.choices, first.pass_rate) == ("[1, 2]", ("1", "b"), 0.5)
    assert (second.choices, second.pass_rate) == (None, 1.0)
    path.write_text("question,answer,pass_rate\nq,1,1.5\n", encoding="utf-8")
    assert fault_of(path) == f"{path}:2: field `pass_rate` must be a number from 0 to 1, found 1.5"


def test_an_answer_may_be_a_number_of_any_size(tmp_path: Path) -> None:
    number = 10**400
    (problem,) = read_problems(write(tmp_path / "p.jsonl", f'{{"question": "q", "answer": {number}}}'))
    assert problem.answer == str(number)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON: "),
        ("[1]", "expected an object, found a list"),
        ('{"answer": "a"}', "field `question` is missing"),
        ('{"question": "q"}', "field `answer` is missing"),
        ('{"question": "q", "answer": null}', "field `answer` is null"),
        ('{"question": " ", "answer": "a"}', "field `question` is empty"),
        ('{"question": "q", "answer": ""}', "field `answer` is empty"),
        ('{"question": "q", "answer": true}', "field `answer` must be text or a number, found bool"),
        ('{"question": 3, "answer": "a"}', "field `question` must be text, found int"),
        ('{"question": "q", "answer": "a", "solution": ["s"]}', "field `solution` must be text, found list"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_file_line_and_field(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "p.jsonl", '{"question": "q", "answer": "a"}', "", line)
    assert fault_of(path).startswith(f"{path}:3: {words}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN")])
def test_what_cannot_be_written_as_it_was_given_is_no_answer(value: object) -> None:
    with pytest.raises(ValueError, match="`answer` must be text or a number"):
        problem_of({"question": "q", "answer": value})


def test_all_bad_rows_are_counted_and_the_first_five_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", '{"question": "q", "answer": "a"}', *["[]"] * 7)
    *listed, more = fault_of(path).splitlines()
    assert [line.split(": ")[0] for line in listed] == [f"{path}:{number}" for number in range(2, 7)]
    assert more == "... and 2 more"


def test_files_without_problems_are_errors(tmp_path: Path) -> None:
    assert fault_of(write(tmp_path / "p.jsonl", "", " ")) == f"{tmp_path / 'p.jsonl'} holds no problems"
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe")
    assert fault_of(tmp_path / "p.jsonl").startswith(f"{tmp_path / 'p.jsonl'}:1: UTF-16 text")
    assert fault_of(tmp_path / "missing.jsonl").startswith(f"cannot read {tmp_path / 'missing.jsonl'}")


def test_a_compressed_file_reads_like_the_file_itself(tmp_path: Path) -> None:
    rows = [{"question": f"{n} \u00e9", "answer": str(n)} for n in range(3)]
    plain = write(tmp_path / "p.jsonl", *map(json.dumps, rows))
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_problems(packed) == read_problems(plain)
    packed.write_bytes(gzip.compress(b"[]\n"))
    assert fault_of(packed) == f"{packed}:1: expected an object, found a list"


def test_a_damaged_compressed_file_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"question": "{n}", "answer": "a"}}\n' for n in range(200)).encode())
    path = tmp_path / "p.jsonl.gz"
    corrupt = whole[:10] + bytes([whole[10] | 6]) + whole[11:]  # a deflate block of the reserved type
    wrong_sum = whole[:-8] + bytes(8)
    for damaged in (whole[:-20], whole[:5], corrupt, wrong_sum, b"not gzip at all"):
        path.write_bytes(damaged)
        assert f"{path}: no gzip file, or one that is damaged behind " in fault_of(path)
    path.write_bytes(gzip.compress(b"\xff\x00"))
    assert fault_of(path) == f"{path}:1: not UTF-8 text: invalid start byte at byte 1"
    path.write_bytes(b"")
    assert fault_of(path) == f"{path} holds no problems"
    assert fault_of(tmp_path / "none.jsonl.gz").startswith(f"cannot read {tmp_path / 'none.jsonl.gz'}")


def test_the_held_out_share_is_the_share_asked_for() -> None:
    problems = [Problem(str(n), content_hash(f"question {n}"), "", "") for n in range(4000)]
    for share in (0.1, 0.5):
        assert sum(is_held_out(problem, share) for problem in problems) / 4000 == pytest.approx(share, abs=0.03)


def test_blanks_do_not_move_a_question_to_the_other_side() -> None:
    assert content_hash(" What is\n2 + 2? ") == content_hash("What is 2 + 2?") != content_hash("What is 2 + 3?")
