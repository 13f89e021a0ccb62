"""The problem record, and files of them.

A row has `question` and `answer`, and where they exist the other fields of `row_fields.PROBLEM`; `tests` may stand in
for `answer`. Training ignores anything else. Rows as `layouts` knows them are read too, from every kind of file that
`readers` knows.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rlsd_cli.data.jsons import DECODER, as_text
from rlsd_cli.data.layouts import as_choices, in_own_fields
from rlsd_cli.data.readers import RawRow, read_rows
from rlsd_cli.data.row_fields import PROBLEM
from rlsd_cli.errors import RlsdError
from rlsd_verifiers.verdict import shorten

MAX_TEXT = 2**20
"""Characters of one text; tests may be longer."""


class Problem(NamedTuple):
    """One problem. `fingerprint` hashes its question and choices; `id` is the file's own or the fingerprint.

    `hints` go from the vaguest to the most telling. `pass_rate` is the share of a model's answers that were right.
    """

    id: str
    fingerprint: str
    question: str
    answer: str
    solution: str | None = None
    verifier: str | None = None
    tests: Any = None
    entry_point: str | None = None
    choices: tuple[str, ...] | None = None
    hints: tuple[str, ...] | None = None
    pass_rate: float | None = None


def content_hash(text: str) -> str:
    """`short_hash` of a text with its white space folded."""
    return short_hash(folded(text))


def folded(text: str) -> str:
    """A text with each run of white space as one blank."""
    return " ".join(text.split())


def short_hash(text: str) -> str:
    """Twelve hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def hash64(text: str) -> int:
    """Eight bytes of the BLAKE2 of a text, as a number; half a character counts as one of its own."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def asked(question: str, choices: Iterable[object] | None = None) -> str:
    """What a problem asks, with its choices, in one text."""
    return "\n".join([question, *map(str, choices or ())])


def is_held_out(problem: Problem, share: float) -> bool:
    """True where a problem belongs to the held-out split: a function of its question alone.

    Splitting by content rather than by seed or position keeps a problem on its side when files are reordered, merged or
    regenerated, and puts repeated questions on the same side.
    """
    return int(problem.fingerprint, 16) < share * 16**12


def select(problems: Sequence[Problem], limit: int) -> list[Problem]:
    """At most `limit` problems, chosen by content, so the choice does not depend on their order."""
    return sorted(problems, key=lambda problem: (problem.fingerprint, problem.id))[:limit]


def problem_of(given: Mapping[str, Any]) -> tuple[Problem, dict[str, Any]]:
    """A row in our fields or those of a known layout as a problem, and what else the row holds.

    Raises:
        ValueError: naming a field that is missing, null, empty, too long or of the wrong type.
    """
    row = {name: _read(name, value) for name, value in in_own_fields(given).items()}
    row["choices"] = as_choices(row.get("choices"))
    for name, (fits, expected) in PROBLEM.items():
        value = row.get(name)
        required = name == "question" or (name == "answer" and row.get("tests") is None)
        if value is None and required:
            raise ValueError(f"field `{name}` is null" if name in row else _missing(name, row))
        if value is None:
            continue
        if not fits(value):
            raise ValueError(f"field `{name}` must be {expected}, found {_shown(value)}")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                _check_text(name, text, required=required)
    hints, answer = row.get("hints"), row.get("answer")
    choices = None if row.get("choices") is None else tuple(map(as_text, row["choices"]))
    fingerprint = content_hash(asked(row["question"], choices))
    problem = Problem(
        id=fingerprint if row.get("id") in (None, "") else as_text(row["id"]),
        fingerprint=fingerprint,
        question=row["question"],
        answer="" if answer is None else as_text(answer),
        solution=row.get("solution"),
        verifier=row.get("verifier"),
        tests=row.get("tests"),
        entry_point=row.get("entry_point"),
        choices=choices,
        hints=None if hints is None else tuple(hints),
        pass_rate=None if row.get("pass_rate") is None else float(row["pass_rate"]),
    )
    return problem, {name: value for name, value in row.items() if name not in PROBLEM and value is not None}


def _read(name: str, value: Any) -> Any:
    """A value of a table, where all is text: a list in JSON, or a rate, where a field holds one."""
    if not isinstance(value, str):
        return value
    if name in LISTS and value.lstrip().startswith("["):
        try:
            return DECODER.decode(value)
        except (ValueError, RecursionError):
            return value
    if name == "pass_rate":
        return float(value) if _NUMBER.fullmatch(value.strip()) else value
    return value


LISTS = ("choices", "hints", "tests")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def _missing(name: str, row: Mapping[str, Any]) -> str:
    others = [other for other in row if other not in PROBLEM]
    found = f"; there is {', '.join(f'`{shorten(other)}`' for other in others[:6])}" if others else ""
    also = ", and so is `tests`" if name == "answer" else ""
    return f"field `{name}` is missing{also}{found}"


def _check_text(name: str, text: str, *, required: bool) -> None:
    if required and not text.strip():
        raise ValueError(f"field `{name}` is empty")
    if len(text) > MAX_TEXT and name != "tests":
        raise ValueError(f"field `{name}` has {len(text):,} characters, and {MAX_TEXT:,} at most are read")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"field `{name}` holds half a character ({text[error.start]!a})") from None


def to_row(problem: Problem) -> dict[str, Any]:
    """The fields of a problem that it has, as they stand in a file."""
    row = {name: getattr(problem, name) for name in PROBLEM}
    return {name: value for name, value in row.items() if value is not None and (name, value) != ("answer", "")}


class Found(NamedTuple):
    """A row of a source: where it is, and its problem with what else the row holds, or the fault that it has."""

    where: str
    problem: Problem | None
    rest: Mapping[str, Any] = MappingProxyType({})
    fault: str | None = None
    note: str | None = None


def problems_of(rows: Iterable[RawRow], columns: Mapping[str, str] = MappingProxyType({})) -> Iterator[Found]:
    """Rows into problems, one at a time. `columns` maps our fields to the names that columns have in these rows."""
    for row in rows:
        try:
            if row.fields is None:
                raise ValueError(row.fault)
            problem, rest = problem_of(_renamed(row.fields, columns) if columns else row.fields)
        except ValueError as error:
            yield Found(row.where, None, fault=str(error))
        else:
            yield Found(row.where, problem, rest, note=row.note)


def _renamed(fields: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with columns under our names; `a.b` is the column `b` of an object `a`."""
    renamed = {name: value for name, value in fields.items() if name not in columns.values()}
    for name, column in columns.items():
        value: Any = fields
        for part in [column] if column in fields else column.split("."):
            if not isinstance(value, Mapping) or part not in value:
                there = ", ".join(f"`{shorten(other)}`" for other in list(fields)[:8])
                raise ValueError(f"column `{column}`, which is mapped to `{name}`, is missing; there is {there}")
            value = value[part]
        renamed[name] = value
    return renamed


