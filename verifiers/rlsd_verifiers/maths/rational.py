"""The exact value of a tree that is rational, by plain integer arithmetic with every step bounded."""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from rlsd_verifiers.maths.tokens import TooComplexError
from rlsd_verifiers.maths.tree import Node

MAX_BITS = 40_000
MAX_FACTORIAL = 3_000


class UndecidedError(Exception):
    """The question cannot be decided by these means; others may decide it."""


@lru_cache(maxsize=4096)
def exact(node: Node) -> Fraction | None:
    """The rational value of a tree, None if it has none or none that is seen. Raises TooComplexError."""
    handler = _EXACT.get(node.op)
    return _bounded(handler(node)) if handler else None


def _bounded(value: Fraction | None) -> Fraction | None:
    if value is not None and max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TooComplexError("a value of too many digits")
    return value


def _all_exact(nodes: tuple[Node, ...]) -> list[Fraction] | None:
    values = []
    for node in nodes:
        value = exact(node)
        if value is None:
            return None
        values.append(value)
    return values


def _exact_sum(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    if values is None:
        return None
    total = Fraction(0)
    for value in values:
        total += value
        _bounded(total)
    return total


def _exact_product(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    if values is None:
        return None
    total = Fraction(1)
    for value in values:
        total *= value
        _bounded(total)
    return total


def _exact_divide(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    return None if values is None or values[1] == 0 else values[0] / values[1]


def _exact_power(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    if values is None:
        return None
    base, exponent = values
    if exponent.denominator != 1:
        root = _exact_root_of(base, exponent.denominator)
        return None if root is None else _integer_power(root, exponent.numerator)
    return _integer_power(base, exponent.numerator)


def _integer_power(base: Fraction, exponent: int) -> Fraction | None:
    if base in (1, -1) or exponent == 0:
        return (base if exponent % 2 else Fraction(1)) if base else Fraction(1)
    if base == 0:
        return Fraction(0) if exponent > 0 else None
    if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent) > MAX_BITS:
        raise TooComplexError("a power too large to work out")
    return base**exponent


def _exact_root(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    if values is None or values[0].denominator != 1 or not 2 <= values[0] <= 64:
        return None
    return _exact_root_of(values[1], values[0].numerator)


def _exact_root_of(value: Fraction, degree: int) -> Fraction | None:
    if degree > 64 or (value < 0 and degree % 2 == 0):
        return None
    roots = [_integer_root(abs(part), degree) for part in (value.numerator, value.denominator)]
    if roots[0] is None or roots[1] is None:
        return None
    return Fraction(roots[0], roots[1]) * (-1 if value < 0 else 1)


def _integer_root(value: int, degree: int) -> int | None:
    if value < 2:
        return value
    low, high = 1, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**degree == value else None


def _exact_factorial(node: Node) -> Fraction | None:
    value = exact(node.args[0])
    if value is None or value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise TooComplexError(f"a factorial above {MAX_FACTORIAL}")
    step = 2 if node.op == "factorial2" else 1
    return Fraction(math.prod(range(int(value), 0, -step)))


def _exact_binomial(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    if values is None or any(value.denominator != 1 or value < 0 for value in values):
        return None
    if values[0] > MAX_FACTORIAL * 10 and min(values[1], values[0] - values[1]) > 100:
        raise TooComplexError("a binomial too large to work out")
    return Fraction(math.comb(int(values[0]), int(values[1])))


def _exact_mixed(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    return None if values is None else values[0] + values[1]


def _exact_mod(node: Node) -> Fraction | None:
    values = _all_exact(node.args)
    return None if values is None or values[1] == 0 else values[0] % values[1]


def _exact_call(node: Node) -> Fraction | None:
    name, *arguments = node.args
    handler = _EXACT_CALLS.get(name)
    if handler is None:
        return None
    values = _all_exact(tuple(arguments))
    if not values:
        return None
    if name in ("gcd", "lcm") and any(value.denominator != 1 for value in values):
        return None
    return handler(values)


_EXACT_CALLS: dict[str, Callable[[list[Fraction]], Fraction | None]] = {
    "abs": lambda v: abs(v[0]),
    "floor": lambda v: Fraction(math.floor(v[0])),
    "ceil": lambda v: Fraction(math.ceil(v[0])),
    "max": max,
    "min": min,
    "gcd": lambda v: Fraction(math.gcd(*(int(x) for x in v))),
    "lcm": lambda v: Fraction(math.lcm(*(int(x) for x in v))),
    "sgn": lambda v: Fraction((v[0] > 0) - (v[0] < 0)),
}
_EXACT: dict[str, Callable[[Node], Fraction | None]] = {
    "number": lambda node: node.args[0],
    "based": lambda node: Fraction(node.args[2]),
    "negative": lambda node: None if (value := exact(node.args[0])) is None else -value,
    "sum": _exact_sum,
    "product": _exact_product,
    "divide": _exact_divide,
    "power": _exact_power,
    "root": _exact_root,
    "factorial": _exact_factorial,
    "factorial2": _exact_factorial,
    "binomial": _exact_binomial,
    "mixed": _exact_mixed,
    "mod": _exact_mod,
    "call": _exact_call,
}


class ExactValues:
    """Equality where both sides are rational; all else is undecided here, and may be decided by `Probe`.

    doubts: how many questions were undecided so far.
    decisive: whether an answer counts in spite of them.
    """

    decisive = False

    def __init__(self) -> None:
        self.doubts = 0

    def equal(self, left: Node, right: Node) -> bool:
        if left == right:
            return True
        a, b = exact(left), exact(right)
        if a is None or b is None:
            raise UndecidedError
        return a == b

    def proportional(self, left: Node, right: Node, *, positive: bool) -> bool:
        raise UndecidedError(left, right, positive)

    def constant_difference(self, left: Node, right: Node) -> bool:
        raise UndecidedError(left, right)

    def real(self, node: Node) -> Fraction | None:
        return exact(node)
