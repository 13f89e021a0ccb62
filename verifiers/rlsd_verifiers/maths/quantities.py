"""Expressions with their units, degrees or percent, and what may differ in them: rounding and names."""

from fractions import Fraction
from typing import NamedTuple

from rlsd_verifiers.maths.labels import Rules, quietly
from rlsd_verifiers.maths.rational import UndecidedError, exact
from rlsd_verifiers.maths.tree import Node, number, rename, symbols
from rlsd_verifiers.units import find_unit

MIN_REFERENCE_DIGITS = 3
MIN_ANSWER_DIGITS = 4
_PARAMETERS = (frozenset("klmn"), frozenset("cCK"))
_CONSTANTS_OF_INTEGRATION = ("C", "K", "c", "k")


class Quantity(NamedTuple):
    """An expression, and the sign or unit that stands behind it."""

    value: Node
    kind: str = ""
    unit: str = ""


def same_scalar(reference: Node, answer: Node, rules: Rules) -> bool:
    if reference == answer:
        return True
    wanted, given = quantity(reference), quantity(answer)
    if {wanted.kind, given.kind} == {"unit", ""}:
        wanted, given = _with_letter_unit(wanted), _with_letter_unit(given)
    if wanted.kind == given.kind == "unit":
        return _same_with_units(wanted, given, rules)
    if "percent" in (wanted.kind, given.kind) and wanted.kind != given.kind:
        return _same_percent(wanted, given, rules)
    if "degrees" in (wanted.kind, given.kind) and wanted.kind != given.kind:
        if _same_value(wanted.value, given.value, rules):
            return True
        in_radians = [Node("degrees", (q.value,)) if q.kind == "degrees" else q.value for q in (wanted, given)]
        return _same_value(in_radians[0], in_radians[1], rules)
    return _same_value(wanted.value, given.value, rules)


def quantity(node: Node) -> Quantity:
    if node.op in ("percent", "degrees"):
        return Quantity(node.args[0], node.op)
    if node.op == "unit":
        inner = quantity(node.args[0])
        return inner if inner.kind else Quantity(node.args[0], "unit", node.args[1])
    if node.op == "negative":
        inner = quantity(node.args[0])
        if inner.kind:
            return inner._replace(value=Node("negative", (inner.value,)))
    if node.op in ("product", "mixed") and node.args:
        *front, last = node.args
        inner = quantity(last)
        if inner.kind:
            return inner._replace(value=Node(node.op, (*front, inner.value)))
    return Quantity(node)


def _with_letter_unit(quantity: Quantity) -> Quantity:
    """`5 m` was read as a product; beside another unit its letter is a unit too."""
    node = quantity.value
    if quantity.kind or node.op != "product" or node.args[-1].op != "symbol":
        return quantity
    *front, last = node.args
    value = front[0] if len(front) == 1 else Node("product", tuple(front))
    return Quantity(value, "unit", last.args[0]) if not symbols(value) and find_unit(last.args[0]) else quantity


def _same_percent(wanted: Quantity, given: Quantity, rules: Rules) -> bool:
    shares = [Node("divide", (q.value, number(100))) if q.kind == "percent" else q.value for q in (wanted, given)]
    if _same_value(shares[0], shares[1], rules):
        return True
    bare = wanted if given.kind == "percent" else given
    value = rules.values.real(bare.value)
    above_one = value is not None and abs(value) > 1
    return rules.leniency.percent == "either" and above_one and _same_value(wanted.value, given.value, rules)


def _same_with_units(wanted: Quantity, given: Quantity, rules: Rules) -> bool:
    a, b = find_unit(wanted.unit), find_unit(given.unit)
    if a is None or b is None:
        return _same_value(wanted.value, given.value, rules)
    if a.dimension != b.dimension:
        return False
    if a.factor == b.factor:
        return _same_value(wanted.value, given.value, rules)
    in_base = [Node("product", (number(u.factor), q.value)) for u, q in ((a, wanted), (b, given))]
    return rules.values.equal(in_base[0], in_base[1])


