"""Rows in, rows out: what is read, what is refused, in which order verdicts come, and what is counted."""

import itertools
import json
import os
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.data import jsons
from rlsd_cli.data.problems import problem_of
from rlsd_cli.grading import answer_rows
from rlsd_cli.grading.answer_rows import (
    Line,
    Lines,
    Reading,
    Row,
    graded,
    read_row,
    read_rows,
    record,
    to_line,
)
from rlsd_verifiers import Job, Leniency, Outcome, Submission, Verdict
from rlsd_verifiers.stream import Stream

GOOD = {"response": "so 7", "answer": "7"}
KEYS = ["id", "correct", "score", "outcome", "extracted", "answer", "verifier", "seconds", "reason"]


def row_of(line: object, **settings: Any) -> Row:
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    return read_row(Line(3, data), Reading("f.jsonl", **settings))


def lines_of(path: Path) -> list[Line]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return [line for line in Lines(descriptor, "f") if line]
    finally:
        os.close(descriptor)


# -- lines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2, 3, 1000])
def test_lines_end_at_newlines_only_wherever_the_blocks_are_cut(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_rows, "BLOCK_BYTES", block)
    texts = [text.encode() for text in ("a\u2028b", "", "c\x0bd\x0ce\x85f", "g\r", "last")]
    path = tmp_path / "f"
    path.write_bytes(b"\n".join(texts))
    assert [line[:2] for line in lines_of(path)] == list(enumerate(texts, start=1))
    assert [line.end for line in lines_of(path)] == [6, 7, 16, 19, 23]
    path.write_bytes(b"one\n")
    assert lines_of(path) == [Line(1, b"one", 4)]


def test_a_line_that_would_fill_the_memory_is_passed_over_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_rows, "BLOCK_BYTES", 4)
    monkeypatch.setattr(answer_rows, "MAX_LINE_BYTES", 16)
    monkeypatch.setattr(jsons, "MAX_LINE_BYTES", 16)
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100 + b"\nshort\n" + b"y" * 100)
    assert lines_of(path) == [Line(1, None, 101), Line(2, b"short", 107), Line(3, None, 207)]
    assert row_of(b"") != row_of(b"{}")
    assert read_row(Line(1, None), Reading("f")).fault == "f:1: longer than 0 MiB"


def test_a_quiet_pipe_gives_the_caller_time() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\ntw")
    lines = iter(Lines(reader, "f"))
    assert next(lines) == Line(1, b"one", 4)
    assert next(lines) is None
    os.write(writer, b"o\n")
    assert next(lines) == Line(2, b"two", 8)
    os.close(writer)
    assert list(lines) == []
    os.close(reader)


