r"""Equality of an answer and the reference: what kind of thing each is, then part by part, down to expressions.

The reference comes first and decides what is asked for:

| reference | an answer that can be right |
|---|---|
| expression | an expression of the same value; `x = value`; a unit, degree or percent sign as the leniency says |
| list `a, b` | as many members in any order: a list, a set, a tuple; labels such as `x_1 =` are read off |
| set `\{a, b\}` | a set or a list |
| tuple, vector `(a, b)` | a tuple, `[a, b]`, a row or column vector, in order |
| interval, union, inequality | the same region of the real line, written in any of these ways; open and closed differ |
| equation | an equation with the same solutions, up to a factor |
| matrix | a matrix, entry by entry |

`same` raises UndecidedError where these rules do not reach.
"""

from rlsd_verifiers.maths.labels import Rules, aligned, label, left_to_do, quietly, renamed_alike, simplified
from rlsd_verifiers.maths.quantities import same_scalar
from rlsd_verifiers.maths.rational import UndecidedError
from rlsd_verifiers.maths.regions import is_region, same_region
from rlsd_verifiers.maths.tokens import TooComplexError
from rlsd_verifiers.maths.tree import Node, number, symbols, walk
from rlsd_verifiers.maths.vocabulary import COLLECTIONS, FLIPPED, ORDERED

MAX_MEMBERS = 200


def same(reference: Node, answer: Node, rules: Rules) -> bool:
    """True where the answer is the reference. Raises UndecidedError, TooComplexError."""
    if reference == answer:
        return True
    if _is_equation(reference) and _is_equation(answer):
        if label(reference) is None:
            return _same_equation(reference, answer, rules)
        if symbols(reference.args[2]) and quietly(rules, _same_equation, reference, answer, rules):
            return True
    if rules.leniency.names == "any":
        answer = renamed_alike(reference, answer)
    relabelled = aligned(reference, answer)
    if relabelled is None:
        return False
    wanted, given = simplified(reference, rules), simplified(relabelled, rules)
    if left_to_do(given) - left_to_do(wanted):
        if rules.leniency.restatement == "reject":
            return False
        raise UndecidedError
    return _same(wanted, given, rules)


def _same(reference: Node, answer: Node, rules: Rules) -> bool:
    if reference == answer:
        return True
    if _holds(reference, "ellipsis") or _holds(answer, "ellipsis"):
        return False
    if _holds(answer, "matrix") and not _holds(reference, "matrix", "tuple", "square"):
        return False
    if _is_equation(reference) or _is_equation(answer):
        return _same_equation(reference, answer, rules)
    if reference.op == answer.op == "relation" and quietly(rules, _same_relation, reference, answer, rules):
        return True
    if is_region(reference) or is_region(answer):
        if rules.leniency.regions == "as_written" and (reference.op == "relation") != (answer.op == "relation"):
            return False
        return same_region(reference, answer, rules)
    if (commas := _decimal_comma(reference, answer)) is not None:
        return same_scalar(*commas, rules)
    if reference.op in COLLECTIONS or answer.op in COLLECTIONS:
        return _same_members(reference, answer, rules)
    if "relation" in (reference.op, answer.op):
        return _same_relation(reference, answer, rules)
    if "ratio" in (reference.op, answer.op):
        return _same_ratio(reference, answer, rules)
    return same_scalar(reference, answer, rules)


def _holds(node: Node, *operations: str) -> bool:
    return any(part.op in operations for part in walk(node))


def _decimal_comma(reference: Node, answer: Node) -> tuple[Node, Node] | None:
    """Both as numbers, if one is a decimal with a point and the other could be one with a comma: `3.14`, `3,14`."""
    for pair in ((reference, answer), (answer, reference)):
        point, comma = pair
        if point.op == "number" and point.args[1] and comma.op == "list" and len(comma.args) == 2:
            whole, places = comma.args
            if whole.op == places.op == "number" and whole.args[1] is places.args[1] is None and places.args[0] > 0:
                digits = len(str(places.args[0]))
                value = number(whole.args[0] + places.args[0] / 10**digits, digits, point.args[2])
                return (point, value) if pair[0] is reference else (value, point)
    return None


