"""Equality of expressions by their values at random points.

Two expressions are taken for the same function if they agree to 30 digits wherever both are real, at several points
drawn at random (the idea of Schwartz 1980 and Zippel 1979): one point at which they differ is a proof that they are not
the same, and chance has no room to make them agree. It needs mpmath, and so belongs in a worker process.
"""

import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from rlsd_verifiers.maths.evaluate import Evaluator, UndefinedError, is_real
from rlsd_verifiers.maths.rational import ExactValues, UndecidedError, exact
from rlsd_verifiers.maths.tree import Node, symbols, walk

DIGITS = 40
CHECK_DIGITS = 110
TRIALS = 5
MIN_AGREEING = 2
MAX_SCALE = 4_000
_INTEGER_NAMES = frozenset("nkmNKM")


class Probe(ExactValues):
    """Equality of expressions by their values, to `DIGITS` digits at random points."""

    decisive = True

    def __init__(self) -> None:
        import mpmath

        super().__init__()
        self.mp = mpmath.mp
        self._evaluator = Evaluator(mpmath.mp)

    def equal(self, left: Node, right: Node) -> bool:
        """True where two expressions are equal wherever both are real. Raises UndecidedError, TooComplexError."""
        try:
            return super().equal(left, right)
        except UndecidedError:
            pass
        agreed = 0
        for signed, values in self._points(left, right):
            pair = self._pair(left, right, values)
            if pair is None:
                continue
            a, b = pair
            if is_real(a) != is_real(b) or (signed and not is_real(a)):
                continue
            if not self._same(left, right, values, pair, finely=not agreed):
                if _is_opaque(left) or _is_opaque(right):
                    raise UndecidedError
                return False
            agreed += 1
            if not values:
                return True
        if agreed < MIN_AGREEING:
            raise UndecidedError
        return True

    def proportional(self, left: Node, right: Node, *, positive: bool) -> bool:
        """True where one expression is a constant multiple (not 0) of the other, by a positive constant if asked."""
        if not symbols(left) or symbols(left) != symbols(right):
            return False
        first: tuple[Any, Any] | None = None
        agreed = 0
        for _, values in self._points(left, right):
            pair = self._pair(left, right, values)
            if pair is None or not (is_real(pair[0]) and is_real(pair[1])):
                continue
            a, b = pair
            if first is None:
                if not a or not b:
                    continue
                if positive and (a > 0) != (b > 0):
                    return False
                first = pair
                continue
            with self.mp.workdps(DIGITS):
                if not _close(self.mp, a * first[1], b * first[0]):
                    return False
            agreed += 1
        if agreed < MIN_AGREEING:
            raise UndecidedError
        return True

    def constant_difference(self, left: Node, right: Node) -> bool:
        """True where two expressions differ by a constant only."""
        first = None
        agreed = 0
        for signed, values in self._points(left, right):
            pair = None if signed else self._pair(left, right, values)
            if pair is None:
                continue
            with self.mp.workdps(DIGITS):
                difference = pair[0] - pair[1]
                if first is None:
                    first = difference
                    continue
                scale = max(abs(pair[0]), abs(pair[1]), abs(first), 1)
                if abs(difference - first) > scale * self.mp.mpf(10) ** (10 - DIGITS):
                    return False
            agreed += 1
        if agreed < MIN_AGREEING:
            raise UndecidedError
        return True

    def real(self, node: Node) -> Fraction | None:
        """The real value of an expression without symbols, to `DIGITS` digits, or None."""
        if symbols(node):
            return None
        value = exact(node)
        if value is not None:
            return value
        try:
            with self.mp.workdps(DIGITS):
                result = self._evaluator.evaluate(node, {})
        except (UndefinedError, UndecidedError):
            return None
        sign, mantissa, exponent, _ = self.mp.mpf(self.mp.re(result))._mpf_
        if not is_real(result) or abs(exponent) > MAX_SCALE:
            return None
        return Fraction(int(-mantissa if sign else mantissa)) * Fraction(2) ** int(exponent)

    # -- points and values --------------------------------------------------------------------------------------------

    def _points(self, left: Node, right: Node) -> Iterator[tuple[bool, dict[str, Any]]]:
        """The points to compare at: positive ones, then of both signs; whole numbers where only those make sense."""
        names = sorted(symbols(left) | symbols(right))
        if not names:
            yield False, {}
            return
        whole = _integers_only(left) or _integers_only(right)
        mpf = self.mp.mpf
        for trial in range(TRIALS if whole else 2 * TRIALS):
            signed = trial >= TRIALS
            values = {}
            for name in names:
                draw = zlib.crc32(f"{name}/{trial}".encode())
                if whole:
                    values[name] = mpf(2 + trial + draw % 7)
                else:
                    value = mpf(2**20 + draw % 2**22) / 2**21
                    negative = signed and (trial == TRIALS or draw >> 22 & 1)
                    values[name] = -value if negative else value
            yield signed, values

    def _pair(self, left: Node, right: Node, values: Mapping[str, Any], digits: int = DIGITS) -> tuple[Any, Any] | None:
        try:
            with self.mp.workdps(digits):
                return self._evaluator.evaluate(left, values), self._evaluator.evaluate(right, values)
        except UndefinedError:
            return None

    def _same(self, left: Node, right: Node, values: Mapping[str, Any], pair: tuple[Any, Any], *, finely: bool) -> bool:
        """True where two values are equal to working precision and, if asked, to `CHECK_DIGITS`.

        A difference between values near 0 may be rounding alone; then it shrinks when the precision grows.
        """
        a, b = pair
        with self.mp.workdps(DIGITS):
            difference, scale = abs(a - b), max(abs(a), abs(b))
            if difference > 1e-6 * scale and difference > 1e-6:
                return False
            if _close(self.mp, a, b) and not finely:
                return True
        finer = self._pair(left, right, values, CHECK_DIGITS)
        if finer is None:
            return False
        with self.mp.workdps(CHECK_DIGITS):
            rest, ten = abs(finer[0] - finer[1]), self.mp.mpf(10)
            return bool(rest <= scale * ten ** (15 - CHECK_DIGITS) or rest < difference * ten**-30)


def _is_opaque(node: Node) -> bool:
    """True where a sum, integral or limit stands in the tree, which is only compared as it is written."""
    return any(part.op == "unevaluated" for part in walk(node))


def _close(mp: Any, a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= max(abs(a), abs(b)) * mp.mpf(10) ** (10 - DIGITS))


def _integers_only(node: Node) -> bool:
    """True where symbols of a tree can only stand for whole numbers: under a mod, in `(-1)^n` or `sin n pi`."""
    for part in walk(node):
        if part.op in ("mod",) or (part.op == "call" and part.args[0] in ("floor", "ceil", "gcd", "lcm")):
            if symbols(part):
                return True
        elif part.op == "power" and symbols(part.args[1]) & _INTEGER_NAMES:
            base = exact(part.args[0])
            if base is not None and base < 0:
                return True
        elif part.op == "call" and part.args[0] in ("sin", "cos", "tan") and symbols(part) & _INTEGER_NAMES:
            return any(inner.op == "symbol" and inner.args[0] == "pi" for inner in walk(part))
    return False
