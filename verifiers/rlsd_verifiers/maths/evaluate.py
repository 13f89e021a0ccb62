"""The value of an expression at a point, by mpmath at its working precision."""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from rlsd_verifiers.maths.rational import MAX_FACTORIAL, UndecidedError, exact
from rlsd_verifiers.maths.tokens import TooComplexError
from rlsd_verifiers.maths.tree import Node


class UndefinedError(ArithmeticError):
    """There is no value at this point."""


class Evaluator:
    """Works out expressions in an mpmath context."""

    def __init__(self, mp: Any) -> None:
        self.mp = mp

    def evaluate(self, node: Node, values: Mapping[str, Any]) -> Any:
        """The value of an expression whose symbols have these values.

        Raises:
            UndefinedError: it has none at this point.
            UndecidedError: it holds an operation that is not worked out.
            TooComplexError: a static limit is exceeded.
        """
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
        if base == 0 and (not is_real(exponent) or exponent <= 0):
            if exponent == 0:
                return mp.mpf(1)
            raise UndefinedError("a power of 0")
        if base != 0 and abs(mp.re(exponent) * mp.log(abs(base))) > 1e5:
            raise TooComplexError("a power too large to work out")
        if is_real(base) and base < 0 and is_real(exponent):
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


def is_real(value: Any) -> bool:
    imaginary = getattr(value, "imag", 0)
    return not imaginary or abs(imaginary) <= abs(value) * 1e-30


def _root(mp: Any, degree: Any, value: Any) -> Any:
    if not is_real(degree) or degree != int(mp.re(degree)) or degree < 2:
        return mp.power(value, 1 / degree)
    if is_real(value) and mp.re(value) < 0 and int(degree) % 2:
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
        if not all(is_real(argument) for argument in arguments):
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
