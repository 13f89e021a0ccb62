"""Numbers: integers, decimals, thousands, repeating decimals, and digits in another base."""

import re
from fractions import Fraction

from rlsd_verifiers.maths.grammar import Grammar
from rlsd_verifiers.maths.tokens import Token, TooComplexError, UnreadableError
from rlsd_verifiers.maths.tree import Node, number
from rlsd_verifiers.maths.vocabulary import ORDINALS

MAX_DIGITS = 4_000
MAX_EXPONENT = 4_000
_THOUSANDS = re.compile(r"[0-9]{3}")


class Numerals(Grammar):
    """Reads numbers."""

    def number(self, token: Token) -> Node:
        text = token.text
        if self.token.text in ORDINALS and not self.token.spaced and text.isdigit():
            self.next()
            return as_number(text)
        text = self.with_thousands(text)
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

    def with_thousands(self, text: str) -> str:
        """The digits of a number with the groups of three that follow it: `1,234,567`."""
        if "." in text or len(text) > 3 or self.bracketed or "e" in text or "E" in text:
            return text
        while self.token.text == "," and self.peek().kind == "number" and not self.peek().spaced:
            group = self.peek().text
            if self.token.spaced or not _THOUSANDS.fullmatch(group.partition(".")[0]) or text[0] == "0":
                break
            text += group
            self.place += 2
            if "." in group:
                break
        return text

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
