"""Named functions, roots, and sums, integrals and limits that are kept as they stand."""

from rlsd_verifiers.maths.grammar import Grammar
from rlsd_verifiers.maths.numerals import as_number
from rlsd_verifiers.maths.tokens import UnreadableError
from rlsd_verifiers.maths.tree import Node, number, product_of
from rlsd_verifiers.maths.vocabulary import CANONICAL, FUNCTIONS, INVERSES, OPENING, VARIADIC


class Functions(Grammar):
    """Reads functions with their arguments."""

    def function(self, name: str) -> Node:
        """A named function: its power, its subscript, then one argument, in brackets or as a bare product."""
        power = base = None
        while self.token.text in ("^", "_") and self.token.kind == "mark":
            if self.next().text == "^":
                power = self.script()
            else:
                base = self.script()
        name = CANONICAL.get(name, name)
        if name == "log" and base is not None:
            arguments: tuple[Node, ...] = (base,)
            name = "log_base"
        else:
            arguments = ()
        if name in ("sqrt", "cbrt") and self.token.text == "(":
            self.next()
            return self.with_power(Node("root", (number(2 if name == "sqrt" else 3), self.group(")"))), power)
        if self.token.text == "{" and self.peek().text == "(":
            self.next()
            inner = self.group("}")
        elif self.token.text in ("(", "{", "["):
            inner = self.group(OPENING.get(self.next().text, "}"))
        else:
            inner = self.bare_argument()
        arguments += inner.args if inner.op in ("list", "tuple") else (inner,)
        if len(arguments) != (2 if name == "log_base" else 1) and (name not in VARIADIC or not arguments):
            raise UnreadableError(f"`{name}` of {len(arguments)} arguments")
        if name in INVERSES and power == Node("negative", (number(1),)):
            name, power = "a" + name, None
        node = Node("call", (name, *arguments))
        return self.with_power(node, power)

    def with_power(self, node: Node, power: Node | None) -> Node:
        return node if power is None else Node("power", (node, power))

    def bare_argument(self) -> Node:
        """`sin 2x`: the product that follows, up to a sum, a division, or another function."""
        negative = self.take("-")
        factors = [self.power()]
        while self.starts_atom() and not self.is_function() and self.token.text not in ("(", "[", "|", "\\left"):
            factors.append(self.power())
        node = product_of(factors)
        return Node("negative", (node,)) if negative else node

    def is_function(self) -> bool:
        return self.token.kind in ("command", "word") and self.token.text.lstrip("\\") in FUNCTIONS

    def root(self) -> Node:
        degree: Node = number(2)
        if self.take("["):
            self.bracketed += 1
            degree = self.list_until("]")
            self.bracketed -= 1
            self.expect("]")
        if self.token.kind == "number":
            return Node("root", (degree, as_number(self.next().text)))
        return Node("root", (degree, self.argument()))

    def unevaluated(self, kind: str) -> Node:
        """A sum, integral, product or limit, kept as it stands: bounds, then all that follows as a product."""
        bounds: list[Node] = []
        while self.token.text in ("^", "_"):
            mark = self.next().text
            bounds.append(Node("bound", (mark, self.script_list())))
        body = self.sum() if kind == "integral" else self.product()
        return Node("unevaluated", (kind, *sorted(bounds), body))

    def script_list(self) -> Node:
        if self.token.text == "{":
            self.next()
            return self.group("}")
        return self.script()
