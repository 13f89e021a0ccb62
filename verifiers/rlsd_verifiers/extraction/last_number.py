"""The last number of a text."""

import re

from rlsd_verifiers.extraction.formulas import unit_after
from rlsd_verifiers.extraction.signs import CURRENCY, PERCENT
from rlsd_verifiers.notation import SUPERSCRIPT_DIGITS, VULGAR_FRACTIONS, plain

_LETTER = r"A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f"
_HIDDEN = r"\x00-\x08\x0e-\x1f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_NUMBER = re.compile(
    rf"(?<![{_LETTER}0-9_^.])(?<![_^]\{{)(?<![0-9][{_HIDDEN}])"
    rf"(?:[0-9]++[ ][0-9]++/[0-9]++|[0-9]++(?::[0-9]++)++"
    rf"|(?<![0-9][ ])[0-9]{{1,3}}+(?:[ ][0-9]{{3}}(?![0-9]))++(?:[.,][0-9]++)?(?![ ]?/)"
    rf"|([0-9][0-9,]*+)(?:\.[0-9]++|\.(?=\\(?:overline|bar)))?(?:[ ]?[{VULGAR_FRACTIONS}])?"
    rf"|\.[0-9]++|[{VULGAR_FRACTIONS}])"
    rf"(?:[eE][-+]?[0-9]++(?![{_LETTER}0-9])|[ ]?/[ ]?[0-9]++|[ ]?(?:x|\u00d7|\*|\\times"
    rf"|\\cdot)[ ]?(?:10\^\{{?[-+]?[0-9]++\}}?|1[eE][-+]?[0-9]++)|\\(?:overline|bar)\{{?[0-9]++\}}?)?+"
    rf"(?![\^_{SUPERSCRIPT_DIGITS}\u207a\u207b])(?![{_HIDDEN}][0-9])(?:[ ]?%)?"
)
_SIGNED = re.compile(rf"(?<![{_LETTER}0-9_)\]}}+-])[-+][{CURRENCY}]?\Z")
_WELL_FORMED = re.compile(r"[0-9]{1,3}+(?:,[0-9]{3})*+|[0-9]++")
_DECIMAL_COMMA = re.compile(r"[0-9]++,(?![0-9]{3}\Z)[0-9]++|0,[0-9]{3}|[0-9]{4,}+,[0-9]{3}")
_ENTANGLED_BEFORE = re.compile(
    r"(?:\\(?:sqrt|ln|log|sin|cos|tan|exp|binom|[cdt]?frac)(?:\[[^\]]{0,5}\])?[\s{(]{0,2}|\u221a\(?|\b(?:sqrt|log"
    r"|ln|exp)\(|\}\{|[A-Za-z)}][ ]?/[ ]?)\Z"
)
_ENTANGLED_AFTER = re.compile(
    r"[ ]?(?:\\(?:pi|sqrt|[cdt]?frac|ln|log|sin|cos|tan|theta|alpha|binom)|\u03c0|\u221a"
    r"|[xyz](?![A-Za-z]))|[a-ce-fi-kn-rt-w](?![A-Za-z])"
)
_OPENS = re.compile(r"[(\[{,]\Z")
_CLOSES = re.compile(r"[)\]}]")


def find_last_number(text: str) -> str | None:
    r"""The last number of the text, with its sign, decimals, exponent, fraction, and percent sign or unit.

    Well-formed thousands belong together (`1,234,567`, `1 234`), and a comma that cannot separate thousands is a
    decimal comma (`12,34`), except in brackets; of any other run of commas the last piece is taken. A minus directly
    after a number or bracket is a subtraction (`10-3` gives `3`). Indices and powers (`x_3`, `2^10`) are not numbers of
    their own, nor are digits in a word (`H2O`); of `2\pi`, `\sqrt{3}`, `x/2` and `(0, 1)` all is taken.
    """
    if not _DIGIT_OR_FRACTION.search(text):
        return None
    tail = text.find(" ", len(text) - _MAX_TAIL_CHARS) if len(text) > _MAX_TAIL_CHARS else -1
    return (_last_number_of(plain(text[tail:])) if tail > 0 else None) or _last_number_of(plain(text))


_DIGIT_OR_FRACTION = re.compile(rf"[\d{VULGAR_FRACTIONS}]")
_MAX_TAIL_CHARS = 1000


def _last_number_of(text: str) -> str | None:
    match: re.Match[str] | None = None
    for match in _NUMBER.finditer(text):  # noqa: B007
        pass
    if match is None:
        return None
    after = _ENTANGLED_AFTER.match(text, match.end())
    if after or _ENTANGLED_BEFORE.search(text, max(0, match.start() - 16), match.start()):
        return _atom(text, match.start(), after.end() if after else match.end())
    if pair := _pair(text, match):
        return pair
    number, run = match[0].rstrip(), (match[1] or "").rstrip(",")
    bracketed = _OPENS.search(text, max(0, match.start() - 1), match.start()) or _CLOSES.match(text, match.end())
    if not _WELL_FORMED.fullmatch(run) and run and (bracketed or not _DECIMAL_COMMA.fullmatch(run)):
        number = number[run.rfind(",") + 1 :]
    number = number.rstrip(", ")
    sign = _SIGNED.search(text, max(match.start() - 3, 0), match.start()) if match[0].startswith(number) else None
    return (text[sign.start()] if sign else "") + number + _suffix(text, match.end(), number)


_PAIR_BEFORE = re.compile(r"[(\[][0-9., /+-]{0,40}\Z")
_PAIR_AFTER = re.compile(r"[ ]?[)\]]")


def _pair(text: str, match: re.Match[str]) -> str | None:
    """The pair, or longer list, in brackets that a number closes; thousands in brackets are none."""
    before = _PAIR_BEFORE.search(text, max(0, match.start() - 42), match.start())
    after = _PAIR_AFTER.match(text, match.end())
    if not before or not after or _WELL_FORMED.fullmatch(text[before.start() + 1 : match.end()].strip()):
        return None
    pair = text[before.start() : after.end()]
    return pair if "," in pair else None


def _suffix(text: str, position: int, number: str) -> str:
    """A percent word or a unit after a number."""
    if number.endswith("%"):
        return ""
    if PERCENT.match(text, position):
        return "%"
    unit = unit_after(text, position)
    return f" {unit}" if unit else ""


_BEFORE_ATOM = re.compile(r"(?:\\[A-Za-z]+[ ])?[^\s$]*\Z")
_AFTER_ATOM = re.compile(r"[^\s$]{0,60}+")


def _atom(text: str, start: int, end: int) -> str:
    """`text[start:end]` with what stands around it without a blank, and a command before that."""
    before, after = _BEFORE_ATOM.search(text, max(0, start - 60), start), _AFTER_ATOM.match(text, end)
    return text[before.start() if before else start : after.end() if after else end].rstrip(".,;:!?")
