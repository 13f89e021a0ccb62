r"""Notation: fold typography and LaTeX to plain ASCII forms, and read a number exactly.

Nothing here evaluates anything, and every pattern is linear in the length of the text.
"""

import re
import unicodedata
from fractions import Fraction
from functools import cache

MAX_NUMBER_CHARS = 1000
MAX_EXPONENT = 400

_DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
_KEPT_AS_THEY_ARE = ("<super>", "<sub>", "<fraction>")

_DIGIT_GROUP = re.compile(r"(?<=[0-9])(?:\\,|\{,\}|[\u2009\u202f])(?=[0-9]{3}(?![0-9]))")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*+\{([^{}]*+)\}")
_FRAC = re.compile(
    r"\\[dt]?frac(?:\s*+\{\s*+([-+]?[0-9]++)\s*+\}\s*+\{\s*+([0-9]++)\s*+\}|\s*+([0-9])\s*+([0-9])(?![0-9]))"
)
_FRAC_AFTER_DIGIT = re.compile(r"(?<=[0-9])(?=\\[dt]?frac)")
_SPACING = re.compile(r"\\(?:[,;:!\s]|left\b|right\b|displaystyle\b|quad\b)|~")
_DEGREE = re.compile(r"\^\s*+(?:\\circ|\{\s*+\\circ\s*+\})")
_DELIMITER = re.compile(r"\\[()\[\]]")


@cache
def _fold_character(character: str) -> str:
    if character in _DASHES:
        return _DASHES[character]
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    if unicodedata.decomposition(character).startswith(_KEPT_AS_THEY_ARE):
        return character
    return unicodedata.normalize("NFKC", character)


def fold_typography(text: str) -> str:
    """NFKC, ASCII digits and ASCII minus signs.

    Superscripts, subscripts and vulgar fractions stay as they are: plain NFKC turns `10\u00b2` into `102`.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", "".join(map(_fold_character, text)))


def plain(text: str) -> str:
    r"""Fold typography and the LaTeX around numbers: `\frac{1}{2}` to `1/2`, `1{,}234` to `1,234`."""
    text = fold_typography(_DIGIT_GROUP.sub(",", text))
    if "\\" in text or "~" in text:
        text = _TEXT.sub(r" \1", text)
        text = _FRAC.sub(lambda m: f"{m[1] or m[3]}/{m[2] or m[4]}", _FRAC_AFTER_DIGIT.sub(" ", text))
        text = _DELIMITER.sub("", _SPACING.sub(" ", _DEGREE.sub("\u00b0", text)))
        text = text.replace("\\$", "$").replace("\\%", "%")
    return text


_CURRENCY = str.maketrans("", "", "$\u20ac\u00a3\u00a5")
_NAME_EQUALS = re.compile(r"(?:[A-Za-z][A-Za-z0-9_]{0,20}+\s*+)?+=\s*+")
_NUMBER = re.compile(
    r"""(?P<sign>[-+]?)\s*+
    (?: (?:(?P<integer>[0-9]++)\s++)?(?P<numerator>[0-9]++)\s*+/\s*+(?P<denominator>[0-9]++)
      | (?P<whole>[0-9][0-9,]*+)?(?P<decimals>\.[0-9]*+)?
        (?: [eE](?P<exponent>[-+]?[0-9]++)(?!\w)
          | \s*+(?:x|\*|\u00d7|\u22c5|\u00b7|\\times|\\cdot)\s*+10\s*+\^\s*+\{?(?P<power>[-+]?[0-9]++)\}? )?
    )""",
    re.VERBOSE,
)
_THOUSANDS = re.compile(r"[0-9]{1,3}+(?:,[0-9]{3})++")

_UNIT_POWER = re.compile(r"(?<=[A-Za-z])(?:\^\{?[23]\}?|[\u00b2\u00b3])")
_UNIT = re.compile(r"\s*+%?+\s*+\u00b0?\s*+(?:(?P<first>[^\W\d_]++)(?:[^\W\d_]|[\s.,;:'\"()/%-])*+)?")
_ONE_LETTER_UNITS = frozenset("gmshLl")
_NOT_UNITS = frozenset(
    {"and", "or", "to", "pi", "half", "third", "quarter", "squared", "cubed", "factorial", "times", "plus", "minus"}
    | {"over", "divided", "modulo", "choose", "dozen", "hundred", "thousand", "million", "billion", "trillion"}
)


def parse_number(text: str, *, allow_unit: bool = False) -> Fraction | None:
    r"""The exact value of `text`, or None if it is not one plain number.

    Read are integers, decimals, well-formed thousands (`1,234,567`; `12,34` is not a number), `a/b`, `1 1/2`, `1e5`,
    `2.5e-3` and `2.5 \times 10^{-3}`, with a sign, a currency sign, math delimiters, bold marks, a trailing full stop
    and a leading `x =` around them. A percent sign is dropped: `50%` is 50 and is not 0.5. Refused are more than
    `MAX_NUMBER_CHARS` characters and exponents beyond `MAX_EXPONENT`.

    With `allow_unit`, words after the number are ignored (`5 km/h`, `72 clips in May`) unless they change its value
    (`5 million`, `5 and a half`, `3x`) or hold another number (`40, 41`, `5 feet 3 inches`). Units are not compared.
    """
    if len(text) > MAX_NUMBER_CHARS:
        return None
    text = plain(text).translate(_CURRENCY).strip(" \t\r\n*`'\"").rstrip(".,;: \t")
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    if name := _NAME_EQUALS.match(text):
        text = text[name.end() :]
    match = _NUMBER.match(text)
    if match is None or not _may_follow(text[match.end() :], allow_unit):
        return None
    return _value(match)


def _may_follow(rest: str, allow_unit: bool) -> bool:
    if not allow_unit:
        return rest.strip() in ("", "%")
    unit = _UNIT.fullmatch(_UNIT_POWER.sub("", rest))
    if unit is None:
        return False
    word = unit["first"]
    return word is None or (word in _ONE_LETTER_UNITS if len(word) == 1 else word.lower() not in _NOT_UNITS)


def _value(match: re.Match[str]) -> Fraction | None:
    sign = -1 if match["sign"] == "-" else 1
    if match["denominator"]:
        denominator = int(match["denominator"])
        fraction = Fraction(int(match["numerator"]), denominator) if denominator else None
        return None if fraction is None else sign * (int(match["integer"] or 0) + fraction)
    whole, decimals = match["whole"] or "", match["decimals"] or ""
    if "," in whole and not _THOUSANDS.fullmatch(whole):
        return None
    digits = whole.replace(",", "") + decimals
    exponent = match["exponent"] or match["power"] or "0"
    if not digits.strip(".") or len(exponent) > 6 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return sign * Fraction(digits.rstrip(".") or "0") * Fraction(10) ** int(exponent)