def _same_value(reference: Node, answer: Node, rules: Rules) -> bool:
    """True where two are equal as expressions, or up to rounding, a parameter's name or a constant of integration."""
    undecided: UndecidedError | None = None
    try:
        if rules.values.equal(reference, answer):
            return True
    except UndecidedError as error:
        undecided = error
    if rules.leniency.decimals == "rounded" and _rounds_to(reference, answer, rules):
        return True
    if rules.leniency.relative_tolerance and _is_near(reference, answer, rules):
        return True
    if _renamed(reference, answer, rules) or _same_antiderivative(reference, answer, rules):
        return True
    if undecided:
        raise undecided
    return False


class Decimal(NamedTuple):
    """A number written with a decimal point: its value, the places behind the point, the significant digits."""

    value: Fraction
    places: int
    digits: int


def _decimal(node: Node) -> Decimal | None:
    """A decimal, with its sign and power of ten, or None."""
    if node.op == "number":
        value, places, digits = node.args
        return None if places is None else Decimal(value, places, digits)
    if node.op == "negative":
        inner = _decimal(node.args[0])
        return inner and inner._replace(value=-inner.value)
    if node.op == "divide" and node.args[1] == number(100):
        inner = _decimal(node.args[0])
        return inner and Decimal(inner.value / 100, inner.places + 2, inner.digits)
    if node.op == "product" and len(node.args) == 2 and node.args[1].op == "power":
        inner, power = _decimal(node.args[0]), node.args[1]
        exponent = exact(power.args[1])
        if inner and power.args[0] == number(10) and exponent is not None and exponent.denominator == 1:
            return Decimal(inner.value * Fraction(10) ** int(exponent), inner.places - int(exponent), inner.digits)
    return None


def _rounds_to(reference: Node, answer: Node, rules: Rules) -> bool:
    """True where one is the other, rounded or cut to the digits it is written in."""
    wanted, given = _decimal(reference), _decimal(answer)
    if wanted and wanted.digits >= MIN_REFERENCE_DIGITS and (given is None or given.places > wanted.places):
        exact_value, shown = answer, wanted
    elif given and wanted is None and given.digits >= MIN_ANSWER_DIGITS and not _is_whole(reference):
        exact_value, shown = reference, given
    else:
        return False
    value = rules.values.real(exact_value)
    if value is None:
        if symbols(exact_value):
            return False
        raise UndecidedError
    if abs(shown.places) > 400:
        return False
    step = Fraction(1, 10) ** shown.places
    distance = value - shown.value
    cut = 0 <= (distance if shown.value >= 0 else -distance) < step
    return cut or abs(distance) <= step / 2


def _is_near(reference: Node, answer: Node, rules: Rules) -> bool:
    wanted, given = rules.values.real(reference), rules.values.real(answer)
    if wanted is None or given is None:
        return False
    return abs(given - wanted) <= Fraction(rules.leniency.relative_tolerance) * abs(wanted)


def _is_whole(node: Node) -> bool:
    value = exact(node)
    return value is not None and value.denominator == 1


def _renamed(reference: Node, answer: Node, rules: Rules) -> bool:
    """True where two are the same up to the name of one integer parameter, as in `k \\pi` and `n \\pi`."""
    ours, theirs = symbols(reference) - symbols(answer), symbols(answer) - symbols(reference)
    if len(ours) != 1 or len(theirs) != 1 or not any(ours | theirs <= names for names in _PARAMETERS):
        return False
    return quietly(rules, rules.values.equal, reference, rename(answer, *theirs, *ours))


def _same_antiderivative(reference: Node, answer: Node, rules: Rules) -> bool:
    """True where both end in `+ C`, whatever it is called, and differ by a constant."""
    left, right = _without_constant(reference), _without_constant(answer)
    if left is None or right is None or not symbols(left):
        return False
    return quietly(rules, rules.values.constant_difference, left, right)


def _without_constant(node: Node) -> Node | None:
    if node.op != "sum":
        return None
    kept = tuple(term for term in node.args if not (term.op == "symbol" and term.args[0] in _CONSTANTS_OF_INTEGRATION))
    if len(kept) != len(node.args) - 1:
        return None
    return kept[0] if len(kept) == 1 else Node("sum", kept)