# -- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense", "not JSON: Expecting value at column 1"),
        (b'{"response": "1", "answer": "1"', "not JSON: Expecting ',' delimiter"),
        (b'{"response": "1", "answer": "1"} {}', "not JSON: Extra data"),
        (b'{"response": "\xff", "answer": "1"}', "not UTF-8 text: invalid start byte at byte 15"),
        (b'{"response": "1", "answer": NaN}', "NaN is not JSON"),
        (b'{"response": "1", "answer": ' + b"9" * 5000 + b"}", "Exceeds the limit (4300 digits)"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[1]", "expected an object, found a list"),
        (b"null", "expected an object, found null"),
        ({"answer": "1"}, "response: missing"),
        (GOOD | {"response": None}, "response: expected text, found null"),
        (GOOD | {"response": 7}, "response: expected text, found a number"),
        (GOOD | {"response": ["7"]}, "response: expected text, found a list"),
        ({"response": "1"}, "answer: missing, and so is `tests`"),
        (GOOD | {"answer": None}, "answer: null"),
        (GOOD | {"answer": True}, "answer: expected text or a number, found true or false"),
        (GOOD | {"answer": ["7"]}, "answer: expected text or a number, found a list"),
        (GOOD | {"verifier": "codes"}, "verifier: no verifier named `codes`; did you mean `code`?"),
        ({"response": "1", "tests": {}}, "tests: expected a list or text, found an object"),
        (GOOD | {"choices": "AB"}, "choices: expected a list of texts, found text"),
        (GOOD | {"choices": [None]}, "choices: expected a list of texts, found a list"),
        (GOOD | {"choices": {"A": "x", "C": "y"}}, "field `choices` is an object whose names do not run A, B, C, ..."),
        (GOOD | {"question": 1}, "question: expected text"),
        (GOOD | {"entry_point": 1}, "entry_point: expected text"),
        (GOOD | {"verifier": 1}, "verifier: expected text"),
        (GOOD | {"verifier": "numerik"}, "verifier: no verifier named `numerik`; did you mean `numeric`?"),
        (GOOD | {"verifier": "os:system"}, "an import path is taken from the command line only"),
        (GOOD | {"id": [1]}, "id: expected text or a number, found a list"),
        (GOOD | {"correct": "yes"}, "correct: expected true or false, found text"),
        (GOOD | {"correct": 1}, "correct: expected true or false, found a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_row_says_file_line_field_and_problem(line: object, words: str) -> None:
    row = row_of(line)
    assert row.fault is not None
    assert row.fault.startswith("f.jsonl:3: ")
    assert words in row.fault
    assert (row.submission, row.verifier) == (None, None)


@pytest.mark.parametrize("name", ["id", "question", "answer", "verifier", "tests", "entry_point", "choices"])
@pytest.mark.parametrize("value", ['"exact"', "7", "2.5", "1e400", "true", '["a"]', "[1]", "[null]", '{"A": "a"}'])
def test_a_field_may_hold_the_same_in_a_row_of_responses_and_in_a_problem(name: str, value: str) -> None:
    fields = {"question": '"q"', "answer": '"7"', "response": '""', name: value}
    line = ("{" + ", ".join(f'"{key}": {text}' for key, text in fields.items()) + "}").encode()
    try:
        problem_of(jsons.decode_object(line))
    except ValueError:
        assert row_of(line).fault is not None
    else:
        assert row_of(line).fault is None


def test_what_is_known_of_a_bad_row_stays() -> None:
    row = row_of({"id": "x", "answer": 7, "correct": False})
    assert (row.id, row.answer, row.label, row.submission) == ("x", 7, False, None)
    assert row_of({"id": {}, "answer": {}, "correct": "?"})[:4] == (0, 3, None, None)


def test_all_that_a_verifier_may_need_is_read() -> None:
    given = {"tests": [1], "entry_point": "f", "choices": ["a", 2.50], "question": "q", "id": 1.5, "verifier": "exact"}
    row = row_of(GOOD | given)
    assert row.submission == Submission("so 7", "7", [1], "f", ("a", "2.5"), "q")
    assert row.id == 1.5


@pytest.mark.parametrize("choices", [["A. Lyon", "B. Nice"], {"B": "Nice", "A": "Lyon"}, ["Lyon", "Nice"]])
def test_choices_are_read_as_a_problem_has_them(choices: object) -> None:
    submission = row_of(GOOD | {"choices": choices}).submission
    assert submission is not None
    assert submission.choices == ("Lyon", "Nice")


def test_null_is_as_good_as_absent_where_a_field_is_optional() -> None:
    optional = ("id", "question", "verifier", "correct", "choices", "entry_point", "tests")
    row = row_of(GOOD | dict.fromkeys(optional))
    assert row == row_of(GOOD)
    assert row.fault is None
    assert row.id == 3


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b'{"response": "", "answer": 0.10}', "0.10"),
        (b'{"response": "", "answer": 12345678901234567890.123}', "12345678901234567890.123"),
        (b'{"response": "", "answer": 1e400}', "1e400"),
        (b'{"response": "", "answer": -7}', "-7"),
        (b'\xef\xbb\xbf{"response": "", "answer": "7"}\r', "7"),
        (b'{"response": "", "answer": "1", "answer": "2"}', "2"),
        (b'{"response": "", "answer": ""}', ""),
    ],
)
def test_a_reference_is_read_as_it_is_written(line: bytes, answer: str) -> None:
    row = row_of(line)
    assert row.fault is None
    assert row.submission is not None
    assert row.submission.answer == answer
    assert json.loads(to_line(record(row, Verdict(Outcome.WRONG, 0.0, None, ""))), parse_constant=pytest.fail)


