"""Rows of responses to rows of verdicts: any number of them, in order, in constant memory.

An input row is a JSON object with `response` (text) and `answer` (text or a number) or `tests`, and where they exist
`id`, `question`, `verifier`, `choices`, `entry_point` and `correct` (a label). A row that cannot be read becomes one
row of output like every other, with the outcome `invalid_row`.
"""

import json
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from rlsd_cli.data.jsons import MAX_LINE_BYTES, Number, as_text, decode_object, kind_of
from rlsd_cli.data.layouts import as_choices
from rlsd_cli.data.row_fields import RESPONSE
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_verifiers import AUTO, VERIFIERS, Job, Leniency, Outcome, Pool, Submission, Verdict
from rlsd_verifiers.registry import resolve
from rlsd_verifiers.stream import IDLE_SECONDS, Pending, Stream
from rlsd_verifiers.verdict import shorten

BLOCK_BYTES = 2**18
MAX_WAITING = 2048
MAX_WAITING_BYTES = 2**25
"""Rows that are being graded, and the bytes of all their lines."""


# -- lines ---------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line, its number from 1, and where in the file it ends. One longer than `MAX_LINE_BYTES` has no data."""

    number: int
    data: bytes | None
    end: int = 0


class Lines:
    r"""The lines of an open file, split at `\n` only; None whenever nothing has come for `IDLE_SECONDS`."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self.name = name

    def __iter__(self) -> Iterator[Line | None]:
        number, place, begun, too_long = 0, 0, bytearray(), False
        while True:
            block = self._read()
            if block is None:
                yield None
                continue
            if not block:
                break
            *ended, rest = block.split(b"\n")
            for end in ended:
                number, place = number + 1, place + len(end) + 1
                yield Line(number, None if too_long else bytes(begun) + end, place)
                begun, too_long = bytearray(), False
            place += len(rest)
            if too_long or len(begun) + len(rest) > MAX_LINE_BYTES:
                begun, too_long = bytearray(), True
            else:
                begun += rest
        if begun or too_long:
            yield Line(number + 1, None if too_long else bytes(begun), place)

    def _read(self) -> bytes | None:
        try:
            if not select.select([self.descriptor], [], [], IDLE_SECONDS)[0]:
                return None
            return os.read(self.descriptor, BLOCK_BYTES)
        except OSError as error:
            raise RlsdError(f"cannot read {self.name}: {error.strerror}") from error


# -- rows ----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of the input: something to grade, or the fault that makes it `invalid_row`.

    `id` and `answer` are as given; without an id it is the number of the line. `verifier` is the one that `auto` chose.
    `end` is where in the file its line ends.
    """

    end: int
    id: str | int | float
    answer: str | int | float | None
    label: bool | None
    submission: Submission | None = None
    verifier: str | None = None
    fault: str | None = None


class Reading(NamedTuple):
    """How rows are read: the name for the file, the verifier that overrides all rows, and the one for the rest."""

    source: str
    verifier: str | None = None
    default: str = AUTO


def read_rows(lines: Iterable[Line | None], reading: Reading) -> Iterator[Row | None]:
    """One row a line that is not blank; None where the lines are None."""
    for line in lines:
        if line is None:
            yield None
        elif line.data is None or line.data.strip():
            yield read_row(line, reading)


def read_row(line: Line, reading: Reading) -> Row:
    """A line as a row. What is wrong with it is said as `file:line: field: problem`."""
    where = f"{reading.source}:{line.number}"
    try:
        fields = decode_object(line.data)
    except ValueError as error:
        return Row(line.end, line.number, None, None, fault=f"{where}: {error}")
    name, answer, label = fields.get("id"), fields.get("answer"), fields.get("correct")
    row = Row(
        line.end,
        _echo(name) if RESPONSE["id"].fits(name) else line.number,
        _echo(answer) if RESPONSE["answer"].fits(answer) else None,
        label if isinstance(label, bool) else None,
    )
    try:
        submission = _submission(fields)
        verifier = _verifier(fields.get("verifier"), reading, submission)
    except ValueError as error:
        return row._replace(fault=f"{where}: {error}")
    return row._replace(submission=submission, verifier=verifier)


