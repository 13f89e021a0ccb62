r"""The parser: tokens to the syntax tree of an answer, of which nothing is worked out here.

It climbs precedences over the notation that answers are written in, LaTeX and plain. From loose to tight:

    list          a, b; c and d or e
    relation      a < b <= c, x = 3, x \in S, a : b
    set           A \cup B, A \setminus B
    sum           a + b - c, a \pm b
    product       a b, a \cdot b, a / b
    power         -a^b, a!, a\%, a^\circ
    atom          3, x, \pi, \frac{a}{b}, \sqrt[n]{a}, \sin a, f(a), |a|, (a, b), [a, b), \{a, b\}, matrices, text

It reads the whole text or refuses it. Depth is limited, time is linear.
"""

from rlsd_verifiers.maths.atoms import Atoms
from rlsd_verifiers.maths.numerals import as_number
from rlsd_verifiers.maths.powers import Powers
from rlsd_verifiers.maths.tokens import END, UnreadableError, tokenize
from rlsd_verifiers.maths.tree import Node, number, product_of, symbol
from rlsd_verifiers.maths.vocabulary import (
    ALTERNATIVES,
    DEGREE_WORDS,
    JOINERS,
    JOINING_WORDS,
    PERCENT_WORDS,
    PHRASES,
    QUALIFIER,
    RELATIONS,
    SCALES,
    SET_OPERATORS,
)


def parse(text: str) -> Node:
    """The tree of an answer. Raises UnreadableError, or TooComplexError over a static limit."""
    return _Parser(tokenize(text)).answer()


