"""The syntax tree of an answer."""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

CONSTANTS = frozenset({"pi", "e", "i", "oo", "empty"})


class Node(NamedTuple):
    """An operation `op` with its operands `args`: nodes, names or numbers. Equal trees compare equal."""

    op: str
    args: tuple[Any, ...] = ()


def number(value: Fraction | int, decimals: int | None = None, digits: int = 0) -> Node:
    """A number; `decimals` places behind the point and `digits` significant ones if it was written as a decimal."""
    return Node("number", (Fraction(value), decimals, digits))


def symbol(name: str) -> Node:
    return Node("symbol", (name,))


def product_of(factors: list[Node]) -> Node:
    """The product of some factors; a lone factor is itself."""
    return factors[0] if len(factors) == 1 else Node("product", tuple(factors))


def walk(node: Node) -> Iterator[Node]:
    """Every node of a tree, itself first."""
    stack: list[Any] = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, Node):
            yield current
            stack.extend(current.args)


@lru_cache(maxsize=4096)
def symbols(node: Node) -> frozenset[str]:
    """The names of the free symbols of a tree; constants are not among them."""
    return frozenset(part.args[0] for part in walk(node) if part.op == "symbol") - CONSTANTS


def rename(node: Node, old: str, new: str) -> Node:
    """The tree with one symbol renamed."""
    if node.op == "symbol":
        return Node("symbol", (new,)) if node.args[0] == old else node
    return Node(node.op, tuple(rename(arg, old, new) if isinstance(arg, Node) else arg for arg in node.args))
