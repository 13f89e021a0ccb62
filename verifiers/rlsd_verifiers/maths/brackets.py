"""Brackets: groups, tuples, intervals, sets and matrices."""

from rlsd_verifiers.maths.grammar import Grammar
from rlsd_verifiers.maths.tokens import UnreadableError
from rlsd_verifiers.maths.tree import Node, symbol
from rlsd_verifiers.maths.vocabulary import OPENING


class Brackets(Grammar):
    """Reads what stands in brackets, and what the brackets say of it."""

    def group(self, closing: str) -> Node:
        bars, self.bars = self.bars, 0
        self.bracketed += 1
        node = self.list_until(closing)
        self.bracketed -= 1
        self.bars = bars
        self.expect(closing)
        return node

    def group_or_choose(self) -> Node:
        bars, self.bars = self.bars, 0
        self.bracketed += 1
        node = self.list_until("}", "\\choose", "\\over")
        if self.take("\\choose"):
            node = Node("binomial", (node, self.list_until("}")))
        elif self.take("\\over"):
            node = Node("divide", (node, self.list_until("}")))
        self.bracketed -= 1
        self.bars = bars
        self.expect("}")
        return node

    def bracket(self, opening: str) -> Node:
        """`(a)` is a; several items, or unlike brackets, are a tuple, a list or an interval."""
        bars, self.bars = self.bars, 0
        self.bracketed += 1
        inner = self.list_until(")", "]")
        self.bracketed -= 1
        self.bars = bars
        closing = self.token.text
        if not self.take(")", "]"):
            raise self.refusal(f"expected `{OPENING[opening]}`")
        items = inner.args if inner.op == "list" else (inner,)
        if not items:
            raise UnreadableError("empty brackets")
        if len(items) == 1:
            only: Node = items[0]
            return only
        if opening + closing == "()":
            return Node("tuple", items)
        if opening + closing == "[]":
            return Node("square", items)
        if len(items) != 2:
            raise UnreadableError("an interval has two ends")
        return Node("interval", (*items, opening == "[", closing == "]"))

    def set(self) -> Node:
        bars, self.bars = self.bars, 1
        self.bracketed += 1
        self.set_level = self.bracketed
        inner = self.list_until("\\}", "|", ":")
        self.set_level = 0
        node: Node
        if self.take("|", ":"):
            self.bars = 0
            node = Node("set_builder", (inner, self.list_until("\\}")))
        else:
            items = inner.args if inner.op == "list" else (inner,)
            node = Node("set", items) if items else symbol("empty")
        self.bracketed -= 1
        self.bars = bars
        self.expect("\\}")
        return node

    def environment(self) -> Node:
        name = self.braced_name()
        if name == "array":
            self.braced_name()
        if name not in ("pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix", "Vmatrix", "array", "smallmatrix"):
            raise UnreadableError(f"the environment `{name}` is not supported")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        self.bracketed += 1
        while True:
            if self.take("\\hline"):
                continue
            if self.take("\\end"):
                self.braced_name()
                break
            if self.take("&"):
                continue
            if self.take("\\\\"):
                rows.append(tuple(row))
                row = []
                continue
            row.append(self.relation())
        self.bracketed -= 1
        if row:
            rows.append(tuple(row))
        if not rows or len({len(r) for r in rows}) != 1:
            raise UnreadableError("the rows of a matrix differ in length")
        matrix = Node("matrix", tuple(Node("row", r) for r in rows))
        return Node("determinant", (matrix,)) if name == "vmatrix" else matrix

    def braced_name(self) -> str:
        self.expect("{")
        name = ""
        while not self.take("}"):
            if self.token.kind == "end":
                raise self.refusal()
            name += self.next().text
        return name
