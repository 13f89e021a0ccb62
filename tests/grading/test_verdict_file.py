"""Continuing a file of verdicts: what is kept, what is cut off, and what is left alone."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.answer_rows import Line, Reading, Row, read_row, record, to_line
from rlsd_cli.grading.verdict_file import VerdictFile
from rlsd_verifiers import Leniency, Outcome, Verdict

GOOD = {"response": "so 7", "answer": "7"}


def row_of(line: object) -> Row:
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    return read_row(Line(3, data), Reading("f.jsonl"))


def rows_and_lines(count: int) -> tuple[list[Row], list[str]]:
    rows = [
        row_of(GOOD | {"id": n, "verifier": "numeric", "response": f"it is {n}"}) if n % 4 else row_of(b"bad")
        for n in range(count)
    ]
    lines = []
    for row in rows:
        verdict = Verdict(Outcome.INVALID_ROW, 0.0, None, row.fault or "")
        if row.submission:
            right = row.submission.response == "it is 7"
            outcome = Outcome.CORRECT if right else Outcome.WRONG
            verdict = Verdict(outcome, float(right), row.submission.response.split()[-1], "")
        lines.append(to_line(record(row, verdict)))
    return rows, lines


def taken_over(path: Path, rows: Iterable[Row | None]) -> tuple[int, list[Row | None]]:
    left = iter(rows)
    with VerdictFile(path, again=False) as verdicts:
        taken = [item for item in verdicts.match(left, Leniency()) if item]
    return len(taken), list(left)


@pytest.mark.parametrize("torn", ["", '{"', '{"id": 5, "corr'])
def test_whole_lines_are_kept_a_torn_one_is_cut_off_and_the_other_rows_are_left(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    rows, lines = rows_and_lines(9)
    whole = "\n".join(lines[:5]) + "\n"
    path.write_text(whole + torn)
    with_ticks: Iterator[Row | None] = itertools.chain.from_iterable(zip(itertools.repeat(None), rows, strict=False))
    taken, left = taken_over(path, with_ticks)
    assert taken == 5
    assert [row for row in left if row] == rows[5:]
    assert path.read_text() == whole


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("notes without a line end", "its last line is not a verdict"),
        ("notes\n", "lines that are no verdicts"),
        ('{"id": 1}\n', "lines that are no verdicts"),
        ("[" * 100_000 + "\n", "lines that are no verdicts"),
        ('{"id": 3, "outcome": "right"}\n', "lines that are no verdicts"),
    ],
)
def test_a_file_of_something_else_is_left_alone(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text(content)
    with pytest.raises(RlsdError, match=words) as caught:
        taken_over(path, rows_and_lines(3)[0])
    assert caught.value.exit_code == 4
    assert "`--again`" in (caught.value.hint or "")
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "other"}, "in row 6, id was `5` and is `other`"),
        ({"answer": "8"}, "in row 6, answer was `7` and is `8`"),
        ({"verifier": "exact"}, "in row 6, verifier was `numeric` and is `exact`"),
        ({"response": "it is 6"}, "in row 6, the response, a setting or the verifier is another"),
        ({"response": "it is 7"}, "in row 6, the response, a setting or the verifier is another"),
        ({"response": None}, "in row 6, verifier was `numeric` and is `None`"),
    ],
)
def test_verdicts_on_other_rows_are_not_continued(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    rows, lines = rows_and_lines(9)
    path.write_text("\n".join(lines) + "\n")
    assert taken_over(path, rows)[0] == 9
    rows[5] = row_of(GOOD | {"id": 5, "verifier": "numeric", "response": "it is 5"} | change)
    with pytest.raises(RlsdError, match=words):
        taken_over(path, rows)
    with pytest.raises(RlsdError, match="it holds more rows than there are"):
        taken_over(path, rows[:5])


def test_starting_over_leaves_a_file_alone_that_never_held_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    with pytest.raises(RlsdError, match="begins with `years o`, which is no verdict"):
        VerdictFile(path, again=True)
    assert path.read_text() == "years of work"


def test_starting_over_and_continuing_keep_others_out(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text('{"id": 1, "anything')
    with VerdictFile(path, again=True) as verdicts:
        assert path.read_text() == ""
        assert list(verdicts.match(iter([]), Leniency())) == []
        with pytest.raises(RlsdError, match="is being written by another process") as caught:
            VerdictFile(path, again=True)
        verdicts.write("{}")
        assert path.read_text() == "{}\n"
    assert caught.value.exit_code == 4
    VerdictFile(path, again=False)
