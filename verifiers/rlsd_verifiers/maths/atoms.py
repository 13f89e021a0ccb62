"""The atoms of the notation: numbers, names, functions, brackets, matrices."""

import re
from abc import ABC, abstractmethod
from fractions import Fraction

from rlsd_verifiers.maths.cursor import Cursor
from rlsd_verifiers.maths.tokens import Token, TooComplexError, UnreadableError, tokenize
from rlsd_verifiers.maths.tree import Node, number, symbol
from rlsd_verifiers.maths.vocabulary import (
    ACCENT_NAMES,
    ACCENTS,
    CANONICAL,
    CONSTANT_WORDS,
    CONSTANTS,
    DEGREE_WORDS,
    FUNCTION_LETTERS,
    FUNCTIONS,
    GREEK,
    INVERSES,
    JOINING_WORDS,
    NUMBER_WORDS,
    OPENING,
    ORDINALS,
    PERCENT_WORDS,
    PHRASES,
    SCALES,
    SHORT_WORDS,
    UNEVALUATED,
    VARIADIC,
)
from rlsd_verifiers.units import find_unit

MAX_DIGITS = 4_000
MAX_EXPONENT = 4_000
_THOUSANDS = re.compile(r"[0-9]{3}")


class Atoms(Cursor, ABC):
    """Reads one atom; what stands inside it is read by the methods that the parser adds."""

    @abstractmethod
    def answer(self) -> Node: ...

    @abstractmethod
    def list_until(self, *closing: str) -> Node: ...

    @abstractmethod
    def relation(self) -> Node: ...

    @abstractmethod
    def sum(self) -> Node: ...

    @abstractmethod
    def product(self) -> Node: ...

    @abstractmethod
    def power(self) -> Node: ...

    @abstractmethod
    def script(self) -> Node: ...

    @abstractmethod
    def group(self, closing: str) -> Node: ...

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
                token.text in CONSTANTS
                or token.text in ACCENTS
                or token.text in UNEVALUATED
                or name in FUNCTIONS
                or name in GREEK
                or token.text
                in (
                    "\\frac",
                    "\\sqrt",
                    "\\binom",
                    "\\{",
                    "\\lfloor",
                    "\\lceil",
                    "\\langle",
                    "\\begin",
                    "\\|",
                    "\\angle",
                    "\\boxed",
                    "\\fbox",
                    "\\ldots",
                )
            )
        return False

    def word_is_maths(self, word: str) -> bool:
        if word in FUNCTIONS or word in CONSTANT_WORDS or word in GREEK:
            return True
        lowered = word.casefold()
        if lowered in JOINING_WORDS or lowered in SCALES or lowered in PERCENT_WORDS or lowered in DEGREE_WORDS:
            return False
        if find_unit(word) or (not word.isupper() and find_unit(lowered)):
            return False
        return len(word) <= 3 and word.isascii() and (word.isupper() or word.casefold() not in SHORT_WORDS)

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

    def number(self, token: Token) -> Node:
        text = token.text
        if self.token.text in ORDINALS and not self.token.spaced and text.isdigit():
            self.next()
            return as_number(text)
        if "." not in text and len(text) <= 3 and self.bracketed == 0 and "e" not in text and "E" not in text:
            while self.token.text == "," and self.peek().kind == "number" and not self.peek().spaced:
                group = self.peek().text
                if self.token.spaced or not _THOUSANDS.fullmatch(group.partition(".")[0]) or text[0] == "0":
                    break
                text += group
                self.place += 2
                if "." in group:
                    break
        if (self.token.text in ("\\overline", "\\bar", "\\dot") and "." in text) or (
            self.token.text in ("\\overline", "\\bar") and self.tokens[self.place - 2].text == "."
        ):
            return self.repeating(text)
        if (
            self.token.kind == "mark"
            and self.token.text == "."
            and self.peek().text in ("\\overline", "\\bar", "\\dot")
        ):
            self.next()
            return self.repeating(text + ".")
        if self.token.text == "_" and text.isdigit():
            self.next()
            base = self.script()
            return _based(text, base)
        return as_number(text)

    def repeating(self, text: str) -> Node:
        self.next()
        self.take("{")
        if self.token.kind != "number" or not self.token.text.isdigit():
            raise self.refusal()
        cycle = self.next().text
        self.take("}")
        if len(text) + len(cycle) > MAX_DIGITS:
            raise TooComplexError(f"a number of more than {MAX_DIGITS} digits")
        places = len(text.partition(".")[2])
        tail = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10**places)
        return number(Fraction(text.rstrip(".") or "0") + tail)

    def letter(self, letter: str) -> Node:
        if letter in FUNCTION_LETTERS or (self.token.text == "'" and self.peek().text == "("):
            name = letter
            while self.token.kind == "mark" and self.token.text == "'":
                name += self.next().text
            if self.token.text == "(" and self.token.kind == "mark":
                return self.applied(name)
            if self.token.text == "{" and self.peek().text == "(":
                self.next()
                node = self.applied(name)
                self.expect("}")
                return node
            return self.subscripted(name)
        if letter not in "ei" and self.token.text == "(" and self.peek(2).text == ")" and self.peek(3).text in (
            "=", "", ",", "<", ">", "\\le", "\\ge", "\\ne", ")", "\\approx",
        ) and self.peek().kind in ("letter", "number"):  # fmt: skip
            return self.applied(letter)
        return self.subscripted(letter)

    def applied(self, name: str) -> Node:
        self.next()
        inside = self.group(")")
        return Node("apply", (name, *(inside.args if inside.op == "list" else (inside,))))

    def subscripted(self, name: str) -> Node:
        if self.token.text == "_" and self.token.kind == "mark":
            self.next()
            if self.token.text == "{":
                depth, parts = 0, []
                while self.token.kind != "end":
                    token = self.next()
                    depth += (token.text == "{") - (token.text == "}")
                    if depth == 0:
                        break
                    if token.text not in "{}":
                        parts.append(token.text)
                name += "_" + "".join(parts).replace(" ", "")
            else:
                name += "_" + self.next().text
        return symbol(name)

    def word(self, word: str) -> Node:
        if word in FUNCTIONS:
            return self.function(word)
        if word in ACCENT_NAMES and self.token.text == "{":
            return self.accented(word)
        if word in CONSTANT_WORDS:
            return symbol(CONSTANT_WORDS[word])
        if word in GREEK:
            return self.subscripted(word)
        if word.casefold() in NUMBER_WORDS:
            return number(NUMBER_WORDS.index(word.casefold()))
        if len(word) > 2 and word[:-1] in FUNCTIONS:
            self.place -= 1
            self.tokens[self.place] = Token("letter", word[-1])
            return self.function(word[:-1])
        if not self.word_is_maths(word) and not (len(word) <= 3 and find_unit(word)):
            raise UnreadableError(f"`{word}` is a word")
        self.tokens[self.place - 1 : self.place] = [Token("letter", letter) for letter in word]
        return self.letter(word[0])

    def text(self, token: Token) -> Node:
        inner = token.text.strip()
        lowered = inner.rstrip(":").casefold().strip()
        if lowered in ("answer", "the answer is", "answer is", "only", "the final answer is", "x =", "final answer"):
            return self.power()
        if len(inner) == 1 and inner.isalpha():
            return self.subscripted(inner)
        if inner in ("pi", "e", "i"):
            return symbol(inner)
        if inner.casefold() in PHRASES:
            return symbol(PHRASES[inner.casefold()])
        inside = type(self)(tokenize(inner))
        inside.depth = self.depth
        inside.deeper()
        try:
            return inside.answer()
        except UnreadableError:
            raise UnreadableError(f"`{inner[:30]}` is a word") from None

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

    def command(self, token: Token) -> Node:
        name = token.text[1:]
        if token.text in CONSTANTS:
            return symbol(CONSTANTS[token.text])
        if token.text == "\\frac":
            top = self.argument()
            return Node("divide", (top, self.argument()))
        if token.text == "\\binom":
            top = self.argument()
            return Node("binomial", (top, self.argument()))
        if token.text == "\\sqrt":
            return self.root()
        if name in FUNCTIONS and not (name == "Gamma" and self.token.text != "("):
            return self.function(name)
        if name in GREEK:
            return self.subscripted(name)
        if token.text in ("\\boxed", "\\fbox"):
            return self.argument()
        if token.text in ACCENTS:
            return self.accented(token.text)
        if token.text == "\\{":
            return self.set()
        if token.text in ("\\lfloor", "\\lceil", "\\langle"):
            inner = self.group(OPENING[token.text])
            if token.text == "\\langle":
                return Node("tuple", inner.args if inner.op == "list" else (inner,))
            return Node("call", ("floor" if token.text == "\\lfloor" else "ceil", inner))
        if token.text == "\\|":
            node = self.sum()
            self.expect("\\|")
            return Node("call", ("abs", node))
        if token.text == "\\begin":
            return self.environment()
        if token.text in UNEVALUATED:
            return self.unevaluated(UNEVALUATED[token.text])
        if token.text == "\\angle":
            return self.power()
        if token.text == "\\ldots":
            return Node("ellipsis")
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

    def accented(self, accent: str) -> Node:
        accent = "\\" + accent.lstrip("\\")
        inner: list[str] = []
        if self.take("{"):
            depth = 1
            while self.token.kind != "end":
                token = self.next()
                depth += (token.text == "{") - (token.text == "}")
                if depth == 0:
                    break
                inner.append(token.text)
        else:
            inner.append(self.next().text)
        if accent in ("\\mathbf", "\\mathcal", "\\variable") and len("".join(inner)) == 1:
            return self.subscripted("".join(inner))
        name = ACCENT_NAMES.get(accent[1:], accent[1:])
        return self.subscripted(f"{name}{{{''.join(inner)}}}")

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
            raise UnreadableError(f"the environment `{name}` is not read")
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
            raise UnreadableError("the rows of a matrix are not of one length")
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


def product_of(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Node("product", tuple(factors))


def as_number(text: str) -> Node:
    mantissa, _, exponent = text.replace("E", "e").partition("e")
    whole, _, decimals = mantissa.partition(".")
    if len(mantissa) > MAX_DIGITS:
        raise TooComplexError(f"a number of more than {MAX_DIGITS} digits")
    if exponent and abs(int(exponent)) > MAX_EXPONENT:
        raise TooComplexError(f"an exponent beyond {MAX_EXPONENT}")
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals)) * Fraction(10) ** int(exponent or 0)
    if "." not in mantissa and not exponent:
        return number(value)
    digits = len((whole + decimals).lstrip("0"))
    return number(value, len(decimals) - int(exponent or 0), digits)


def _based(digits: str, base: Node) -> Node:
    if base.op != "number" or base.args[0].denominator != 1 or not 2 <= base.args[0] <= 36:
        raise UnreadableError(f"`{digits}` with an index is not a number")
    try:
        return Node("based", (digits, int(base.args[0]), int(digits, int(base.args[0]))))
    except ValueError:
        raise UnreadableError(f"`{digits}` is not a number in base {base.args[0]}") from None
