"""Regions of the real line, however they are written: intervals, unions, inequalities, set builders."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from rlsd_verifiers.maths.labels import Rules, is_label, simplified
from rlsd_verifiers.maths.quantities import same_scalar
from rlsd_verifiers.maths.rational import UndecidedError
from rlsd_verifiers.maths.tree import Node, symbol, symbols
from rlsd_verifiers.maths.vocabulary import FLIPPED, REGIONS

_INFINITY = symbol("oo")
_REALS = symbol("mathbb{R}")


class Span(NamedTuple):
    """An interval: its ends, and which of them belong to it."""

    low: Node
    high: Node
    low_closed: bool
    high_closed: bool


def is_region(node: Node) -> bool:
    if node.op in REGIONS or node == _REALS:
        return True
    if node.op == "or":
        return any(is_region(part) for part in node.args)
    return (
        node.op == "relation" and set(node.args[0]) <= {"<", ">", "<=", ">=", "!="} and _bounded_name(node) is not None
    )


def same_region(reference: Node, answer: Node, rules: Rules) -> bool:
    names = [_bounded_name(node) for node in (reference, answer)]
    if None not in names and names[0] != names[1]:
        return False
    wanted = _spans(reference, rules)
    try:
        given = _spans(answer, rules)
    except UndecidedError:
        if is_region(answer):
            raise
        return False
    if len(wanted) != len(given):
        return False
    left = list(given)
    for span in wanted:
        for place, other in enumerate(left):
            closed = (span.low_closed, span.high_closed) == (other.low_closed, other.high_closed)
            if closed and _same_end(span.low, other.low, rules) and _same_end(span.high, other.high, rules):
                del left[place]
                break
        else:
            return False
    return True


def _same_end(a: Node, b: Node, rules: Rules) -> bool:
    if _infinite(a) or _infinite(b):
        return a == b
    return same_scalar(a, b, rules)


def _infinite(node: Node) -> bool:
    return node == _INFINITY or node == Node("negative", (_INFINITY,))


def _bounded_name(node: Node) -> Node | None:
    """What an inequality bounds: the one side that is a name, with nothing but values around it."""
    if node.op != "relation":
        return None
    _, *operands = node.args
    names = [operand for operand in operands if is_label(operand)]
    others = [operand for operand in operands if not is_label(operand)]
    if len(names) != 1 or len(operands) > 3 or (len(operands) == 3 and operands[1] is not names[0]):
        return None
    name: Node = names[0]
    if symbols(name) and any(symbols(name) & symbols(other) for other in others):
        return None
    return name


def _spans(node: Node, rules: Rules) -> list[Span]:
    """A region as disjoint intervals and points. Raises UndecidedError for what is not a region."""
    if node.op == "interval":
        low, high, low_closed, high_closed = node.args
        return [Span(low, high, low_closed, high_closed)]
    if node.op in ("tuple", "square") and len(node.args) == 2:
        closed = node.op == "square"
        return [Span(node.args[0], node.args[1], closed, closed)]
    if node.op in ("set", "braces"):
        return [Span(part, part, True, True) for part in node.args]
    if node.op in ("union", "or", "list"):
        return [span for part in node.args for span in _spans(simplified(part, rules), rules)]
    if node.op == "set_builder":
        return _spans(node.args[1], rules)
    if node == _REALS:
        return [Span(Node("negative", (_INFINITY,)), _INFINITY, False, False)]
    if node.op == "without":
        return _without(node, rules)
    if node.op == "relation":
        return _relation_spans(node, rules)
    if node.op in ("symbol", "number", "negative", "sum", "product", "divide", "power", "root", "mixed"):
        return [Span(node, node, True, True)]
    raise UndecidedError


def _without(node: Node, rules: Rules) -> list[Span]:
    whole, removed = node.args
    spans = _spans(whole, rules)
    if len(spans) != 1 or removed.op not in ("set", "braces"):
        raise UndecidedError
    return _cut(spans[0], removed.args, rules)


def _cut(span: Span, points: Sequence[Node], rules: Rules) -> list[Span]:
    """An interval without some of its inner points."""
    placed = sorted(((_real(point, rules), point) for point in points), key=lambda pair: pair[0])
    spans, low, closed = [], span.low, span.low_closed
    for _, point in placed:
        spans.append(Span(low, point, closed, False))
        low, closed = point, False
    return [*spans, Span(low, span.high, closed, span.high_closed)]


def _real(node: Node, rules: Rules) -> Fraction:
    value = rules.values.real(node)
    if value is None:
        raise UndecidedError
    return value


def _relation_spans(node: Node, rules: Rules) -> list[Span]:
    operators, *operands = node.args
    if operators == ("in",):
        return _spans(operands[1], rules)
    name = _bounded_name(node)
    if name is None:
        raise UndecidedError
    low, high = Node("negative", (_INFINITY,)), _INFINITY
    low_closed = high_closed = False
    for operator, left, right in zip(operators, operands, operands[1:], strict=False):
        bound, relation = (right, operator) if left is name else (left, FLIPPED.get(operator, operator))
        if relation == "!=":
            return _cut(Span(low, high, False, False), [bound], rules)
        if relation in ("<", "<="):
            high, high_closed = bound, relation == "<="
        elif relation in (">", ">="):
            low, low_closed = bound, relation == ">="
        else:
            raise UndecidedError
    if name.op == "call" and not _infinite(high):  # a bound on |x|
        if _infinite(low) or _real(low, rules) < 0:
            return [Span(Node("negative", (high,)), high, high_closed, high_closed)]
        mirrored = Span(Node("negative", (high,)), Node("negative", (low,)), high_closed, low_closed)
        return [mirrored, Span(low, high, low_closed, high_closed)]
    return [Span(low, high, low_closed, high_closed)]
