"""A cursor over the tokens of an answer."""

from rlsd_verifiers.maths.tokens import END, Token, TooComplexError, UnreadableError

MAX_DEPTH = 50


class Cursor:
    """Reads tokens one by one.

    place: index of the next token.
    depth: levels of nesting.
    bracketed: open brackets.
    bars: open `|`.
    set_level: `bracketed` inside a set whose `:` has not come yet, else 0.
    """

    def __init__(self, tokens: list[Token]) -> None:
        while tokens and tokens[-1].text in (".", ",", ";", "\\", "!.", ":", "\\quad"):
            tokens.pop()
        self.tokens = [*tokens, END]
        self.place = 0
        self.depth = 0
        self.bars = 0
        self.bracketed = 0
        self.set_level = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.place + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.tokens[self.place]
        self.place = min(self.place + 1, len(self.tokens) - 1)
        return token

    def take(self, *texts: str) -> bool:
        if self.token.kind in ("mark", "command") and self.token.text in texts:
            self.next()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.refusal(f"expected `{text}`")

    def enclosed(self) -> list[str]:
        """The texts up to the brace that closes an open one, which is taken."""
        texts: list[str] = []
        depth = 1
        while self.token.kind != "end":
            text = self.next().text
            depth += (text == "{") - (text == "}")
            if depth == 0:
                break
            texts.append(text)
        return texts

    def refusal(self, why: str = "") -> UnreadableError:
        shown = self.token.text or "the end"
        return UnreadableError(f"{why + ', ' if why else ''}cannot read `{shown[:30]}` there")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooComplexError(f"nested deeper than {MAX_DEPTH}")
