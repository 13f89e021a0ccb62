"""The problem record, and JSONL files of them.

A problem file has one JSON object a line with `question` and `answer`, and where they exist `id`, `solution`,
`verifier`, `tests`, `entry_point`, `choices`; `tests` may stand in for `answer`. Anything else is ignored. Rows as
HumanEval and MBPP have them are read too, and files compressed as `.jsonl.gz`.
"""

import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.data.layouts import in_own_fields
from rlsd_cli.errors import RlsdError

TEXT_FIELDS = ("question", "answer", "solution", "verifier", "entry_point")


class Problem(NamedTuple):
    """One problem. `fingerprint` hashes its question; `id` is the file's own or the fingerprint.

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
    """Twelve hex digits of the SHA-256 of a text with its white space folded."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def is_held_out(problem: Problem, share: float) -> bool:
    """Whether a problem belongs to the held-out split: a function of its question alone.

    Splitting by content rather than by seed or position keeps a problem on its side when files are reordered, merged or
    regenerated, and puts repeated questions on the same side.
    """
    return int(problem.fingerprint, 16) < share * 16**12


def read_problems(path: Path) -> list[Problem]:
    """The problems of a JSONL file, in order.

    Raises:
        RlsdError: naming file, line and field of every row that cannot be read (the first five are listed).
    """
    problems: list[Problem] = []
    faults: list[str] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                problems.append(_parse_row(json.loads(line)))
            except json.JSONDecodeError as error:
                faults.append(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}")
            except ValueError as error:
                faults.append(f"{path}:{number}: {error}")
    if faults:
        more = [f"... and {len(faults) - 5} more"] if len(faults) > 5 else []
        hint = "each line is an object with `question` and `answer` or `tests`"
        raise RlsdError("\n".join([*faults[:5], *more]), hint=hint)
    if not problems:
        raise RlsdError(f"{path} holds no problems")
    return problems


def _read_text(path: Path) -> str:
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise RlsdError(f"{path} is not UTF-8 text: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RlsdError(f"{path} is no gzip file, or a damaged one: {error}", hint="make or fetch it again") from error
    except OSError as error:
        raise RlsdError(f"cannot read {path}: {error.strerror}") from error


def _parse_row(given: object) -> Problem:
    if not isinstance(given, dict):
        raise ValueError(f"expected an object, found {type(given).__name__}")
    row = in_own_fields(given)
    for name in TEXT_FIELDS:
        value = row.get(name)
        required = name == "question" or (name == "answer" and row.get("tests") is None)
        if value is None and required:
            raise ValueError(f"field `{name}` is missing")
        if required and isinstance(value, str) and not value.strip():
            raise ValueError(f"field `{name}` is empty")
        if value is not None and not isinstance(value, str) and not (name == "answer" and _is_number(value)):
            raise ValueError(f"field `{name}` must be text, found {type(value).__name__}")
    fingerprint = content_hash(row["question"])
    choices = row.get("choices")
    if choices is not None and not isinstance(choices, list):
        raise ValueError(f"field `choices` must be a list, found {type(choices).__name__}")
    return Problem(
        id=fingerprint if row.get("id") in (None, "") else str(row["id"]),
        fingerprint=fingerprint,
        question=row["question"],
        answer="" if row.get("answer") is None else str(row["answer"]),
        solution=row.get("solution"),
        verifier=row.get("verifier"),
        tests=row.get("tests"),
        entry_point=row.get("entry_point"),
        choices=None if choices is None else tuple(map(str, choices)),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
