"""The labelled rows of the verifier benchmark: read, wrapped and named. Nothing of a row goes into a result."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_verifiers import Leniency, Submission, Verdict, extract

MATHS = (
    "frameworks_tests",
    "gsm8k_model_solutions",
    "hendrycks_math_tests",
    "latex2sympy2_extended_tests",
    "lighteval_tests",
    "math_verify_tests",
    "nemo_skills_tests",
    "simple_evals_equality",
    "skythought_tests",
    "tinyv_hardverify_math",
)
CHOICE = "mcq_lighteval_tests"
HOSTILE = "hostile_math_answers"
SLOW = "slow_math"

_OPTIONS = ("targets", "float_rounding", "strict", "allow_set_relation_comp")
_REGIONS = "allow_set_relation_comp"
_DEFAULTS = {"targets": ["latex", "expr"], "float_rounding": 6, "strict": True, "allow_set_relation_comp": False}


class Row(NamedTuple):
    """A reference and a response with somebody's label. `options` are the row's own settings of math-verify, if any."""

    file: str
    gold: str
    response: str
    equal: bool
    bare: bool
    options: dict[str, Any]
    category: str = ""

    @property
    def submission(self) -> Submission:
        """A bare answer goes into a box; the reference stays as it is."""
        return Submission(rf"\boxed{{{self.response}}}" if self.bare else self.response, self.gold)

    @property
    def leniency(self) -> Leniency:
        """The row's settings of math-verify in our terms."""
        settings: dict[str, Any] = {}
        if self.options.get("targets") == ["latex"]:
            settings["last_number"] = False
        if "float_rounding" in self.options:
            settings["relative_tolerance"] = 10.0 ** -self.options["float_rounding"]
        if self.options.get("strict") is False:
            settings["names"] = "any"
        if self.options.get("allow_set_relation_comp") is False:
            settings["regions"] = "as_written"
        return Leniency(**settings)

    def for_peer(self, options: dict[str, Any] | None = None) -> str:
        """The row as a line for math-verify."""
        return json.dumps([self.gold, self.response, self.bare, options or {}])


def missing(data: Path) -> list[str]:
    return [name for name in (*MATHS, CHOICE, HOSTILE, SLOW) if not (data / f"{name}.jsonl").is_file()]


def read(data: Path, name: str, limit: int | None = None) -> list[Row]:
    """The rows of a file, or of a trial the `limit` whose hashes come first."""
    with (data / f"{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [_row(name, json.loads(line)) for line in lines]
    return rows if limit is None else by_hash(rows)[:limit]


def _row(file: str, row: dict[str, Any]) -> Row:
    options = {key: row[key] for key in _OPTIONS if key in row and (row[key] != _DEFAULTS[key] or key == _REGIONS)}
    response = row["response"] if "response" in row else row["pred"]
    label = row["expected"] if "expected" in row else row["equal"]
    return Row(file, row["gold"], response, label, row.get("form") == "bare", options, row.get("category", ""))


def by_hash(rows: Iterable[Row]) -> list[Row]:
    """Rows without repeated pairs, in an order that has nothing to do with their content."""
    unique = {json.dumps([row.gold, row.response]): row for row in rows}
    return [unique[key] for key in sorted(unique, key=lambda key: hashlib.sha256(key.encode()).digest())]


_DECIMAL = r"[-+]?[0-9][0-9,]*(?:\.[0-9]+)?"
_KINDS = {
    "matrix": r"\\begin\{",
    "set or region": r"\\cup|\\in\b|\\\{|\\infty\s*\)|∞",
    "inequality": r"\\leq?\b|\\geq?\b|\\l?gt\b|\\lt\b|\\neq?\b|[<>≤≥≠]",
    "equation": r"=",
    "plus-minus": r"\\pm|\\mp|±",
    "number": rf"^{_DECIMAL}$",
    "fraction": rf"^-?(?:\\[dtc]?frac\s*(?:\{{?-?[0-9]+\}}?){{2}}|{_DECIMAL}\s*/\s*{_DECIMAL})$",
    "tuple or interval": r"^(?:\\left)?[(\[].*,.*[)\]]$",
    "list": r",(?![0-9]{3}(?![0-9]))|\band\b|;",
    "percent or unit": r"\\?%|\\circ|°|[0-9]\s*\\(?:text|mathrm|mbox)\b",
    "words": r"\\text\b|^[^\\$]*[^\W\d_]{4,}",
    "calculus": r"\\(?:int|sum|prod|lim)\b",
}


def kind(gold: str) -> str:
    """What a reference looks like, in a word or two: for counting, not for grading."""
    boxed = extract(gold, last_number=False) if "\\boxed" in gold else None
    text = (boxed.text if boxed else gold).strip().strip("$").strip()
    return next((name for name, pattern in _KINDS.items() if re.search(pattern, text)), "expression")


def disagreement(row: Row, verdict: Verdict, leniency: Leniency) -> str:
    """The class of a verdict that the label contradicts: what happened, by which rule of extraction, to what."""
    found = extract(row.submission.response, last_number=leniency.last_number, formulas=True)
    rule = found.rule if found else "nothing found"
    wrong = "not accepted" if row.equal else "accepted"
    return f"{wrong} ({verdict.outcome}), {rule}, {kind(row.gold)}"


class Mix(NamedTuple):
    """A realistic mix: its rows by part, shuffled as one, and other rows to warm up with."""

    parts: dict[str, int]
    rows: list[Row]
    warm_up: list[Row]


SHARES = {"GSM8K": 0.45, "worked solutions": 0.35, "hard forms": 0.20}
SOURCES = {
    "GSM8K": "gsm8k_model_solutions, for short sums with whole-number answers",
    "worked solutions": "text rows of math_verify_tests and lighteval_tests without repeats, for MATH solutions",
    "hard forms": "tinyv_hardverify_math, for answers whose form differs from the reference's",
}


def mix(data: Path, total: int) -> Mix:
    """About `total` rows in the shares; a part that has too few rows gives what it has."""
    parts = {
        "GSM8K": by_hash(read(data, "gsm8k_model_solutions")),
        "worked solutions": by_hash([*read(data, "math_verify_tests"), *read(data, "lighteval_tests")]),
        "hard forms": by_hash(read(data, "tinyv_hardverify_math")),
    }
    taken = {name: rows[: round(SHARES[name] * total)] for name, rows in parts.items()}
    spare = [row for name, rows in parts.items() for row in rows[len(taken[name]) :][:70]]
    spare += read(data, "latex2sympy2_extended_tests", 100)
    together = by_hash(row for rows in taken.values() for row in rows)
    return Mix({name: len(rows) for name, rows in taken.items()}, together, by_hash(spare)[: max(10, total // 4)])


def part_of(row: Row) -> str:
    return {"gsm8k_model_solutions": "GSM8K", "tinyv_hardverify_math": "hard forms"}.get(row.file, "worked solutions")
