"""Equality of what a program returned or printed and what was expected, decided here, outside any jail."""

import math
import re
from collections.abc import Iterable, Set
from typing import Any

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-6, 1e-9
"""Tolerances of floats that are expected; all else is compared exactly."""

MAX_MATCHED = 200
"""Members of a set that are compared one by one."""


def same(expected: Any, found: Any, *, from_json: bool) -> bool:
    """True where two values of builtin types are the same.

    A truth value is no number, NaN equals nothing, and only where a float is expected may a number be near it. What
    JSON cannot say does not count if `from_json`: a tuple answers a list, and keys may be numbers where they are text.
    An integer must be an integer there; elsewhere, as in Python, `2.0 == 2`.
    """
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None or found is None:
        return type(expected) is type(found) and bool(expected == found)
    if isinstance(expected, float):
        return type(found) in (int, float) and _near(expected, found)
    if isinstance(expected, complex):
        return isinstance(found, complex) and _near(expected.real, found.real) and _near(expected.imag, found.imag)
    if isinstance(expected, int):
        return type(found) in ((int,) if from_json else (int, float)) and bool(expected == found)
    if isinstance(expected, list | tuple):
        is_sequence = type(found) is type(expected) or (from_json and isinstance(found, list | tuple))
        return is_sequence and len(expected) == len(found) and all(
            same(a, b, from_json=from_json) for a, b in zip(expected, found, strict=True)
        )  # fmt: skip
    if isinstance(expected, dict):
        return isinstance(found, dict) and _same_items(expected, found, from_json=from_json)
    if isinstance(expected, set | frozenset):
        return isinstance(found, set | frozenset) and _same_members(expected, found)
    return type(expected) is type(found) and bool(expected == found)


def _near(expected: float, found: float) -> bool:
    try:
        return math.isclose(expected, found, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    except OverflowError:
        return False


def _same_items(expected: dict[Any, Any], found: dict[Any, Any], *, from_json: bool) -> bool:
    size = len(found)
    if from_json:
        found = {_as_key(key): value for key, value in found.items()}
    return size == len(found) and _marked(expected) == _marked(found) and all(
        same(value, found[key], from_json=from_json) for key, value in expected.items()
    )  # fmt: skip


def _marked(members: Iterable[Any]) -> set[Any]:
    """Members or keys, with truth values set apart from numbers."""
    return {(isinstance(member, bool), member) for member in members}


def _same_members(expected: Set[Any], found: Set[Any]) -> bool:
    """True where two sets have the same members; of at most `MAX_MATCHED`, floats may be as near as elsewhere."""
    if len(expected) != len(found) or len(expected) > MAX_MATCHED:
        return _marked(expected) == _marked(found)
    left = list(found)
    for member in expected:
        near = next((place for place, other in enumerate(left) if same(member, other, from_json=False)), None)
        if near is None:
            return False
        del left[near]
    return True


def _as_key(key: Any) -> Any:
    """A key as JSON writes it."""
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    is_writable = isinstance(key, float) or (isinstance(key, int) and key.bit_length() < 1000)
    return str(key) if is_writable else key


_DECIMAL = re.compile(rb"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?")
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def same_output(expected: bytes, found: bytes) -> bool:
    """True where two outputs have the same words on the same lines.

    Blanks between and around words and empty lines at the end do not count. A decimal number may be near the expected
    one; everything else, whole numbers included, is the same byte for byte.
    """
    lines = _lines(expected), _lines(found)
    return len(lines[0]) == len(lines[1]) and all(map(_same_line, *lines))


def _lines(output: bytes) -> list[list[bytes]]:
    lines = [line.split() for line in output.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_line(expected: list[bytes], found: list[bytes]) -> bool:
    return expected == found or (len(expected) == len(found) and all(map(_same_word, expected, found)))


def _same_word(expected: bytes, found: bytes) -> bool:
    if expected == found:
        return True
    if not (_DECIMAL.fullmatch(expected) and _NUMBER.fullmatch(found)):
        return False
    numbers = float(expected), float(found)
    return math.isfinite(numbers[0]) and math.isclose(*numbers, rel_tol=1e-6, abs_tol=1e-6)
