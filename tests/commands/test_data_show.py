"""`rlsd data show` as a user types it: which problem, and what is shown of it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlsd_cli import console
from rlsd_cli.app import main
from rlsd_sandbox import RefusedError, Sandbox

ROWS: list[dict[str, Any] | str] = [
    {"id": "gsm/1", "question": "What is 3 + 4?", "answer": "7", "solution": "3 + 4\nis 7.", "level": 2},
    {"id": "gsm/20", "question": "What is 4 + 4?", "answer": "8"},
    {"id": "gsm/21", "question": "Half?", "answer": r"\frac{1}{2}"},
    "{",
    {"id": "4", "question": "What is 5 + 4?", "answer": "nine", "verifier": "numeric"},
    {"id": "quickstart", "question": "\x1b[31mred\nblue", "answer": "9"},
]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Show = Callable[..., Done]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """`rlsd data show` in this process, in a folder with `a.jsonl`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    lines = [row if isinstance(row, str) else json.dumps(row) for row in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["rlsd", "data", "show", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return Done(int(caught.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ([], 1),
        (["gsm/20"], 2),
        (["gsm/1"], 1),
        (["3"], 3),
        (["4"], 5),
        (["5"], 5),
        (["6"], 6),
        (["quick"], 6),
        (["quickstart"], 1),
    ],
)
def test_a_problem_is_named_by_its_id_the_number_of_its_row_or_the_beginning_of_its_id(
    wanted: list[str], where: int, show: Show
) -> None:
    """In this order. What is the name of a preset is a preset."""
    done = show("a.jsonl", *wanted, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["where"] == f"a.jsonl:{where}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.jsonl", "gsm/12"], "hint: did you mean `gsm/1`"),
        (["a.jsonl", "zzz"], "hint: its first ids: `gsm/1`, `gsm/20`, `gsm/21`; or the number of a row"),
        (["a.jsonl", "gsm/2"], "error: several ids begin with `gsm/2`: `gsm/20`, `gsm/21`\n"),
        (["a.jsonl", "gsm/1", "gsm/20"], "error: one problem is shown at a time, not 2: gsm/1, gsm/20"),
        (["a.jsonl", "gsm/1", "verifer=math"], "hint: did you mean `verifier`?"),
        (["nowhere.jsonl", "gsm/1"], "error: no task or file named `nowhere.jsonl`"),
    ],
)
def test_what_names_no_single_problem_exits_with_2(arguments: list[str], words: str, show: Show) -> None:
    done = show(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_a_spoiled_row_shows_its_fault(show: Show, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"question": "1"}\n')
    done = show("b.jsonl", "1")
    assert (done.code, done.out[:38]) == (1, "b.jsonl:1: field `answer` is missing, ")
    done = show("b.jsonl", "--json")
    assert (done.code, json.loads(done.out)["where"]) == (1, "b.jsonl:1")
    assert "field `answer`" in json.loads(done.out)["fault"]


def test_fields_views_and_what_the_verifier_says_are_shown(show: Show) -> None:
    done = show("a.jsonl", "gsm/1", "teacher.view=solution", r"prompt.template={question} Box it.")
    assert done.code == 0, done.err
    blocks = done.out.split("\n\n")
    assert blocks[0] == "a.jsonl:1   gsm/1"
    assert "  solution\n    3 + 4\n    is 7." in blocks[1]
    assert blocks[2] == "also in the row\n  level           2"
    assert blocks[3] == "what the student reads\n  What is 3 + 4? Box it."
    assert blocks[4] == "what the teacher reads\n  What is 3 + 4? Box it."
    assert "  For reference, this is what a correct result looks like:\n  3 + 4\n  is 7." in blocks[5]
    assert blocks[-1].splitlines() == [
        "verifier",
        "  name            math   chosen by `auto`: the reference is not the letter of a choice",
        "  reference       7   read as 7",
        "  extracted       7   read as 7",
        "  accepts itself  yes   `7` (boxed) is the reference `7`",
        "  rejects         yes   `8`   `8` (boxed) does not equal the reference `7`",
    ]


def test_both_views_show_the_choices_and_a_note_says_where_the_question_does(show: Show, tmp_path: Path) -> None:
    row = {"question": "Which is the capital?", "answer": "B", "choices": {"A": "Lyon", "B": "Paris"}}
    listed = "Which is the capital?\n\nA. Lyon\nB. Paris\n\nReason step by step"
    embedded = row | {"question": "Which is the capital?\n\nA. Lyon\nB. Paris"}
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(embedded))
    for number, reasons in (("1", []), ("2", ["choices_not_added"])):
        found = json.loads(show("c.jsonl", number, "--json").out)
        assert found["fields"]["choices"] == ["Lyon", "Paris"]
        assert found["student"]["text"].startswith(listed)
        assert found["teacher"]["text"].startswith(listed)
        assert [flag["reason"] for flag in found["flags"]] == reasons
    out = show("c.jsonl", "2").out
    assert "check says\n  choices_not_added   note   the question ends with its choices\n" in out


