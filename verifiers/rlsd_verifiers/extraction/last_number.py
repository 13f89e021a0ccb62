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
    rf"|([0-9][0-9,]*+)(?:\.[0-9]++)?[ ]?[{VULGAR_FRACTIONS}]?|\.[0-9]++|[{VULGAR_FRACTIONS}])"
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
    r"[ ]?(?:\\(?:pi|sqrt|[cdt]?frac|ln|log|sin|cos|tan|theta|alpha|binom)|\u03c0|\u221a|[a-ce-fi-kn-rt-z](?![A-Za-z]))"
)
_ATOM = re.compile(r"[^\s$]{1,100}+")


def find_last_number(text: str) -> str | None:
    r"""The last number of the text, with its sign, decimals, exponent, fraction, and percent sign or unit.

    Well-formed thousands belong together (`1,234,567`, `1 234`), and a comma that cannot separate thousands is a
    decimal comma (`12,34`), except in brackets; of any other run of commas the last piece is taken. A minus directly
    after a number or bracket is a subtraction (`10-3` gives `3`). Indices and powers (`x_3`, `2^10`) are not numbers of
    their own, nor are digits in a word (`H2O`); of `2\pi`, `\sqrt{3}` and `x/2` all is taken.
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
    if _ENTANGLED_BEFORE.search(text, max(0, match.start() - 16), match.start()) or _ENTANGLED_AFTER.match(
        text, match.end()
    ):
        return _atom(text, match)
    number, run = match[0].rstrip(), (match[1] or "").rstrip(",")
    bracketed = text[match.start() - 1 : match.start()] in tuple("([{,") or text[
        match.end() : match.end() + 1
    ] in tuple(")]}")
    if not _WELL_FORMED.fullmatch(run) and run and (bracketed or not _DECIMAL_COMMA.fullmatch(run)):
        number = number[run.rfind(",") + 1 :]
    number = number.rstrip(", ")
    sign = _SIGNED.search(text, max(match.start() - 3, 0), match.start()) if match[0].startswith(number) else None
    return (text[sign.start()] if sign else "") + number + _suffix(text, match.end(), number)


def _suffix(text: str, position: int, number: str) -> str:
    """A percent word or a unit after a number."""
    if number.endswith("%"):
        return ""
    if PERCENT.match(text, position):
        return "%"
    unit = unit_after(text, position)
    return f" {unit}" if unit else ""


def _atom(text: str, match: re.Match[str]) -> str:
    """What stands around a number without a blank, after a command's name."""
    start = match.start()
    while start > 0 and match.start() - start < 60 and text[start - 1] not in " \t\n$":
        start -= 1
    command = re.compile(r"\\[A-Za-z]+ \Z").search(text, max(0, start - 8), start)
    atom = _ATOM.match(text, command.start() if command else start)
    end = match.end()
    while end < len(text) and end - match.end() < 60 and text[end] not in " \t\n$":
        end += 1
    return text[command.start() if command else start : end].rstrip(".,;:!?") if atom else match[0]
