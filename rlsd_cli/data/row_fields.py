"""What the fields of rows may hold: of problems, and of responses to them."""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from rlsd_cli.data.jsons import Number


class Field(NamedTuple):
    """What a field may hold: a test for it, and that in words. Null is as good as absent."""

    fits: Callable[[object], bool]
    expected: str


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_scalar(value: object) -> bool:
    """True for a text, and for a number that can be written as it was given: not for NaN or an infinity."""
    if isinstance(value, float | Decimal):
        return isinstance(value, Number) or math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_list(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


_TEXT = Field(_is_text, "text")
_SCALAR = Field(_is_scalar, "text or a number")

PROBLEM: Mapping[str, Field] = {
    "id": _SCALAR,
    "question": _TEXT,
    "answer": _SCALAR,
    "solution": _TEXT,
    "verifier": _TEXT,
    "tests": Field(lambda value: isinstance(value, str | list), "a list or text"),
    "entry_point": _TEXT,
    "choices": Field(_is_list(_is_scalar), "a list of texts"),
    "hints": Field(_is_list(_is_text), "a list of texts"),
    "pass_rate": Field(_is_rate, "a number from 0 to 1"),
}
"""A problem's, in the order in which faults are looked for."""

RESPONSE: Mapping[str, Field] = {
    "response": _TEXT,
    **{name: PROBLEM[name] for name in ("answer", "tests", "choices", "question", "entry_point", "verifier", "id")},
    "correct": Field(lambda value: isinstance(value, bool), "true or false"),
}
"""A response's, in the order in which faults are looked for."""
