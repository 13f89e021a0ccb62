r"""Units: their names, and exact factors between those of one kind.

A unit's kind is its dimension, a product of powers of a few bases. Bases are the SI's, and whatever cannot be converted
by a factor alone: temperature scales (25 degrees Celsius is not 25 kelvin), currencies, and months, which have no fixed
number of days. `Unit.factor` is the size of one unit in the bases. All factors are exact, except that a radian is
180/pi degrees to 40 digits.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from rlsd_verifiers.notation import SUPERSCRIPT_DIGITS, fold_typography

Dimension = tuple[tuple[str, int], ...]
"""Bases with their powers, sorted; empty for a plain number."""

MAX_UNIT_CHARS = 80


class Unit(NamedTuple):
    """A unit as written, its dimension, and its size in the bases."""

    name: str
    dimension: Dimension
    factor: Fraction


def _dimension(**powers: int) -> Dimension:
    return tuple(sorted((base, power) for base, power in powers.items() if power))


_LENGTH = _dimension(metre=1)
_AREA = _dimension(metre=2)
_VOLUME = _dimension(metre=3)
_MASS = _dimension(gram=1)
_TIME = _dimension(second=1)
_SPEED = _dimension(metre=1, second=-1)
_FORCE = _dimension(gram=1, metre=1, second=-2)
_ENERGY = _dimension(gram=1, metre=2, second=-2)
_POWER = _dimension(gram=1, metre=2, second=-3)
_PRESSURE = _dimension(gram=1, metre=-1, second=-2)
_CHARGE = _dimension(ampere=1, second=1)
_VOLTAGE = _dimension(gram=1, metre=2, second=-3, ampere=-1)
_RESISTANCE = _dimension(gram=1, metre=2, second=-3, ampere=-2)
_CAPACITANCE = _dimension(gram=-1, metre=-2, second=4, ampere=2)
_INDUCTANCE = _dimension(gram=1, metre=2, second=-2, ampere=-2)
_FLUX_DENSITY = _dimension(gram=1, second=-2, ampere=-1)
_FLUX = _dimension(gram=1, metre=2, second=-2, ampere=-1)
_FREQUENCY = _dimension(second=-1)
_ANGLE = _dimension(degree=1)
_DATA = _dimension(bit=1)

# Symbols that take a prefix, and the words that do: (symbols, words, dimension, factor).
_PREFIXED: tuple[tuple[str, str, Dimension, str], ...] = (
    ("m", "metre meter", _LENGTH, "1"),
    ("g", "gram gramme", _MASS, "1"),
    ("s sec", "second", _TIME, "1"),
    ("A", "ampere amp", _dimension(ampere=1), "1"),
    ("K", "kelvin", _dimension(kelvin=1), "1"),
    ("mol", "mole", _dimension(mole=1), "1"),
    ("cd", "candela", _dimension(candela=1), "1"),
    ("l L \u2113", "litre liter", _VOLUME, "1/1000"),
    ("t", "tonne", _MASS, "1000000"),
    ("N", "newton", _FORCE, "1000"),
    ("J", "joule", _ENERGY, "1000"),
    ("eV", "electronvolt", _ENERGY, "1.602176634e-16"),
    ("cal", "calorie", _ENERGY, "4184"),
    ("Wh", "", _ENERGY, "3600000"),
    ("W", "watt", _POWER, "1000"),
    ("Pa", "pascal", _PRESSURE, "1000"),
    ("bar", "", _PRESSURE, "100000000"),
    ("C", "coulomb", _CHARGE, "1"),
    ("V", "volt", _VOLTAGE, "1000"),
    ("\u03a9", "ohm", _RESISTANCE, "1000"),
    ("F", "farad", _CAPACITANCE, "1/1000"),
    ("H", "henry", _INDUCTANCE, "1000"),
    ("T", "tesla", _FLUX_DENSITY, "1000"),
    ("Wb", "weber", _FLUX, "1000"),
    ("Hz", "hertz", _FREQUENCY, "1"),
    ("Bq", "becquerel", _FREQUENCY, "1"),
    ("M", "", _dimension(mole=1, metre=-3), "1000"),
    ("b", "bit", _DATA, "1"),
    ("B", "byte", _DATA, "8"),
    ("pc", "parsec", _LENGTH, "30856775814913673"),
)
_PREFIXES: dict[str, tuple[str, int]] = {
    "E": ("exa", 18), "P": ("peta", 15), "T": ("tera", 12), "G": ("giga", 9), "M": ("mega", 6), "k": ("kilo", 3),
    "h": ("hecto", 2), "d": ("deci", -1), "c": ("centi", -2), "m": ("milli", -3), "\u03bc": ("micro", -6),
    "u": ("micro", -6), "n": ("nano", -9), "p": ("pico", -12), "f": ("femto", -15),
}  # fmt: skip
_OTHER_THINGS = frozenset({"us", "pH", "dB", "pt"})

# Names that take no prefix. Words may stand in the plural.
_PLAIN: tuple[tuple[str, Dimension, str], ...] = (
    ("inch inches in", _LENGTH, "0.0254"),
    ("foot feet ft", _LENGTH, "0.3048"),
    ("yard yd", _LENGTH, "0.9144"),
    ("mile mi", _LENGTH, "1609.344"),
    ("nmi", _LENGTH, "1852"),
    ("lightyear ly", _LENGTH, "9460730472580800"),
    ("au", _LENGTH, "149597870700"),
    ("angstrom \u00c5", _LENGTH, "1e-10"),
    ("micron", _LENGTH, "1e-6"),
    ("hectare ha", _AREA, "10000"),
    ("acre", _AREA, "4046.8564224"),
    ("cc", _VOLUME, "1e-6"),
    ("gallon gal", _VOLUME, "0.003785411784"),
    ("quart qt", _VOLUME, "0.000946352946"),
    ("pint", _VOLUME, "0.000473176473"),
    ("cup", _VOLUME, "0.0002365882365"),
    ("tablespoon tbsp", _VOLUME, "0.00001478676478125"),
    ("teaspoon tsp", _VOLUME, "0.00000492892159375"),
    ("floz", _VOLUME, "0.0000295735295625"),
    ("lb lbs pound", _MASS, "453.59237"),
    ("ounce oz", _MASS, "28.349523125"),
    ("stone", _MASS, "6350.29318"),
    ("ton", _MASS, "1000000"),
    ("dalton Da amu", _MASS, "1.66053906660e-24"),
    ("minute min mins", _TIME, "60"),
    ("hour h hr hrs", _TIME, "3600"),
    ("day d", _TIME, "86400"),
    ("week wk", _TIME, "604800"),
    ("fortnight", _TIME, "1209600"),
    ("month", _dimension(month=1), "1"),
    ("year yr yrs", _dimension(month=1), "12"),
    ("decade", _dimension(month=1), "120"),
    ("century centuries", _dimension(month=1), "1200"),
    ("dyne dyn", _FORCE, "0.01"),
    ("lbf", _FORCE, "4448.2216152605"),
    ("erg", _ENERGY, "0.0001"),
    ("Btu", _ENERGY, "1055055.85262"),
    ("horsepower hp", _POWER, "745699.87158227022"),
    ("atm atmosphere", _PRESSURE, "101325000"),
    ("torr mmHg", _PRESSURE, "101325000/760"),
    ("psi", _PRESSURE, "8896443.230521/1.29032"),
    ("mph", _SPEED, "0.44704"),
    ("kph kmh kmph", _SPEED, "5/18"),
    ("knot kn", _SPEED, "463/900"),
    ("rpm", _FREQUENCY, "1/60"),
    ("\u00b0 degree deg", _ANGLE, "1"),
    ("arcminute arcmin", _ANGLE, "1/60"),
    ("arcsecond arcsec", _ANGLE, "1/3600"),
    ("radian rad", _ANGLE, "57.29577951308232087679815481410517033240547"),
    ("revolution rev turn", _ANGLE, "360"),
    ("gauss", _FLUX_DENSITY, "0.1"),
    ("\u00b0C celsius", _dimension(celsius=1), "1"),
    ("\u00b0F fahrenheit", _dimension(fahrenheit=1), "1"),
    ("dollar USD bucks", _dimension(dollar=1), "1"),
    ("cent", _dimension(dollar=1), "0.01"),
    ("euro EUR \u20ac", _dimension(euro=1), "1"),
    ("GBP \u00a3 quid", _dimension(sterling=1), "1"),
    ("pence", _dimension(sterling=1), "0.01"),
    ("rupee INR", _dimension(rupee=1), "1"),
    ("yen JPY", _dimension(yen=1), "1"),
    ("yuan RMB CNY", _dimension(yuan=1), "1"),
    ("ruble rouble", _dimension(ruble=1), "1"),
    ("peso", _dimension(peso=1), "1"),
    ("franc CHF", _dimension(franc=1), "1"),
)


def _entries() -> Iterator[tuple[str, tuple[Dimension, Fraction]]]:
    for symbols, words, dimension, size in _PREFIXED:
        for prefix, (name, power) in _PREFIXES.items():
            scaled = dimension, Fraction(size) * Fraction(10) ** power
            yield from ((prefix + symbol, scaled) for symbol in symbols.split() if prefix + symbol not in _OTHER_THINGS)
            yield from ((name + word, scaled) for word in words.split())
    for symbols, words, dimension, size in _PREFIXED:
        yield from ((name, (dimension, Fraction(size))) for name in f"{symbols} {words}".split())
    for names, dimension, size in _PLAIN:
        numerator, _, denominator = size.partition("/")
        yield from ((name, (dimension, Fraction(numerator) / Fraction(denominator or 1))) for name in names.split())


UNITS: dict[str, tuple[Dimension, Fraction]] = dict(_entries())
"""Every name of a single unit: its dimension and its size in the bases. Later names win: `min` is a minute."""

_BY_LOWER_CASE = {name.lower(): name for name in UNITS if len(name) > 3}
_SHOUTED = frozenset(
    {"CM", "MM", "KM", "KG", "ML", "FT", "LB", "LBS", "OZ", "HR", "HRS", "MIN", "SEC", "MPH", "KPH", "IN"}
)
_NO_PLURALS = frozenset({"has", "das"})

_WRAPPER = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|normal|up)?|math(?:rm|bf|it|sf|normal)|mbox|hbox|operatorname|unit|si)\s*+\{([^{}]*+)\}"
)
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_REWRITES = (
    (re.compile(r"\^\s*+(?:\{\s*+)?\\circ(?:\s*+\})?|\\(?:text)?degree(?![A-Za-z])"), "\u00b0"),
    (re.compile(r"\^\s*+\{\s*+([-+]?[0-9])\s*+\}"), r"^\1"),
    (re.compile(r"\\(?:mu|micro)(?![A-Za-z])\s*+"), "\u03bc"),
    (re.compile(r"\\(?:Omega|ohm)(?![A-Za-z])\s*+"), "\u03a9"),
    (re.compile(r"\\(?:cdot|times)(?![A-Za-z])|\\(?:[,;:! ]|q?quad(?![A-Za-z]))|[\u00b7\u22c5*~$(){}]"), " "),
    (re.compile(rf"(\u207b?[{SUPERSCRIPT_DIGITS}])"), r"^\1"),
    (re.compile(r"(?i)\b(?:degrees?\s++(?:celsius|centigrade|c)|centigrade)\b|\u00b0\s++C\b"), "\u00b0C"),
    (re.compile(r"(?i)\bdegrees?\s++(?:fahrenheit|f)\b|\u00b0\s++F\b"), "\u00b0F"),
    (re.compile(r"(?i)\blight[\s-]++year"), "lightyear"),
    (re.compile(r"(?i)\belectron[\s-]++volt"), "electronvolt"),
    (re.compile(r"(?i)\bpounds?\s++sterling\b"), "GBP"),
    (re.compile(r"(?i)\bu\.?s\.?\s++(?=dollar)"), ""),
    (re.compile(r"(?i)\bfl(?:uid)?\.?\s++(?:ounces?|oz)\b"), "floz"),
)
_TOKEN = re.compile(
    r"\s*+(?:(?P<per>/)|(?P<name>\u00b0[CF]?|[^\W\d_]++|[\u20ac\u00a3])\.?(?:\s*+\^?(?P<power>[-+]?[0-9]))?)\s*+"
)
_PER = frozenset({"per", "a", "an", "each", "every"})
_POWERS_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWERS_AFTER = {"squared": 2, "cubed": 3}


@lru_cache(maxsize=4096)
def find_unit(name: str) -> Unit | None:
    r"""The unit that `name` spells, or None.

    Read are symbols with SI prefixes, words in singular and plural, products, quotients and powers, in plain text or
    LaTeX: `cm`, `km/h`, `m^2`, `square meters`, `kg m^2 s^{-2}`, `miles per hour`, `\text{ cm}^2`, `^\circ`. Whatever
    follows a `/` or "per" divides.
    """
    if len(name) > MAX_UNIT_CHARS:
        return None
    factors = _factors(_simplify(name))
    if not factors:
        return None
    powers: dict[str, int] = {}
    size = Fraction(1)
    for (dimension, factor), power in factors:
        size *= factor**power
        for base, exponent in dimension:
            powers[base] = powers.get(base, 0) + exponent * power
    found = _dimension(**powers)
    return Unit(name.strip(), found, size) if found else None


def convert(value: Fraction, unit: Unit, to: Unit) -> Fraction | None:
    """A value in another unit, or None if the two units measure different things."""
    return value * unit.factor / to.factor if unit.dimension == to.dimension else None


def _simplify(name: str) -> str:
    name = fold_typography(_WRAPPER.sub(r" \1 ", name))
    for pattern, replacement in _REWRITES:
        name = pattern.sub(replacement, name)
    return name.translate(_SUPERSCRIPTS).strip()


def _factors(name: str) -> list[tuple[tuple[Dimension, Fraction], int]] | None:
    factors: list[tuple[tuple[Dimension, Fraction], int]] = []
    sign, before, position = 1, 1, 0
    while position < len(name):
        token = _TOKEN.match(name, position)
        if token is None:
            return None
        position = token.end()
        word = (token["name"] or "").lower()
        if token["per"] or (word in _PER and factors):
            sign = -1
        elif word in _POWERS_BEFORE:
            before = _POWERS_BEFORE[word]
        elif word in _POWERS_AFTER and factors:
            factors[-1] = factors[-1][0], factors[-1][1] * _POWERS_AFTER[word]
        elif found := _single(token["name"]):
            factors.append((found, sign * before * int(token["power"] or 1)))
            before = 1
        else:
            return None
    return factors if before == 1 else None


def _single(name: str) -> tuple[Dimension, Fraction] | None:
    lower = name.lower()
    known = name if name in UNITS else _BY_LOWER_CASE.get(lower) or (lower if name in _SHOUTED else None)
    if known is None and len(name) > 2 and lower.endswith("s") and lower not in _NO_PLURALS:
        single = name[:-1]
        known = single if single in UNITS else _BY_LOWER_CASE.get(single.lower())
    return None if known is None else UNITS[known]