def _same_members(reference: Node, answer: Node, rules: Rules) -> bool:
    if "matrix" in (reference.op, answer.op):
        return _same_matrix(reference, answer, rules)
    if reference.op not in COLLECTIONS:
        alone = answer.op in ("list", "set", "braces", "square") and len(answer.args) == 1
        return alone and _same(reference, simplified(answer.args[0], rules), rules)
    if reference.op == "set" and answer.op == "tuple":
        return False
    if reference.op in ORDERED and answer.op == "set":
        return False
    wanted, given = _members(reference), _members(answer)
    if max(len(wanted), len(given)) > MAX_MEMBERS and len(wanted) != len(given):
        return False
    if reference.op in ORDERED or (rules.leniency.ordered and reference.op == "list"):
        return len(wanted) == len(given) and all(_same(a, b, rules) for a, b in zip(wanted, given, strict=True))
    if max(len(wanted), len(given)) > MAX_MEMBERS:
        raise TooComplexError(f"more than {MAX_MEMBERS} members")
    if len(wanted) != len(given):
        wanted, given = _distinct(wanted, rules), _distinct(given, rules)
    return len(wanted) == len(given) and _matches(wanted, given, rules)


def _members(node: Node) -> list[Node]:
    return list(node.args) if node.op in COLLECTIONS else [node]


def _distinct(items: list[Node], rules: Rules) -> list[Node]:
    kept: list[Node] = []
    for item in items:
        if not any(quietly(rules, _same, other, item, rules) for other in kept):
            kept.append(item)
    return kept


def _matches(wanted: list[Node], given: list[Node], rules: Rules) -> bool:
    """True where every member has a partner. Equality is transitive, so the first that fits will do."""
    left = list(given)
    undecided = False
    for item in wanted:
        for place, other in enumerate(left):
            try:
                if _same(item, other, rules):
                    del left[place]
                    break
            except UndecidedError:
                undecided = True
        else:
            if undecided:
                raise UndecidedError
            return False
    return True


def _same_matrix(reference: Node, answer: Node, rules: Rules) -> bool:
    a, b = _rows(reference), _rows(answer)
    if a is None or b is None:
        if any(part.op == "matrix" for node in (reference, answer) if node.op != "matrix" for part in walk(node)):
            raise UndecidedError
        return False
    if reference.op != answer.op:  # a vector may lie or stand
        a, b = _as_one_row(a), _as_one_row(b)
    if [len(row) for row in a] != [len(row) for row in b]:
        return False
    return all(_same(x, y, rules) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


def _as_one_row(rows: list[list[Node]]) -> list[list[Node]]:
    return [[entry for row in rows for entry in row]] if 1 in (len(rows), len(rows[0])) else rows


def _rows(node: Node) -> list[list[Node]] | None:
    if node.op == "matrix":
        return [list(row.args) for row in node.args]
    if node.op in ("tuple", "square"):
        if all(part.op in ("tuple", "square") for part in node.args) and len({len(p.args) for p in node.args}) == 1:
            return [list(row.args) for row in node.args]
        return [list(node.args)]
    return None


def _is_equation(node: Node) -> bool:
    return node.op == "relation" and node.args[0] == ("=",)


def _difference(node: Node) -> Node:
    return Node("sum", (node.args[1], Node("negative", (node.args[2],))))


def _same_equation(reference: Node, answer: Node, rules: Rules) -> bool:
    if not (_is_equation(reference) and _is_equation(answer)):
        return False
    return rules.values.proportional(_difference(reference), _difference(answer), positive=False)


def _same_relation(reference: Node, answer: Node, rules: Rules) -> bool:
    """True for the same chain of relations, from either end; single inequalities also up to a positive factor."""
    if reference.op != answer.op:
        return False
    ups = [_upwards(node) for node in (reference, answer)]
    (operators, operands), (others, sides) = ups
    if operators == others and len(operands) == len(sides):
        if all(quietly(rules, same_scalar, a, b, rules) for a, b in zip(operands, sides, strict=True)):
            return True
        if len(operators) == 1 and operators[0] in ("<", "<=", "!=", "=="):
            a = Node("sum", (operands[0], Node("negative", (operands[1],))))
            b = Node("sum", (sides[0], Node("negative", (sides[1],))))
            return rules.values.proportional(a, b, positive=operators[0] != "!=")
    return False


def _upwards(node: Node) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    """A chain written with `<` and `<=`."""
    operators, *operands = node.args
    if operators and set(operators) <= {">", ">="}:
        return tuple(FLIPPED[operator] for operator in reversed(operators)), tuple(reversed(operands))
    return operators, tuple(operands)


def _same_ratio(reference: Node, answer: Node, rules: Rules) -> bool:
    if reference.op != answer.op or len(reference.args) != len(answer.args):
        return False
    pairs = list(zip(reference.args, answer.args, strict=True))
    (first, other), *rest = pairs
    return all(rules.values.equal(Node("product", (a, other)), Node("product", (b, first))) for a, b in rest)
