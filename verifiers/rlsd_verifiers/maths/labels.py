r"""What an answer gives: the value behind `x =`, both values of `\\pm`, the pairs of `p = 5, q = 2; p = 7, q = 2`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.rational import ExactValues, UndecidedError
from rlsd_verifiers.maths.tokens import TooComplexError
from rlsd_verifiers.maths.tree import Node, rename, symbols, walk
from rlsd_verifiers.maths.vocabulary import COLLECTIONS, REGIONS

MAX_SIGNS = 16


class Rules(NamedTuple):
    """The choices of the policy, and how values are compared."""

    leniency: Leniency
    values: ExactValues


def quietly(rules: Rules, question: Callable[..., bool], *arguments: object) -> bool:
    """The answer to one question of several; False where it is undecided, which is counted in `doubts`."""
    try:
        return question(*arguments)
    except UndecidedError:
        rules.values.doubts += 1
        return False


def label(node: Node) -> Node | None:
    """The name in front of `=`, of a relation that gives one thing a value."""
    if node.op == "relation" and node.args[0][0] in ("=", "~", "in") and is_label(node.args[1]):
        left: Node = node.args[1]
        return left
    return None


def is_label(node: Node) -> bool:
    if node.op == "symbol":
        return node.args[0] not in ("e", "i", "pi", "oo")
    if node.op == "apply":
        return True
    if node.op == "product":
        return all(part.op == "symbol" and part.args[0][:1].isupper() for part in node.args)
    if node.op == "call":
        return node.args[0] == "abs" and is_label(node.args[1])
    if node.op in ("tuple", "divide"):
        return all(is_label(part) for part in node.args)
    return False


def renamed_alike(reference: Node, answer: Node) -> Node:
    """The answer with its variables called as the reference's, in order of appearance, if they are as many."""
    ours, theirs = (list(dict.fromkeys(_names(node))) for node in (reference, answer))
    if len(ours) != len(theirs):
        return answer
    for place, name in enumerate(theirs):
        answer = rename(answer, name, f"#{place}")
    for place, name in enumerate(ours):
        answer = rename(answer, f"#{place}", name)
    return answer


def _names(node: Node) -> list[str]:
    if node.op == "symbol":
        return [node.args[0]] if symbols(node) else []
    return [name for part in node.args if isinstance(part, Node) for name in _names(part)]


def left_to_do(node: Node) -> set[str]:
    """The operations of a tree that are written down and not carried out."""
    return {part.op for part in walk(node)} & {"unevaluated", "determinant"}


def aligned(reference: Node, answer: Node) -> Node | None:
    """The answer with its labels made the reference's where both have them; None if they name different things.

    `f(m) = 2m` becomes `f(n) = 2n`, and `y = 2, x = 1` becomes `x = 1, y = 2`; `y = 3` is no answer to `x = 3`.
    """
    if reference.op == answer.op == "list":
        wanted, given = [[label(item) for item in node.args] for node in (reference, answer)]
        if None in wanted + given or len(set(wanted)) != len(wanted) or len(set(given)) != len(given):
            return answer
        if set(wanted) != set(given):
            return None
        return Node("list", tuple(answer.args[given.index(label)] for label in wanted))
    ours, theirs = label(reference), label(answer)
    if ours is None or theirs is None or ours == theirs or ours.op != theirs.op:
        return answer
    if ours.op == "symbol":
        return answer if len(ours.args[0]) > 1 or len(theirs.args[0]) > 1 else None
    if ours.op == "apply":
        if ours.args[0] != theirs.args[0]:
            return None
        if len(ours.args) == len(theirs.args) == 2 and ours.args[1].op == theirs.args[1].op == "symbol":
            return rename(answer, theirs.args[1].args[0], ours.args[1].args[0])
    return answer