def strictly(found: Iterable[Found], source: str) -> list[Problem]:
    """All problems, in order.

    Raises:
        RlsdError: naming file, line and field of every row that cannot be read, and of every id that two problems have
            (the first five are listed).
    """
    problems: list[Problem] = []
    faults: list[str] = []
    owners: dict[str, tuple[str, str]] = {}
    for where, problem, _, fault, _ in found:
        if problem is None:
            faults.append(f"{where}: {fault}")
            continue
        owner, fingerprint = owners.setdefault(problem.id, (where, problem.fingerprint))
        if fingerprint != problem.fingerprint:
            faults.append(f"{where}: field `id`: `{problem.id}` is that of another problem, {owner}")
        problems.append(problem)
    if faults:
        more = [f"... and {len(faults) - 5} more"] if len(faults) > 5 else []
        hint = "a row has `question` and `answer` or `tests`\n"
        hint += "`rlsd data prepare` keeps the good rows; its `--map FIELD=COLUMN` takes columns of other names"
        raise RlsdError("\n".join([*faults[:5], *more]), hint=hint)
    if not problems:
        raise RlsdError(f"{source} holds no problems")
    return problems


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file, in order; raises RlsdError as `strictly` does."""
    return strictly(problems_of(read_rows(path)), str(path))


def _shown(value: object) -> str:
    """A number as it is, for it may be out of range; anything else by its type."""
    return as_text(value) if isinstance(value, float) else type(value).__name__
