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

_DIGIT_GROUP = re.compile(
    r"(?<=[0-9])(?:\\[,;: ]|[ ]?\{,[ ]?\}[ ]?|\{\u2009\}|\{\\[,;: ]\}|,\\![ ]?|\\!,"
    r"|[\u2009\u202f])(?=[0-9]{3}(?![0-9]))"
)
_TEXT = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|tt|normal|up)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname|boldsymbol|bm)"
    r"\s*+\{([^{}]*+)\}"
)
_FRAC = re.compile(
    r"\\[cdt]?frac(?:\s*+\{\s*+([-+]?[0-9]++)\s*+\}\s*+\{\s*+([0-9]++)\s*+\}|\s*+([0-9])\s*+([0-9])(?![0-9]))"
)
_FRAC_AFTER_DIGIT = re.compile(r"(?<=[0-9])(?=\\[cdt]?frac)")
_SPACING = re.compile(r"\\(?:[,;:!\s]|left\b|right\b|displaystyle\b|q?quad\b)|~")
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

    Superscripts, subscripts and vulgar fractions stay as they are: plain NFKC turns `10\u00b2` into `102`. Invisible
    characters stay too, so that an answer that hides one differs from what it looks like.
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


VULGAR_FRACTIONS = "\u00bc-\u00be\u2150-\u215e\u2189"
SUPERSCRIPT_DIGITS = "\u2070\u00b9\u00b2\u00b3\u2074-\u2079"
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-"
)
_POWER_OF_TEN = re.compile(rf"(?<![0-9.])10([\u207a\u207b]?[{SUPERSCRIPT_DIGITS}]++)")

