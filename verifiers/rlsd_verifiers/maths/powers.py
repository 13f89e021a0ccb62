"""What stands directly behind an atom: exponents, factorials, percent and degree signs, primes."""

from rlsd_verifiers.maths.grammar import Grammar
from rlsd_verifiers.maths.numerals import as_number
from rlsd_verifiers.maths.tree import Node, symbol


class Powers(Grammar):
    """Reads an atom and what stands behind it."""

    def power(self) -> Node:
        self.deeper()
        node = self.postfix(self.atom())
        self.depth -= 1
        return node

    def postfix(self, node: Node) -> Node:
        while True:
            if self.token.text == "^" and self.token.kind in ("mark", "command"):
                self.next()
                node = self.raised(node)
            elif self.token.kind == "mark" and self.token.text == "!":
                self.next()
                node = Node("factorial2" if self.take("!") else "factorial", (node,))
            elif self.take("%", "\\%"):
                node = Node("percent", (node,))
            elif self.token.kind == "mark" and self.token.text == "'" and node.op == "symbol":
                self.next()
                node = symbol(node.args[0] + "'")
            elif self.take("\\circ") or self.take("\\degree"):
                node = Node("degrees", (node,))
            else:
                return node

    def raised(self, base: Node) -> Node:
        if self.take("\\circ"):
            return Node("degrees", (base,))
        if self.token.text == "{" and self.peek().text == "\\circ" and self.peek(2).text == "}":
            self.place += 3
            return Node("degrees", (base,))
        if self.token.text == "{" and self.peek().kind == "text" and self.peek(2).text == "}":
            self.place += 3  # an ordinal: 12^{\text{th}}
            return base
        if self.token.text in ("'", "\\prime"):
            self.next()
            return symbol(base.args[0] + "'") if base.op == "symbol" else base
        exponent = self.script()
        if self.token.text == "_" and self.token.kind == "mark" and base.op == "symbol" and "_" not in base.args[0]:
            base = self.subscripted(base.args[0])
        return Node("power", (base, exponent))

    def script(self) -> Node:
        """What a `^` or `_` takes: a group, a signed number in plain text, or one symbol."""
        self.deeper()
        try:
            if self.take("{"):
                node = self.group("}")
            elif self.token.text in ("-", "+") and self.peek().kind in ("number", "letter", "mark"):
                negative = self.next().text == "-"
                inner = self.script()
                node = Node("negative", (inner,)) if negative else inner
            else:
                node = as_number(self.next().text) if self.token.kind == "number" else self.atom()
                if self.token.kind == "mark" and self.token.text == "^":
                    self.next()
                    node = self.raised(node)
        finally:
            self.depth -= 1
        return node
