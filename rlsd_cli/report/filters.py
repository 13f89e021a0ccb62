"""Conditions on rollouts as a user types them: `outcome == "wrong" and tokens < 150`."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from rlsd_cli.errors import RlsdError, did_you_mean

COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
Fields = Mapping[str, Any]


def parse(text: str, names: Mapping[str, Any]) -> Callable[[Fields], bool]:
    """A condition over fields of these names: comparisons, `in`, `and`, `or`, `not`.

    A comparison with a field that has no value is False.

    Raises:
        RlsdError: it is none, or names another field.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(text, "it cannot be read") from error
    _check(tree, text, names)
    return lambda fields: bool(_value(tree, fields))


def _check(node: ast.expr, text: str, names: Mapping[str, Any]) -> None:
    match node:
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            inside: list[ast.expr] = parts
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=part):
            inside = [part]
        case ast.Compare(left=left, ops=signs, comparators=others) if all(type(sign) in COMPARISONS for sign in signs):
            inside = [left, *others]
        case ast.Constant():
            inside = []
        case ast.Name(id=name):
            if name not in names:
                hint = did_you_mean(name, names) or f"fields: {', '.join(names)}"
                raise RlsdError(f"`{text}` is no condition: there is no field `{name}`", hint=hint)
            inside = []
        case _:
            raise _refused(text, f"`{ast.unparse(node)}` means nothing here")
    for part in inside:
        _check(part, text, names)


def _refused(text: str, why: str) -> RlsdError:
    return RlsdError(f"`{text}` is no condition: {why}", hint='such as `outcome == "wrong" and tokens < 150`')


def _value(node: ast.expr, fields: Fields) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, fields) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, fields) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _value(part, fields)
        case ast.UnaryOp(operand=part):
            return -_value(part, fields)
        case ast.Compare(left=left, ops=signs, comparators=others):
            return _compared(left, signs, others, fields)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, fields) for part in parts]
        case ast.Name(id=name):
            return fields[name]
        case _:
            assert isinstance(node, ast.Constant)
            return node.value


def _compared(left: ast.expr, signs: list[ast.cmpop], others: list[ast.expr], fields: Fields) -> bool:
    values = [_value(part, fields) for part in (left, *others)]
    for sign, one, other in zip(signs, values, values[1:], strict=False):
        try:
            if not COMPARISONS[type(sign)](one, other):
                return False
        except TypeError:
            return False
    return True