_CURRENCY = str.maketrans("", "", "$\u20ac\u00a3\u00a5\u20b9\u20bd")
_NAME_EQUALS = re.compile(
    r"(?:(?!\\(?:approx|simeq))\\?[A-Za-z][A-Za-z0-9_]{0,20}+(?:\{[A-Za-z0-9]{1,9}+\})?(?:\([^()]{1,20}+\))?\s*+)?+"
    r"(?:=|\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])|\u2248|\u2245)\s*+"
)
_NUMERAL = r"(?:[0-9]++(?:[.,][0-9]++|[ ][0-9]{3}(?![0-9]))*+(?:\.(?![0-9]))?|\.[0-9]++)"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*+
    (?: (?:(?P<integer>[0-9]++)\s++)?(?P<numerator>[0-9]++(?:\.[0-9]++)?)\s*+/\s*+(?P<denominator>[0-9]++(?:\.[0-9]++)?)
      | (?:(?P<of>[0-9]++)\s*+)?(?P<vulgar>[{VULGAR_FRACTIONS}])
      | 10\s*+\^\s*+(?:\{{\s*+(?P<ten>[-+]?[0-9]++)\s*+\}}|(?P<ten2>[-+]?[0-9]++))
      | (?P<numeral>{_NUMERAL})
        (?: \\(?:overline|bar|dot)\s*+(?:\{{\s*+(?P<bar>[0-9]++)\s*+\}}|(?P<bar2>[0-9])) | \((?P<bar3>[0-9]++)\) )?
        (?: [eE](?P<exponent>[-+]?[0-9]++)(?!\w)
          | \s*+(?:x|\*|\u00d7|\u22c5|\u00b7|\\times|\\cdot)\s*+
            (?: 10\s*+\^\s*+\{{?\s*+(?P<power>[-+]?[0-9]++)\s*+\}}? | 1[eE](?P<power2>[-+]?[0-9]++)(?!\w) ) )?
    )""",
    re.VERBOSE,
)
_THOUSANDS = re.compile(r"(?!0)[0-9]{1,3}+(?:(?:,[0-9]{3})++|(?:[ ][0-9]{3})++)(?:\.[0-9]*+)?")
_CONTINENTAL = re.compile(
    r"(?!0)[0-9]{1,3}+(?:(?:\.[0-9]{3})++,|(?:[ ][0-9]{3})++,|(?:\.[0-9]{3}){2})[0-9.]*+|[0-9]++,[0-9]++"
)
_POINT = re.compile(r"[0-9]*+\.?[0-9]*+")
_WRAPPED = re.compile(r"\{(?P<braced>[^{}]*+)\}|\((?P<round>[^()]*+)\)|\*\*(?P<bold>[^*]*+)\*\*")

_UNIT_POWER = re.compile(r"(?<=[A-Za-z])(?:\^\{?[23]\}?|[\u00b2\u00b3])")
_UNIT = re.compile(r"\s*+%?+\s*+\u00b0?\s*+(?:(?P<first>[^\W\d_]++)(?:[^\W\d_]|[\s.,;:'\"()/%-])*+)?")
_ONE_LETTER_UNITS = frozenset("gmshLl")
_NOT_UNITS = frozenset(
    {"and", "or", "to", "pi", "half", "third", "quarter", "squared", "cubed", "factorial", "times", "plus", "minus"}
    | {"over", "divided", "modulo", "mod", "choose", "dozen", "hundred", "thousand", "million", "billion", "trillion"}
)
_PERCENT = re.compile(r"\s*+(?:%|(?:percent(?:age)?|pct|per[ ]cent)\b)\.?", re.IGNORECASE)


def parse_number(text: str, *, allow_unit: bool = False, decimal_comma: bool = False) -> Fraction | None:
    r"""The exact value of `text`, or None if it is not one plain number.

    Read are integers, decimals, well-formed thousands (`1,234,567`, `1 234 567`), repeating decimals (`0.\overline{3}`,
    `0.1(6)`), `a/b`, `1 1/2`, `1\u00bd`, `1e5`, `2.5 \times 10^{-3}` and `10^5`, with a sign, a currency sign, math
    delimiters, bold marks, one pair of braces or round brackets, a trailing full stop and a leading `x =` around them.
    A percent sign is dropped: `50%` is 50 and is not 0.5. Refused are more than `MAX_NUMBER_CHARS` characters and
    exponents beyond `MAX_EXPONENT`.

    With `decimal_comma`, a comma that cannot separate thousands is a decimal comma: `3,14` and `0,125`, but not
    `1,234`; and `1.234,56` is read.

    With `allow_unit`, words after the number are ignored (`5 km/h`, `72 clips in May`) unless they change its value
    (`5 million`, `5 and a half`, `3x`) or hold another number (`40, 41`, `5 feet 3 inches`). Units are not compared.
    """
    found = split_number(text, decimal_comma=decimal_comma)
    if found is None:
        return None
    value, rest = found
    rest = rest[match.end() :] if (match := _PERCENT.match(rest)) else rest
    return value if not rest.strip() or (allow_unit and is_unit_like(rest)) else None


def split_number(text: str, *, decimal_comma: bool = False) -> tuple[Fraction, str] | None:
    """The number that `text` begins with, by the rules of `parse_number`, and what follows it in plain typography."""
    if len(text) > MAX_NUMBER_CHARS:
        return None
    text = plain(text).translate(_CURRENCY).strip(" \t\r\n*`'\"").rstrip(".,;: \t")
    if wrapped := _WRAPPED.fullmatch(text):
        text = wrapped[wrapped.lastgroup or 0].strip()
    if name := _NAME_EQUALS.match(text):
        text = text[name.end() :]
    text = _POWER_OF_TEN.sub(lambda m: f"10^{{{m[1].translate(_SUPERSCRIPTS)}}}", text)
    match = _NUMBER.match(text)
    value = None if match is None else _value(match, decimal_comma)
    return None if match is None or value is None else (value, text[match.end() :])


def split_percent(rest: str) -> tuple[bool, str]:
    """True where what follows a number begins with a percent sign or word; and what comes after that."""
    match = _PERCENT.match(rest)
    return (True, rest[match.end() :]) if match else (False, rest)


def is_unit_like(rest: str) -> bool:
    """True where only words that leave its value alone follow a number."""
    unit = _UNIT.fullmatch(_UNIT_POWER.sub("", rest))
    if unit is None:
        return False
    word = unit["first"]
    return word is None or (
        word in _ONE_LETTER_UNITS if len(word) == 1 and word.isascii() else word.lower() not in _NOT_UNITS
    )


def _value(match: re.Match[str], decimal_comma: bool) -> Fraction | None:
    sign = -1 if match["sign"] == "-" else 1
    exponent = match["exponent"] or match["power"] or match["power2"] or match["ten"] or match["ten2"] or "0"
    if len(exponent) > 6 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    size = _size(match, decimal_comma)
    return None if size is None else sign * size * Fraction(10) ** int(exponent)


def _size(match: re.Match[str], decimal_comma: bool) -> Fraction | None:
    if match["denominator"]:
        denominator = Fraction(match["denominator"])
        return int(match["integer"] or 0) + Fraction(match["numerator"]) / denominator if denominator else None
    if match["vulgar"]:
        numerator, _, denominator_text = unicodedata.normalize("NFKC", match["vulgar"]).partition("\u2044")
        return int(match["of"] or 0) + Fraction(int(numerator), int(denominator_text))
    if match["ten"] or match["ten2"]:
        return Fraction(1)
    digits = _point_form(match["numeral"], decimal_comma)
    if digits is None:
        return None
    repeated = match["bar"] or match["bar2"] or match["bar3"]
    value = Fraction(digits.rstrip(".") or "0")
    if repeated is None:
        return value
    if "." not in digits:
        return None
    num_decimals = len(digits) - digits.index(".") - 1
    return value + Fraction(int(repeated), 10**num_decimals * (10 ** len(repeated) - 1))


def _point_form(numeral: str, decimal_comma: bool) -> str | None:
    """Digits with a decimal point at most, or None if the commas, points and blanks of a numeral make no sense."""
    if _POINT.fullmatch(numeral):
        return numeral
    if _THOUSANDS.fullmatch(numeral):
        return numeral.replace(",", "").replace(" ", "")
    if decimal_comma and _CONTINENTAL.fullmatch(numeral):
        form = numeral.replace(".", "").replace(" ", "").replace(",", ".")
        return form if _POINT.fullmatch(form) else None
    return None