def _submission(given: Mapping[str, Any]) -> Submission:
    fields = {**given, "choices": as_choices(given.get("choices"))}
    for name, (fits, expected) in RESPONSE.items():
        value = fields.get(name)
        if value is None and name != "response":
            continue
        if name not in fields:
            raise ValueError(f"{name}: missing")
        if not fits(value):
            raise ValueError(f"{name}: expected {expected}, found {kind_of(value)}")
    answer, tests, choices = fields.get("answer"), fields.get("tests"), fields.get("choices")
    if answer is None and tests is None:
        raise ValueError("answer: null" if "answer" in fields else "answer: missing, and so is `tests`")
    return Submission(
        response=fields["response"],
        answer=None if answer is None else as_text(answer),
        tests=tests,
        entry_point=fields.get("entry_point"),
        choices=None if choices is None else tuple(map(as_text, choices)),
        question=fields.get("question") or "",
    )


def _verifier(own: str | None, reading: Reading, submission: Submission) -> str:
    """The verifier of a row. Data may not name code to import: only the command line may."""
    name = reading.verifier or reading.default if own is None or reading.verifier else own
    if name == own and name not in (*VERIFIERS, AUTO):
        why = "an import path is taken from the command line only" if ":" in own else "; ".join(unknown_verifier(own))
        raise ValueError(f"verifier: {why}")
    return resolve(name, submission)


def unknown_verifier(name: str) -> tuple[str, str]:
    """The message and the hint for a verifier that does not exist."""
    known = [*VERIFIERS, AUTO]
    hint = did_you_mean(name[:100], known) or f"verifiers: {', '.join(known)}"
    return f"no verifier named `{shorten(name)}`", hint


def _echo(value: Any) -> Any:
    """A text or number as it can be written again: JSON knows no infinity."""
    return value.text if isinstance(value, Number) and value in (float("inf"), float("-inf")) else value


# -- verdicts ------------------------------------------------------------------------------------------------------


def record(row: Row, verdict: Verdict) -> dict[str, Any]:
    """The row of output."""
    return {
        "id": row.id,
        "correct": verdict.correct,
        "score": verdict.score if verdict.is_verdict else None,
        "outcome": str(verdict.outcome),
        "extracted": verdict.extracted,
        "answer": row.answer,
        "verifier": row.verifier,
        "seconds": round(verdict.seconds, 6),
        "reason": verdict.reason,
    } | how_it_ran(verdict)


def how_it_ran(verdict: Verdict) -> dict[str, Any]:
    """For a program that was run: its isolation, and True where the verdict is weak."""
    return {} if verdict.sandbox is None else {"sandbox": verdict.sandbox, "weak": verdict.weak}


def to_line(values: Mapping[str, Any]) -> str:
    """JSON in ASCII: whatever the text holds, it can be written."""
    return json.dumps(values)


def graded(rows: Iterable[Row | None], pool: Pool, leniency: Leniency) -> Stream[tuple[Row, Future[Verdict]]]:
    """Rows with their verdicts, in order, with a bounded number of rows under way.

    Iterating gives None at intervals while verdicts are awaited, so that the caller can update a display.
    """
    return Stream(_submitted(rows, pool, leniency), MAX_WAITING, MAX_WAITING_BYTES, IDLE_SECONDS)


def _submitted(
    rows: Iterable[Row | None], pool: Pool, leniency: Leniency
) -> Iterator[Pending[tuple[Row, Future[Verdict]]] | None]:
    end = None
    for row in rows:
        if row is None:
            yield None
            continue
        verdict = _submit(row, pool, leniency)
        yield Pending((row, verdict), [verdict], 0 if end is None else row.end - end)
        end = row.end


def _submit(row: Row, pool: Pool, leniency: Leniency) -> Future[Verdict]:
    if row.submission and row.verifier:
        return pool.submit(Job(row.submission, row.verifier, leniency))
    future: Future[Verdict] = Future()
    future.set_result(Verdict(Outcome.INVALID_ROW, 0.0, None, row.fault or ""))
    return future
