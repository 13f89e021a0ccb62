"""Names: letters, words, indices, accents, and text."""

from rlsd_verifiers.maths.grammar import Grammar
from rlsd_verifiers.maths.tokens import Token, UnreadableError, tokenize
from rlsd_verifiers.maths.tree import Node, number, symbol
from rlsd_verifiers.maths.vocabulary import (
    ACCENT_NAMES,
    CONSTANT_WORDS,
    DEGREE_WORDS,
    FUNCTION_LETTERS,
    FUNCTIONS,
    GREEK,
    JOINING_WORDS,
    NUMBER_WORDS,
    PERCENT_WORDS,
    PHRASES,
    SCALES,
    SHORT_WORDS,
)
from rlsd_verifiers.units import find_unit


class Names(Grammar):
    """Reads symbols, and functions that have no name of their own: `f(x)`."""

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
                self.next()
                parts = [text for text in self.enclosed() if text not in "{}"]
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
            raise UnreadableError(f"`{word}` is a word, not a formula")
        self.tokens[self.place - 1 : self.place] = [Token("letter", letter) for letter in word]
        return self.letter(word[0])

    def word_is_maths(self, word: str) -> bool:
        if word in FUNCTIONS or word in CONSTANT_WORDS or word in GREEK:
            return True
        lowered = word.casefold()
        if lowered in JOINING_WORDS or lowered in SCALES or lowered in PERCENT_WORDS or lowered in DEGREE_WORDS:
            return False
        if find_unit(word) or (not word.isupper() and find_unit(lowered)):
            return False
        return len(word) <= 3 and word.isascii() and (word.isupper() or word.casefold() not in SHORT_WORDS)

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
            raise UnreadableError(f"`{inner[:30]}` is a word, not a formula") from None

    def accented(self, accent: str) -> Node:
        accent = "\\" + accent.lstrip("\\")
        inner = "".join(self.enclosed()) if self.take("{") else self.next().text
        if accent in ("\\mathbf", "\\mathcal", "\\variable") and len(inner) == 1:
            return self.subscripted(inner)
        name = ACCENT_NAMES.get(accent[1:], accent[1:])
        return self.subscripted(f"{name}{{{inner}}}")
