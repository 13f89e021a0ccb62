"""Rows of responses to rows of verdicts: any number of them, in order, in constant memory.

An input row is a JSON object with `response` (text) and `answer` (text or a number) or `tests`, and where they exist
`id`, `question`, `verifier`, `choices`, `entry_point` and `correct` (a label). A row that cannot be read becomes one
row of output like every other, with the outcome `invalid_row`.
"""

import fcntl
import json
import os
import re
import select
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.errors import EXIT_BUSY, EXIT_MACHINE, RlsdError, did_you_mean
from rlsd_cli.evaluation.statistics import wilson
from rlsd_verifiers import AUTO, VERIFIERS, Job, Outcome, Policy, Pool, Submission, Verdict, parse_number
from rlsd_verifiers.job import begin
from rlsd_verifiers.notation import plain
from rlsd_verifiers.registry import resolve
from rlsd_verifiers.verdict import NO_VERDICT, shorten

MAX_LINE_BYTES = 64 * 2**20
BLOCK_BYTES = 2**18
IDLE_SECONDS = 0.05
MAX_WAITING = 2048
MAX_WAITING_CHARS = 2**25
MAX_PATTERNS = 5

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


class Number(float):
    """A number with a decimal point or an exponent, that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> "Number":
        number = super().__new__(cls, text)
        number.text = text
        return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_float=Number, parse_constant=_no_constant)


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
        fields = _object(line.data)
    except ValueError as error:
        return Row(line.end, line.number, None, None, fault=f"{where}: {error}")
    name, answer, label = fields.get("id"), fields.get("answer"), fields.get("correct")
    row = Row(
        line.end,
        _echo(name) if name is not None and _is_scalar(name) else line.number,
        _echo(answer) if _is_scalar(answer) else None,
        label if isinstance(label, bool) else None,
    )
    try:
        submission = _submission(fields)
        verifier = _verifier(fields.get("verifier"), reading, submission)
    except ValueError as error:
        return row._replace(fault=f"{where}: {error}")
    return row._replace(submission=submission, verifier=verifier)


def _object(data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise ValueError(f"longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        fields = _JSON.decode(data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON that can be read: {str(error).split(';')[0]}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, found {_kind_of_json(fields)}")
    return fields


def _submission(fields: Mapping[str, Any]) -> Submission:
    answer, tests, choices = fields.get("answer"), fields.get("tests"), fields.get("choices")
    if answer is None and tests is None:
        raise ValueError("answer: missing, and so is `tests`" if "answer" not in fields else "answer: null")
    checks: tuple[tuple[str, bool, str], ...] = (
        ("response", isinstance(fields.get("response"), str), "text"),
        ("answer", answer is None or _is_scalar(answer), "text or a number"),
        ("tests", tests is None or isinstance(tests, str | list), "a list or text"),
        (
            "choices",
            choices is None or (isinstance(choices, list) and all(map(_is_scalar, choices))),
            "a list of texts",
        ),
        ("question", isinstance(fields.get("question", ""), str | None), "text"),
        ("entry_point", isinstance(fields.get("entry_point"), str | None), "text"),
        ("verifier", isinstance(fields.get("verifier"), str | None), "text"),
        ("id", fields.get("id") is None or _is_scalar(fields["id"]), "text or a number"),
        ("correct", isinstance(fields.get("correct"), bool | None), "true or false"),
    )
    for name, is_fine, expected in checks:
        if not is_fine:
            found = _kind_of_json(fields[name]) if name in fields else None
            raise ValueError(f"{name}: expected {expected}, found {found}" if found else f"{name}: missing")
    return Submission(
        response=fields["response"],
        answer=None if answer is None else _as_text(answer),
        tests=tests,
        entry_point=fields.get("entry_point"),
        choices=None if choices is None else tuple(map(_as_text, choices)),
        question=fields.get("question") or "",
    )


def _verifier(own: str | None, reading: Reading, submission: Submission) -> str:
    """The verifier of a row. Data may not name code to import: only the command line may."""
    name = reading.verifier or own or reading.default
    if reading.verifier is None and own is not None and own not in (*VERIFIERS, AUTO):
        hint = "an import path is taken from the command line only" if ":" in own else unknown_verifier(own)
        raise ValueError(f"verifier: no verifier named `{shorten(own)}`; {hint}")
    chosen = resolve(name, submission)
    if chosen not in VERIFIERS and ":" not in chosen:
        raise ValueError(f"verifier: the row needs `{chosen}`, which does not exist")
    return chosen


def unknown_verifier(name: str) -> str:
    """The hint for a verifier that does not exist."""
    known = [*VERIFIERS, AUTO]
    return did_you_mean(name[:100], known) or f"verifiers: {', '.join(known)}"


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _as_text(value: str | int | float) -> str:
    return value.text if isinstance(value, Number) else str(value)


def _echo(value: Any) -> Any:
    """A text or number as it can be written again: JSON knows no infinity."""
    return value.text if isinstance(value, Number) and value in (float("inf"), float("-inf")) else value


def _kind_of_json(value: object) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", Number: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


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
    }


def to_line(values: Mapping[str, Any]) -> str:
    """JSON in ASCII: whatever the text holds, it can be written."""
    return json.dumps(values)


class Grading:
    """Rows and their verdicts in order, with a bounded number of rows under way.

    Iterating gives None now and then while there is nothing to give, so that the caller can look after other things.
    """

    def __init__(self, rows: Iterable[Row | None], pool: Pool, policy: Policy) -> None:
        self.rows = rows
        self.pool = pool
        self.policy = policy
        self._waiting: deque[tuple[Row, Future[Verdict]]] = deque()
        self._chars = 0

    def __iter__(self) -> Iterator[tuple[Row, Verdict] | None]:
        for row in self.rows:
            if row is None:
                yield None
            else:
                self._waiting.append((row, self._submit(row)))
                self._chars += _size(row)
            yield from self.finished()
            while len(self._waiting) >= MAX_WAITING or self._chars >= MAX_WAITING_CHARS:
                yield from self._next()
        while self._waiting:
            yield from self._next()

    def finished(self) -> Iterator[tuple[Row, Verdict]]:
        """What can be given at once."""
        while self._waiting and self._waiting[0][1].done():
            row, future = self._waiting.popleft()
            self._chars -= _size(row)
            yield row, future.result()

    def _submit(self, row: Row) -> Future[Verdict]:
        if row.submission and row.verifier:
            return self.pool.submit(Job(row.submission, row.verifier, self.policy))
        future: Future[Verdict] = Future()
        future.set_result(Verdict(Outcome.INVALID_ROW, 0.0, None, row.fault or ""))
        return future

    def _next(self) -> Iterator[tuple[Row, Verdict] | None]:
        if wait([self._waiting[0][1]], timeout=IDLE_SECONDS).done:
            yield from self.finished()
        else:
            yield None


def _size(row: Row) -> int:
    return len(row.submission.response) if row.submission else 0


# -- the file of verdicts ------------------------------------------------------------------------------------------


BEGINNING = b'{"id": '


class Verdicts:
    """The file that verdicts are written to, and continued in: opened, locked, and left with whole lines only.

    Raises RlsdError where it cannot be written or another process writes it.
    """

    def __init__(self, path: Path, *, again: bool) -> None:
        self.path = path
        self.regular = path.is_file() or not path.exists()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT if self.regular else os.O_WRONLY, 0o666)
        except OSError as error:
            raise RlsdError(f"cannot write {path}: {error.strerror}") from error
        if self.regular:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._descriptor)
                raise RlsdError(f"{path} is being written by another process", exit_code=EXIT_BUSY) from error
            if again:
                os.ftruncate(self._descriptor, 0)

    def __enter__(self) -> "Verdicts":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def earlier(self) -> Iterator[Mapping[str, Any]]:
        """The rows that are there already. A last line that a dying process left unfinished is cut off."""
        if not self.regular:
            return
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if not (line.startswith(BEGINNING) or BEGINNING.startswith(line)):
                        raise self.mismatch("its last line is not a verdict")
                    break
                try:
                    values = json.loads(line)
                    Outcome(values["outcome"])
                    _ = values["id"], values["answer"], values["verifier"], values["extracted"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    raise self.mismatch("it holds something else than verdicts") from None
                yield values
                end += len(line)
        os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, end, os.SEEK_SET)

    def mismatch(self, why: str) -> RlsdError:
        return RlsdError(
            f"{self.path} does not belong to this command: {why}",
            hint="`--again` starts it over, another `--out` leaves it as it is",
            exit_code=EXIT_BUSY,
        )

    def write(self, line: str) -> None:
        data = line.encode("ascii") + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            hint = "the same command continues"
            raise RlsdError(f"cannot write {self.path}: {error.strerror}", hint=hint, exit_code=EXIT_MACHINE) from error


def compare(verdicts: Verdicts, rows: Iterator[Row | None], policy: Policy) -> Iterator[tuple[Row, Outcome] | None]:
    """The rows whose verdicts are there already; the rows after them are left in `rows`.

    Each must be the verdict that this row would get: with its id, answer and verifier, and with the outcome and answer
    that a quick verifier finds. Raises RlsdError at the first that is not. None as in `Lines`.
    """
    for number, values in enumerate(verdicts.earlier(), start=1):
        for row in rows:
            if row is not None:
                break
            yield None
        else:
            raise verdicts.mismatch("it holds more rows than there are")
        if why := _difference(values, row, policy):
            raise verdicts.mismatch(f"in row {number}, {why}")
        yield row, Outcome(values["outcome"])


def _difference(values: Mapping[str, Any], row: Row, policy: Policy) -> str | None:
    for name, here in (("id", row.id), ("answer", row.answer), ("verifier", row.verifier)):
        if values[name] != here:
            return f"{name} was `{shorten(str(values[name]))}` and is `{shorten(str(here))}`"
    if row.submission is None or row.verifier is None:
        same = values["outcome"] == Outcome.INVALID_ROW
    else:
        found = begin(Job(row.submission, row.verifier, policy))
        known = (found.outcome, found.extracted) if isinstance(found, Verdict) else None
        same = known in (None, (values["outcome"], values["extracted"]))
    return None if same else "the response or a setting is another"


# -- the summary ---------------------------------------------------------------------------------------------------

FALSE_ACCEPT = "false accept"
FALSE_REJECT = "false reject"


class Tally:
    """Counts of rows: by outcome, and for labelled rows by label, with what goes wrong most."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.by_label: dict[bool, Counter[Outcome]] = {True: Counter(), False: Counter()}
        self._patterns: dict[tuple[str, str, Outcome], tuple[int, str | int | float]] = {}

    @property
    def rows(self) -> int:
        return self.outcomes.total()

    @property
    def correct(self) -> int:
        return self.outcomes[Outcome.CORRECT]

    @property
    def wrong(self) -> int:
        return self.outcomes[Outcome.WRONG]

    @property
    def no_verdict(self) -> int:
        return sum(self.outcomes[outcome] for outcome in NO_VERDICT)

    def add(self, row: Row, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        if row.label is None:
            return
        self.by_label[row.label][outcome] += 1
        if outcome not in NO_VERDICT and row.label != (outcome is Outcome.CORRECT):
            error = FALSE_REJECT if row.label else FALSE_ACCEPT
            pattern = error, reference_kind(row.submission), outcome
            count, example = self._patterns.get(pattern, (0, row.id))
            self._patterns[pattern] = count + 1, example

    def summary(self) -> dict[str, Any]:
        """Counts, and rates with 95 % Wilson intervals; a rate of nothing is None."""
        verdicts = self.rows - self.no_verdict
        summary: dict[str, Any] = {"rows": self.rows, "verdicts": verdicts, "correct": self.correct}
        summary["accuracy"], summary["ci95"] = _rate(self.correct, verdicts)
        summary["outcomes"] = _counts(self.outcomes)
        if any(self.by_label.values()):
            summary["labels"] = self._labels()
        return summary

    def _labels(self) -> dict[str, Any]:
        """With TP, FP, TN, FN over the labelled rows that reached a verdict:

        false accept = FP / (FP + TN), false reject = FN / (FN + TP), accuracy = (TP + TN) / all,
        precision = TP / (TP + FP), recall = TP / (TP + FN).
        """
        is_correct, is_wrong = self.by_label[True], self.by_label[False]
        positives, negatives = (
            sum(count for outcome, count in counts.items() if outcome not in NO_VERDICT)
            for counts in (is_correct, is_wrong)
        )
        tp, fp = is_correct[Outcome.CORRECT], is_wrong[Outcome.CORRECT]
        labels: dict[str, Any] = {"is_correct": _counts(is_correct), "is_wrong": _counts(is_wrong)}
        labels["false_accept_rate"], labels["false_accept_ci95"] = _rate(fp, negatives)
        labels["false_reject_rate"], labels["false_reject_ci95"] = _rate(positives - tp, positives)
        labels["accuracy"], labels["accuracy_ci95"] = _rate(tp + negatives - fp, positives + negatives)
        labels["precision"], labels["precision_ci95"] = _rate(tp, tp + fp)
        labels["recall"], labels["recall_ci95"] = _rate(tp, positives)
        worst = sorted(self._patterns.items(), key=lambda item: -item[1][0])[:MAX_PATTERNS]
        labels["worst"] = [
            {"error": error, "reference": kind, "outcome": str(outcome), "count": count, "example": example}
            for (error, kind, outcome), (count, example) in worst
        ]
        return labels


def _counts(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {str(outcome): outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


def _rate(successes: int, n: int) -> tuple[float | None, list[float] | None]:
    if not n:
        return None, None
    mean, low, high = wilson(successes, n)
    return mean, [low, high]


# -- kinds of references -------------------------------------------------------------------------------------------

_LETTER = re.compile(r"\(?[A-J]\)?\.?")
_MEMBER = re.compile(r"\\in(?![a-z])|\u2208")
_RELATION = re.compile(r"[<>\u2264\u2265\u2260]|\\(?:leq?|geq?|lt|gt|neq?)(?:slant)?(?![a-z])")
_AND = re.compile(r"[,;]|\b(?:and|or)\b")
_COMMAND = re.compile(r"\\[A-Za-z]++|\b(?:sin|cos|tan|sec|csc|cot|log|exp|sqrt|arcsin|arccos|arctan|min|max|mod)\b")
_WORD = re.compile(r"[^\W\d_]{3}")
_INFINITY = re.compile(r"\\infty|\u221e|\binf")
_CLOSING = {"(": ")", "[": "]"}


def reference_kind(submission: Submission | None) -> str:
    r"""What a reference looks like: `integer`, `interval`, `matrix`, ...; for grouping, not for grading."""
    if submission is None or submission.answer is None:
        return "tests"
    text = plain(submission.answer).replace("$", "").strip().rstrip(".").strip()
    if submission.choices or _LETTER.fullmatch(text):
        return "choice"
    if "=" not in text and (number := _kind_of_number(text)):
        return number
    if "\\begin{" in text:
        return "matrix"
    body = _MEMBER.split(text)[-1].strip()
    if brackets := _kind_of_brackets(body):
        return brackets
    if _RELATION.search(text):
        return "inequality"
    if "=" in text:
        return "equation"
    if _AND.search(_outside_brackets(text)):
        return "list"
    return "text" if _WORD.search(_COMMAND.sub(" ", text)) else "expression"


def _kind_of_number(text: str) -> str | None:
    if parse_number(text) is None:
        return "number with a unit" if parse_number(text, allow_unit=True) is not None else None
    if "%" in text:
        return "percentage"
    if "/" in text:
        return "fraction"
    return "integer" if text.lstrip("+-").replace(",", "").isdecimal() else "decimal"


def _kind_of_brackets(text: str) -> str | None:
    if "\\cup" in text or "\u222a" in text:
        return "interval"
    if text.startswith(("\\{", "{")) and text.endswith("}"):
        return "set"
    first, last = text[:1], text[-1:]
    if first not in _CLOSING or last not in _CLOSING.values() or _outside_brackets(text).strip():
        return None
    commas = _outside_brackets(text[1:-1]).count(",")
    if commas == 1 and (last != _CLOSING[first] or first == "[" or _INFINITY.search(text)):
        return "interval"
    if commas:
        return "tuple" if first == "(" else "list"
    return None


def _outside_brackets(text: str) -> str:
    depth, kept = 0, []
    for character in text:
        depth += character in "([{"
        if not depth:
            kept.append(character)
        depth -= character in ")]}" and depth > 0
    return "".join(kept)
