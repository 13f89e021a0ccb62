"""The atoms of the notation: numbers, names, functions, brackets, matrices."""

from collections.abc import Callable

from rlsd_verifiers.maths.brackets import Brackets
from rlsd_verifiers.maths.functions import Functions
from rlsd_verifiers.maths.names import Names
from rlsd_verifiers.maths.numerals import Numerals, as_number
from rlsd_verifiers.maths.tokens import Token
from rlsd_verifiers.maths.tree import Node, number, symbol
from rlsd_verifiers.maths.vocabulary import ACCENTS, CONSTANTS, FUNCTIONS, GREEK, UNEVALUATED


class Atoms(Numerals, Names, Functions, Brackets):
    """Reads one atom; what kind it is shows in its first token."""

    def starts_atom(self) -> bool:
        token = self.token
        if token.kind in ("number", "letter"):
            return True
        if token.kind == "word":
            return self.word_is_maths(token.text)
        if token.kind == "mark":
            return token.text in ("(", "[", "{") or (token.text == "|" and self.bars == 0)
        if token.kind == "command":
            name = token.text[1:]
            return (
                token.text in _COMMANDS
                or token.text in CONSTANTS
                or token.text in ACCENTS
                or token.text in UNEVALUATED
                or name in FUNCTIONS
                or name in GREEK
            )
        return False

    def atom(self) -> Node:
        token = self.next()
        if token.kind == "number":
            return self.number(token)
        if token.kind == "letter":
            return self.letter(token.text)
        if token.kind == "word":
            return self.word(token.text)
        if token.kind == "text":
            return self.text(token)
        if token.kind == "mark":
            return self.mark(token)
        if token.kind == "command":
            return self.command(token)
        raise self.refusal("something is missing")

    def mark(self, token: Token) -> Node:
        if token.text in ("(", "["):
            return self.bracket(token.text)
        if token.text == "{":
            node = self.group_or_choose()
            return Node("braces", node.args) if node.op == "list" else node
        if token.text == "|":
            self.bars += 1
            node = self.sum()
            self.bars -= 1
            self.expect("|")
            return Node("call", ("abs", node))
        if token.text in ("+", "-"):
            inner = self.power()
            return Node("negative", (inner,)) if token.text == "-" else inner
        self.place -= 1
        raise self.refusal()

    def command(self, token: Token) -> Node:
        text, name = token.text, token.text[1:]
        if text in CONSTANTS:
            return symbol(CONSTANTS[text])
        if text in _COMMANDS:
            return _COMMANDS[text](self)
        if name in FUNCTIONS and not (name == "Gamma" and self.token.text != "("):
            return self.function(name)
        if name in GREEK:
            return self.subscripted(name)
        if text in ACCENTS:
            return self.accented(text)
        if text in UNEVALUATED:
            return self.unevaluated(UNEVALUATED[text])
        self.place -= 1
        raise self.refusal()

    def argument(self) -> Node:
        r"""What `\frac` takes: a group, a digit, or a symbol."""
        self.deeper()
        try:
            if self.take("{"):
                return self.group("}")
            token = self.token
            if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
                self.tokens[self.place] = Token("number", token.text[1:])
                return number(int(token.text[0]))
            if token.kind == "number":
                return as_number(self.next().text)
            if token.text in ("-", "+"):
                self.next()
                inner = self.argument()
                return Node("negative", (inner,)) if token.text == "-" else inner
            return self.atom()
        finally:
            self.depth -= 1

    def two_arguments(self, operation: str) -> Node:
        first = self.argument()
        return Node(operation, (first, self.argument()))

    def norm(self) -> Node:
        node = self.sum()
        self.expect("\\|")
        return Node("call", ("abs", node))

    def vector(self) -> Node:
        inner = self.group("\\rangle")
        return Node("tuple", inner.args if inner.op == "list" else (inner,))


_COMMANDS: dict[str, Callable[[Atoms], Node]] = {
    "\\frac": lambda atoms: atoms.two_arguments("divide"),
    "\\binom": lambda atoms: atoms.two_arguments("binomial"),
    "\\sqrt": lambda atoms: atoms.root(),
    "\\boxed": lambda atoms: atoms.argument(),
    "\\fbox": lambda atoms: atoms.argument(),
    "\\{": lambda atoms: atoms.set(),
    "\\lfloor": lambda atoms: Node("call", ("floor", atoms.group("\\rfloor"))),
    "\\lceil": lambda atoms: Node("call", ("ceil", atoms.group("\\rceil"))),
    "\\langle": lambda atoms: atoms.vector(),
    "\\|": lambda atoms: atoms.norm(),
    "\\begin": lambda atoms: atoms.environment(),
    "\\angle": lambda atoms: atoms.power(),
    "\\ldots": lambda _: Node("ellipsis"),
}
"""How each command is read on that is no name of a constant, function, accent or Greek letter."""