def test_the_json_has_the_same(show: Show) -> None:
    done = show("a.jsonl", "gsm/21", "--json")
    found = json.loads(done.out)
    assert list(found) == ["where", "id", "fields", "rest", "student", "teacher", "verifier", "flags"]
    assert found["fields"] == ROWS[2]
    assert found["student"]["text"].startswith("Half?\n\nReason")
    assert found["student"]["tokens"] is None
    verifier = found["verifier"]
    assert verifier["steps"]["reference"] == r"\frac{1}{2}   read as divide(1, 2)"
    assert (verifier["outcome"], verifier["accepts_itself"], verifier["rejects_perturbed"]) == ("correct", True, True)
    assert [each["answer"] for each in verifier["tried"]] == [r"`\frac{2}{2}`"]


def test_a_fault_is_said_as_check_says_it(show: Show) -> None:
    done = show("a.jsonl", "4", "teacher.view=solution")
    assert done.code == 0
    assert "what the teacher reads\n  there is no `solution`, which the teacher is shown\n" in done.out
    assert "  accepts itself  no   the reference `nine` is not a number" in done.out
    assert "check says\n  bad_reference       fault   the reference `nine` is not a number" in done.out
    assert "  no_view             fault   there is no `solution`" in done.out


def test_with_a_model_a_view_is_what_the_model_reads(show: Show) -> None:
    found = json.loads(show("arithmetic:count=5", "3", "quickstart", "--json").out)
    question, answer = found["fields"]["question"], found["fields"]["answer"]
    assert found["where"] == "arithmetic:count=5: problem 3"
    assert found["student"] == {"text": f"{question}|", "tokens": len(question) + 1, "fault": None}
    assert found["teacher"]["text"] == f"H{answer}|{question}|"
    assert f"what the student reads, {len(question) + 1} tokens\n" in show("arithmetic:count=5", "3", "quickstart").out


def test_what_a_terminal_takes_for_a_command_is_escaped(show: Show) -> None:
    done = show("a.jsonl", "quick")
    assert "\x1b" not in done.out
    assert "  \\x1b[31mred\n  blue\n" in done.out
    assert json.loads(show("a.jsonl", "quick", "--json").out)["fields"]["question"] == "\x1b[31mred\nblue"


def test_a_verifier_of_ones_own_is_named_and_not_tried(show: Show, tmp_path: Path) -> None:
    (tmp_path / "mine_show.py").write_text("def grade(submission): return True\n")
    done = show("a.jsonl", "gsm/1", "verifier=mine_show:grade")
    assert done.code == 0, done.err
    assert "  name            mine_show:grade\n" in done.out
    assert json.loads(show("a.jsonl", "verifier=mine_show:grade", "--json").out)["verifier"]["accepts_itself"] is None


def test_a_program_is_run(show: Show, tmp_path: Path) -> None:
    try:
        with Sandbox() as sandbox:
            sandbox.start()
    except RefusedError as error:
        pytest.skip(f"programs cannot be jailed here: {error}")
    row = {"question": "add", "tests": "assert add(2, 3) == 5", "solution": "def add(a, b):\n    return a + b"}
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"solution": None}))
    found = json.loads(show("c.jsonl", "1", "--json").out)["verifier"]
    assert (found["name"], found["accepts_itself"], found["rejects_perturbed"]) == ("code", True, True)
    found = json.loads(show("c.jsonl", "2", "--json").out)
    assert (found["verifier"]["accepts_itself"], found["verifier"]["rejects_perturbed"]) == (None, True)
    assert [flag["reason"] for flag in found["flags"]] == ["unsolved"]
