"""Equality of expressions by their values at random points.

Two expressions are taken for the same function if they agree to 30 digits wherever both are real, at several points
drawn at random (the idea of Schwartz 1980 and Zippel 1979): one point at which they differ is a proof that they are not
the same, and chance has no room to make them agree. It needs mpmath, and so belongs in a worker process.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from rlsd_verifiers.maths.rational import MAX_FACTORIAL, ExactValues, UndecidedError, exact
from rlsd_verifiers.maths.tokens import TooComplexError
from rlsd_verifiers.maths.tree import Node, symbols, walk

DIGITS = 40
CHECK_DIGITS = 110
TRIALS = 5
MIN_AGREEING = 2
MAX_SCALE = 4_000
_INTEGER_NAMES = frozenset("nkmNKM")


class UndefinedError(ArithmeticError):
    """There is no value at this point."""


class Probe(ExactValues):
    """Equality of expressions by their values, to `DIGITS` digits at random points."""

    decisive = True

    def __init__(self) -> None:
        import mpmath

        super().__init__()
        self.mp = mpmath.mp

    def equal(self, left: Node, right: Node) -> bool:
        """Whether two expressions are equal wherever both are real. Raises UndecidedError, TooComplexError."""
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
            if _is_real(a) != _is_real(b) or (signed and not _is_real(a)):
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
        """Whether one expression is a constant multiple (not 0) of the other, by a positive constant if asked."""
        if not symbols(left) or symbols(left) != symbols(right):
            return False
        first: tuple[Any, Any] | None = None
        agreed = 0
        for _, values in self._points(left, right):
            pair = self._pair(left, right, values)
            if pair is None or not (_is_real(pair[0]) and _is_real(pair[1])):
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
        """Whether two expressions differ by a constant only."""
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
                result = self._evaluate(node, {})
        except (UndefinedError, UndecidedError):
            return None
        sign, mantissa, exponent, _ = self.mp.mpf(self.mp.re(result))._mpf_
        if not _is_real(result) or abs(exponent) > MAX_SCALE:
            return None
        return Fraction(int(-mantissa if sign else mantissa)) * Fraction(2) ** int(exponent)

    # -- points and values --------------------------------------------------------------------------------------------

    def _points(self, left: Node, right: Node) -> Iterator[tuple[bool, dict[str, Any]]]:
        """Where to look: positive points, then points of both signs; whole numbers where only those make sense."""
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
                return self._evaluate(left, values), self._evaluate(right, values)
        except UndefinedError:
            return None

    def _same(self, left: Node, right: Node, values: Mapping[str, Any], pair: tuple[Any, Any], *, finely: bool) -> bool:
        """Equal to working precision, and if asked to `CHECK_DIGITS`.

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

    def _evaluate(self, node: Node, values: Mapping[str, Any]) -> Any:
        try:
            return self._value(node, values)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise UndefinedError(str(error)) from error

    def _value(self, node: Node, values: Mapping[str, Any]) -> Any:
        mp, op = self.mp, node.op
        if op == "number":
            return mp.mpf(node.args[0].numerator) / node.args[0].denominator
        if op == "symbol":
            return self._symbol(node.args[0], values)
        if op == "call":
            return self._call(node, values)
        if op == "apply":
            return self._apply(*node.args, values=values)
        if op == "unevaluated":
            return self._apply(*_opened(node), values=values)
        if op == "power":
            return self._power(node, values)
        if op == "based":
            return mp.mpf(node.args[2])
        if op not in _NUMERIC:
            raise UndecidedError
        arguments = [self._value(argument, values) for argument in node.args]
        return _NUMERIC[op](mp, *arguments)

    def _symbol(self, name: str, values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        if name == "pi":
            return +self.mp.pi
        if name == "e":
            return +self.mp.e
        if name == "i":
            return self.mp.mpc(0, 1)
        raise UndefinedError(f"{name} is not a number")

    def _power(self, node: Node, values: Mapping[str, Any]) -> Any:
        mp = self.mp
        base, exponent = (self._value(argument, values) for argument in node.args)
        if base == 0 and (not _is_real(exponent) or exponent <= 0):
            if exponent == 0:
                return mp.mpf(1)
            raise UndefinedError("a power of 0")
        if base != 0 and abs(mp.re(exponent) * mp.log(abs(base))) > 1e5:
            raise TooComplexError("a power too large to work out")
        if _is_real(base) and base < 0 and _is_real(exponent):
            ratio = exact(node.args[1])
            if ratio is not None and ratio.denominator % 2:
                sign = -1 if ratio.numerator % 2 else 1
                return sign * mp.power(-mp.re(base), mp.re(exponent))
        return mp.power(base, exponent)

    def _call(self, node: Node, values: Mapping[str, Any]) -> Any:
        name, *arguments = node.args
        if name not in _CALLS:
            raise UndecidedError
        numbers = [self._value(argument, values) for argument in arguments]
        if any(abs(value) > 1e6 for value in numbers) and name in ("exp", "sinh", "cosh", "Gamma", "fact"):
            raise TooComplexError(f"{name} of too large a number")
        return _CALLS[name](self.mp, *numbers)

    def _apply(self, name: str, *arguments: Node, values: Mapping[str, Any]) -> Any:
        """An unknown function: some smooth function that depends on its name alone."""
        total = self.mp.mpf(0)
        for place, argument in enumerate(arguments):
            seed = zlib.crc32(f"{name}/{place}".encode())
            value = self._value(argument, values)
            if abs(value) > 1e6:
                raise TooComplexError(f"{name} of too large a number")
            total += self.mp.cos(value * (1 + seed % 97) / 40 + seed % 89) + value * (1 + seed % 83) / 50
        return total


def _is_opaque(node: Node) -> bool:
    """Whether a sum, integral or limit stands in the tree, which is only compared as it is written."""
    return any(part.op == "unevaluated" for part in walk(node))


def _opened(node: Node) -> tuple[Any, ...]:
    """The name of a sum, integral or limit, then the sides of its bounds and its body as plain expressions."""
    kind, *parts, body = node.args
    names: list[str] = [kind]
    sides: list[Node] = []
    for bound in parts:
        mark, inner = bound.args
        operands = inner.args[1:] if inner.op == "relation" else (inner,)
        names.append(f"{mark}{len(operands)}")
        sides.extend(operands)
    return (" ".join(names), *sides, body)


def _is_real(value: Any) -> bool:
    imaginary = getattr(value, "imag", 0)
    return not imaginary or abs(imaginary) <= abs(value) * 1e-30


def _close(mp: Any, a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= max(abs(a), abs(b)) * mp.mpf(10) ** (10 - DIGITS))


def _integers_only(node: Node) -> bool:
    """Whether the symbols of a tree can only stand for whole numbers: under a mod, in `(-1)^n` or `sin n pi`."""
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


def _root(mp: Any, degree: Any, value: Any) -> Any:
    if not _is_real(degree) or degree != int(mp.re(degree)) or degree < 2:
        return mp.power(value, 1 / degree)
    if _is_real(value) and mp.re(value) < 0 and int(degree) % 2:
        return -mp.root(-mp.re(value), int(degree))
    return mp.root(value, int(degree)) if int(degree) < 1000 else mp.power(value, 1 / degree)


def _factorial(mp: Any, value: Any) -> Any:
    if abs(value) > MAX_FACTORIAL:
        raise TooComplexError(f"a factorial above {MAX_FACTORIAL}")
    return mp.factorial(value)


def _binomial(mp: Any, n: Any, k: Any) -> Any:
    if abs(n) > 1e4 or abs(k) > 1e4:
        raise TooComplexError("a binomial too large to work out")
    return mp.binomial(n, k)


def _real_only(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(mp: Any, *arguments: Any) -> Any:
        if not all(_is_real(argument) for argument in arguments):
            raise UndefinedError("not real")
        return function(mp, *(mp.re(argument) for argument in arguments))

    return call


def _whole(value: Any) -> int:
    if value != int(value):
        raise UndefinedError("not a whole number")
    return int(value)


_NUMERIC: dict[str, Callable[..., Any]] = {
    "negative": lambda mp, x: -x,
    "sum": lambda mp, *xs: mp.fsum(xs),
    "product": lambda mp, *xs: mp.fprod(xs),
    "divide": lambda mp, x, y: x / y,
    "mixed": lambda mp, x, y: x + y,
    "root": _root,
    "factorial": _factorial,
    "factorial2": lambda mp, x: mp.fac2(x) if abs(x) <= MAX_FACTORIAL else _factorial(mp, x),
    "binomial": _binomial,
    "mod": _real_only(lambda mp, x, y: x - y * mp.floor(x / y)),
    "degrees": lambda mp, x: x * mp.pi / 180,
    "percent": lambda mp, x: x / 100,
}
_CALLS: dict[str, Callable[..., Any]] = {
    **{name: (lambda mp, x, name=name: getattr(mp, name)(x)) for name in
       "sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth sech csch asinh acosh atanh".split()},
    "ln": lambda mp, x: mp.log(x),
    "log": lambda mp, x: mp.log(x),
    "log10": lambda mp, x: mp.log10(x),
    "log_base": lambda mp, base, x: mp.log(x) / mp.log(base),
    "exp": lambda mp, x: mp.exp(x),
    "abs": lambda mp, x: abs(x),
    "floor": _real_only(lambda mp, x: mp.floor(x)),
    "ceil": _real_only(lambda mp, x: mp.ceil(x)),
    "max": _real_only(lambda mp, *xs: max(xs)),
    "min": _real_only(lambda mp, *xs: min(xs)),
    "sgn": _real_only(lambda mp, x: mp.sign(x)),
    "re": lambda mp, x: mp.re(x),
    "im": lambda mp, x: mp.im(x),
    "Gamma": lambda mp, x: _factorial(mp, x - 1),
    "fact": _factorial,
    "gcd": _real_only(lambda mp, *xs: mp.mpf(math.gcd(*(_whole(x) for x in xs)))),
    "lcm": _real_only(lambda mp, *xs: mp.mpf(math.lcm(*(_whole(x) for x in xs)))),
}  # fmt: skip