def test_the_command_lines_verifier_wins_over_the_rows_and_that_over_the_default() -> None:
    own = GOOD | {"verifier": "exact"}
    assert row_of(own, verifier="numeric").verifier == "numeric"
    assert row_of(own, default="numeric").verifier == "exact"
    assert row_of(GOOD, default="numeric").verifier == "numeric"
    assert row_of(GOOD | {"verifier": "auto"}, default="numeric").verifier == row_of(GOOD).verifier == "math"
    assert row_of(GOOD | {"answer": "B"}).verifier == "choice"
    assert row_of(GOOD | {"verifier": "numerik"}, verifier="exact").fault is None


def test_blank_lines_count_but_give_no_row() -> None:
    lines = [Line(1, b""), Line(2, b" \t\r"), None, Line(4, json.dumps(GOOD).encode())]
    assert [row and row.id for row in read_rows(lines, Reading("f"))] == [None, 4]


def test_a_record_has_the_contracts_keys_and_any_text_is_ascii() -> None:
    text = "\ud800 \x00 \u2028 é"
    row = row_of(GOOD | {"id": text})
    line = to_line(record(row, Verdict(Outcome.CORRECT, 1.0, text, text, 0.0000004)))
    assert line.isascii()
    assert "\n" not in line
    values = json.loads(line)
    assert list(values) == KEYS
    assert (values["id"], values["extracted"], values["reason"], values["seconds"]) == (text, text, text, 0.0)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_no_verdict_is_neither_right_nor_wrong_and_has_no_score(outcome: Outcome) -> None:
    values = record(row_of(GOOD), Verdict(outcome, 0.5, None, ""))
    judged = outcome not in ("bad_reference", "crash", "sandbox_error", "invalid_row")
    assert values["correct"] == ((outcome == "correct") if judged else None)
    assert values["score"] == (0.5 if judged else None)


# -- order ---------------------------------------------------------------------------------------------------------


class SlowPool:
    """Takes jobs, and gives their verdicts when told to."""

    def __init__(self) -> None:
        self.futures: list[Future[Verdict]] = []

    def submit(self, job: Job) -> Future[Verdict]:
        del job
        self.futures.append(Future())
        return self.futures[-1]

    def finish(self, number: int) -> None:
        self.futures[number].set_result(Verdict(Outcome.CORRECT, 1.0, None, str(number)))


def grading(rows: Iterable[Row | None]) -> tuple[Stream[tuple[Row, Future[Verdict]]], Any]:
    pool: Any = SlowPool()
    return graded(rows, pool, Leniency()), pool


def test_verdicts_come_in_the_order_of_the_rows_whichever_is_done_first() -> None:
    work, pool = grading([row_of(GOOD | {"id": n}) if n % 3 else row_of(b"bad") for n in range(9)])
    verdicts = iter(work)
    first = next(verdicts)
    assert first is not None
    assert first[1].result().outcome == "invalid_row"
    assert next(verdicts) is None
    for number in reversed(range(6)):
        pool.finish(number)
    rest = [(item[0], item[1].result()) for item in verdicts if item]
    assert [row.id for row, _ in rest] == [1, 2, 3, 4, 5, 3, 7, 8]
    assert [verdict.reason for _, verdict in rest if verdict.correct] == [str(number) for number in range(6)]


def test_what_is_finished_can_be_taken_when_the_work_is_broken_off() -> None:
    work, pool = grading(row_of(GOOD | {"id": n}) for n in range(5))
    assert next(iter(work)) is None
    for number in (0, 1, 3):
        pool.finish(number)
    assert [row.id for row, _ in work.finished()] == [0, 1]


@pytest.mark.parametrize(("limit", "value"), [("MAX_WAITING", 10), ("MAX_WAITING_BYTES", 900)])
def test_no_more_rows_are_read_ahead_than_fit_whichever_of_their_fields_is_long(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_rows, limit, value)
    monkeypatch.setattr(answer_rows, "IDLE_SECONDS", 0.001)
    work, pool = grading(row_of(GOOD | {"question": "q" * 50})._replace(end=100 * n) for n in itertools.count())
    verdicts = iter(work)
    for done in range(50):
        while next(verdicts) is not None:
            pass
        assert len(pool.futures) <= done + 10
        pool.finish(done)