class _Parser(Powers, Atoms):
    def answer(self) -> Node:
        self.take("=", "\\approx")
        if self.token.kind == "end":
            raise UnreadableError("empty")
        words = " ".join(token.text for token in self.tokens[:-1]).casefold()
        if words in PHRASES:
            self.place = len(self.tokens) - 1
            return symbol(PHRASES[words])
        node = self.list_until(END.text)
        if self.token.kind != "end":
            raise self.refusal()
        return node

    def list_until(self, *closing: str) -> Node:
        """Items up to a closing mark, which stays: a lone item is itself, several are a `list` or an `or`."""
        items: list[Node] = []
        joiners: list[str] = []
        self.joiner()
        while not self.at_end(closing):
            self.caption()
            items.append(self.relation())
            joiner = self.joiner()
            if joiner is None:
                break
            joiners.append(joiner)
        self.qualifiers()
        if len(items) > 1 and _is_domain(items[-1]):
            items.pop()
        if not items:
            return Node("list")
        if len(items) == 1:
            return items[0]
        joiners = joiners[: len(items) - 1]
        if set(joiners) == {",", ";"}:
            items = _grouped(items, joiners)
        return Node("or" if set(joiners) == {"or"} else "list", tuple(items))

    def caption(self) -> None:
        """Skip a name in words before a colon: `Minimum: 1`."""
        ahead = self.place
        while self.tokens[ahead].kind in ("word", "text") and not self.tokens[ahead].text.rstrip().endswith(":"):
            ahead += 1
        token = self.tokens[ahead]
        if (token.kind == "text" and token.text.rstrip().endswith(":")) or (
            token.text == ":" and any(len(word.text) > 3 for word in self.tokens[self.place : ahead])
        ):
            self.place = ahead + 1

    def at_end(self, closing: tuple[str, ...]) -> bool:
        return self.token.kind == "end" or (self.token.kind != "text" and self.token.text in closing)

    def joiner(self) -> str | None:
        found: list[str] = []
        while True:
            token = self.token
            word = token.text.strip(" ,;.").casefold()
            if token.kind in ("mark", "command") and token.text in JOINERS:
                found.append(JOINERS[token.text])
            elif token.kind in ("text", "word") and (word in JOINING_WORDS or not word):
                found.append(JOINING_WORDS.get(word, ","))
            else:
                break
            self.next()
        return next((joiner for joiner in found if joiner not in ",;"), found[0]) if found else None

    def qualifiers(self) -> None:
        """Drop a closing remark in words: `for all x`, `where k is an integer`, with what follows it."""
        token = self.token
        if self.bracketed == 0 and token.kind in ("text", "word"):
            rest = " ".join(t.text for t in self.tokens[self.place :])
            if QUALIFIER.match(rest) and not ALTERNATIVES & set(rest.casefold().split()):
                self.place = len(self.tokens) - 1

    def relation(self) -> Node:
        self.deeper()
        first = self.set_expression()
        operators: list[str] = []
        operands = [first]
        while (operator := self.relation_operator()) is not None:
            self.next()
            operators.append(operator)
            if self.token.kind == "end" and operator in ("=", "~", ":"):
                raise self.refusal("a side is missing")
            operands.append(self.set_expression())
        self.depth -= 1
        if not operators:
            return first
        if set(operators) == {":"}:
            return Node("divide", tuple(operands)) if len(operands) == 2 else Node("ratio", tuple(operands))
        if ":" in operators:
            operators, operands = _fold_ratios(operators, operands)
        return Node("relation", (tuple(operators), *operands))

    def relation_operator(self) -> str | None:
        token = self.token
        if token.text == ":" and self.set_level == self.bracketed > 0:
            return None  # "such that", in a set
        return RELATIONS.get(token.text) if token.kind in ("mark", "command") else None

    def set_expression(self) -> Node:
        node = self.sum()
        while self.token.kind == "command" and self.token.text in SET_OPERATORS:
            operator = SET_OPERATORS[self.next().text]
            other = self.sum()
            if node.op == operator == "union":
                node = Node("union", (*node.args, other))
            else:
                node = Node(operator, (node, other))
        return node

    def sum(self) -> Node:
        self.deeper()
        terms: list[Node] = []
        signs = {"+": None, "-": "negative", "\\pm": "plus_minus", "\\mp": "minus_plus"}
        while True:
            sign: str | None = None
            signed = False
            while self.token.text in signs and self.token.kind in ("mark", "command"):
                new = signs[self.next().text]
                sign = None if new == sign == "negative" else new or sign
                signed = True
            if terms and not signed:
                break
            term = self.product()
            if sign == "negative" and term.op == "mod":
                term, sign = Node("mod", (Node("negative", (term.args[0],)), term.args[1])), None
            terms.append(Node(sign, (term,)) if sign else term)
            if self.token.text not in signs or self.token.kind not in ("mark", "command"):
                break
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("sum", tuple(terms))

    def product(self) -> Node:
        factors = [self.power()]
        while True:
            token = self.token
            if token.kind in ("mark", "command") and token.text in ("*", "\\cdot", "\\times"):
                self.next()
                factors.append(self.signed_power())
            elif token.kind in ("mark", "command") and token.text in ("/", "\\div", "\\over"):
                self.next()
                factors = [Node("divide", (product_of(factors), self.signed_power()))]
            elif token.kind == "command" and token.text in ("\\bmod", "\\mod"):
                self.next()
                factors = [Node("mod", (product_of(factors), self.signed_power()))]
            elif self.take("\\pmod"):
                factors = [Node("modulo", (product_of(factors), self.argument()))]
            elif self.starts_atom():
                if self.is_mixed_fraction(factors[-1]):
                    factors.append(Node("mixed", (factors.pop(), self.fraction())))
                elif token.text in ("x", "X") and self.peek().text == "10" and self.peek(2).text == "^":
                    self.next()
                    factors.append(self.power())
                elif token.kind == "number" and factors[-1].op == "number":
                    raise self.refusal("two numbers side by side")
                else:
                    factors.append(self.power())
            elif not self.suffix(factors):
                return product_of(factors)

    def signed_power(self) -> Node:
        if self.take("-"):
            return Node("negative", (self.signed_power(),))
        self.take("+")
        return self.power()

    def is_mixed_fraction(self, whole: Node) -> bool:
        """True where an integer stands directly before a fraction of two integers."""
        if whole.op != "number" or whole.args[1] is not None or self.tokens[self.place - 1].kind != "number":
            return False
        if self.token.text == "\\frac":
            ahead = [self.peek(k).text for k in range(1, 7)]
            if ahead[0] == "{" and ahead[2:4] == ["}", "{"] and ahead[5] == "}":
                return ahead[1].isdigit() and ahead[4].isdigit()
            return len(ahead[0]) == 2 and ahead[0].isdigit()
        return (
            self.token.kind == "number"
            and self.token.spaced
            and self.peek().text == "/"
            and (self.token.text.isdigit() and self.peek(2).text.isdigit())
        )

    def fraction(self) -> Node:
        """The fraction of a mixed number, in either notation."""
        top = self.atom()
        if top.op == "number" and self.take("/"):
            return Node("divide", (top, as_number(self.next().text)))
        return top

    def suffix(self, factors: list[Node]) -> bool:
        """Read a unit, a scale word or a remark behind a product. True where there is one."""
        token = self.token
        if token.kind not in ("text", "word"):
            return False
        word = token.text.strip(" .,;:()").casefold()
        if word in JOINING_WORDS or not word or QUALIFIER.match(token.text + " "):
            return False
        if word in SCALES:
            self.next()
            factors.append(number(SCALES[word]))
            return True
        if word in PERCENT_WORDS:
            self.next()
            factors[:] = [Node("percent", (product_of(factors),))]
            return True
        if word in DEGREE_WORDS:
            self.next()
            factors[:] = [Node("degrees", (product_of(factors),))]
            return True
        words = []
        while self.token.kind in ("text", "word", "letter") and not QUALIFIER.match(self.token.text + " "):
            if self.token.text.strip(" ,.").casefold() in JOINING_WORDS or any(c.isdigit() for c in self.token.text):
                break
            words.append(self.next().text.strip(" .,;:"))
        if not words:
            return False
        unit = " ".join(words)
        while self.token.text in ("/", "^") and self.token.kind == "mark":
            unit += self.next().text
            while self.token.kind in ("number", "text", "word", "letter") or self.token.text in ("{", "}", "-"):
                unit += self.next().text.strip("{} ")
        factors[:] = [Node("unit", (product_of(factors), unit.strip()))]
        return True


def _is_domain(node: Node) -> bool:
    """True for a remark such as `k \\in \\mathbb{Z}`."""
    if node.op != "relation" or node.args[0] != ("in",) or node.args[1].op != "symbol":
        return False
    return node.args[2].op == "symbol" and str(node.args[2].args[0]).startswith("mathbb")


def _grouped(items: list[Node], joiners: list[str]) -> list[Node]:
    """`1, 2; 3, 4` as two pairs; unlike groups stay single items."""
    groups: list[list[Node]] = [[]]
    for item, joiner in zip(items, [*joiners, ""], strict=True):
        groups[-1].append(item)
        if joiner == ";":
            groups.append([])
    alike = len({len(group) for group in groups}) == 1
    return [Node("tuple", tuple(group)) for group in groups] if alike else items


def _fold_ratios(operators: list[str], operands: list[Node]) -> tuple[list[str], list[Node]]:
    """`a : b = 1 : 2` is an equation of two ratios."""
    kept: list[str] = []
    sides: list[Node] = [operands[0]]
    for operator, operand in zip(operators, operands[1:], strict=True):
        if operator == ":":
            sides[-1] = Node("divide", (sides[-1], operand))
        else:
            kept.append(operator)
            sides.append(operand)
    return kept, sides