def simplified(node: Node, rules: Rules) -> Node:
    """Labels read off, both signs of `\\pm` written out, like labels gathered into tuples."""
    if node.op in ("list", "or"):
        items = [simplified(item, rules) for item in _gathered(node.args)]
        flat = [part for item in items for part in (item.args if item.op == "list" else (item,))]
        return Node(node.op, tuple(flat))
    if node.op in ("set", "braces"):
        items = [simplified(item, rules) for item in node.args]
        flat = [part for item in items for part in (item.args if item.op == "list" else (item,))]
        return Node(node.op, tuple(flat))
    if node.op == "relation":
        value = value_of(node, rules)
        return node if value is node else simplified(value, rules)
    if node.op == "tuple" and any(part.op == "relation" for part in node.args):
        return Node("tuple", tuple(simplified(part, rules) for part in node.args))
    return _both_signs(node)


def _gathered(items: tuple[Node, ...]) -> Sequence[Node]:
    """`p = 5, q = 2; p = 7, q = 2` as the pairs (5, 2), (7, 2)."""
    labels = [label(item) for item in items]
    if None in labels or len(set(labels)) == len(labels):
        return items
    period = labels.index(labels[0], 1) if labels[0] in labels[1:] else len(labels)
    if period < 2 or len(items) % period or any(labels[k] != labels[k % period] for k in range(len(labels))):
        return items
    values = [item.args[-1] for item in items]
    return [Node("tuple", tuple(values[k : k + period])) for k in range(0, len(values), period)]


def value_of(node: Node, rules: Rules) -> Node:
    """The value a relation gives: the right side of `x = a`, the left of `a \\approx 1.3`; else the relation itself."""
    operators, *operands = node.args
    if not set(operators) <= {"=", "~", "in"}:
        return node
    if label(node) is not None:
        if operators[0] == "in" and operands[1].op not in REGIONS | COLLECTIONS:
            return node
        if _solved_for(operands[0], operands[1:]):
            return node
        exact_until = next((k for k, operator in enumerate(operators) if operator == "~"), len(operators))
        value: Node = operands[max(exact_until, 1)]
        return value
    if operators[0] == "~":
        first: Node = operands[0]
        return first
    last = next((k for k, operator in enumerate(operators) if operator == "~"), len(operators))
    value = operands[last]
    if left_to_do(operands[0]) and not left_to_do(value):
        return value
    if "in" in operators or symbols(operands[0]):
        return node
    if all(quietly(rules, rules.values.equal, operands[0], operand) for operand in operands[1 : last + 1]):
        return value
    return node


def _solved_for(label: Node, sides: Sequence[Node]) -> bool:
    """True where the name occurs on the right too, so that the equation gives it no value: `x = 2x + y`."""
    return label.op == "symbol" and any(label.args[0] in symbols(side) for side in sides)


def _both_signs(node: Node) -> Node:
    if node.op in ("tuple", "interval") and any(_has_signs(part) for part in node.args if isinstance(part, Node)):
        rows: list[tuple[Node, ...]] = [()]
        for part in node.args:
            rows = [(*row, choice) for row in rows for choice in (_choices(part) if _has_signs(part) else [part])]
            if len(rows) > MAX_SIGNS:
                raise TooComplexError(f"more than {MAX_SIGNS} choices of sign")
        return Node("list", tuple(Node(node.op, row) for row in rows))
    return Node("list", tuple(_choices(node))) if _has_signs(node) else node


def _has_signs(node: object) -> bool:
    return isinstance(node, Node) and any(part.op in ("plus_minus", "minus_plus") for part in walk(node))


def _choices(node: Node) -> list[Node]:
    return [_with_sign(node, upper) for upper in (True, False)]


def _with_sign(node: Node, upper: bool) -> Node:
    arguments = tuple(_with_sign(arg, upper) if isinstance(arg, Node) else arg for arg in node.args)
    if node.op in ("plus_minus", "minus_plus"):
        plus = (node.op == "plus_minus") == upper
        return arguments[0] if plus else Node("negative", arguments)
    return Node(node.op, arguments)
