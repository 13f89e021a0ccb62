from fractions import Fraction

import pytest

from rlsd_verifiers.units import convert, find_unit


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        ("1", "km", "m", "1000"),
        ("36", "km/h", "m/s", "10"),
        ("1", "m^2", "cm^2", "10000"),
        ("3", "square meters", "m^2", "3"),
        ("2", "hours", "min", "120"),
        ("1", "L", "mL", "1000"),
        ("5", "kilograms", "g", "5000"),
        ("261", "TeV", "GeV", "261000"),
    ],
)
def test_units_are_converted_exactly(value: str, unit: str, to: str, expected: str) -> None:
    source, target = find_unit(unit), find_unit(to)
    assert source is not None
    assert target is not None
    assert convert(Fraction(value), source, target) == Fraction(expected)


def test_units_of_different_kinds_are_not_converted() -> None:
    metre, second = find_unit("m"), find_unit("s")
    assert metre is not None
    assert second is not None
    assert convert(Fraction(1), metre, second) is None


@pytest.mark.parametrize("name", ["", "clips", "apples", "pi", "and", "42", "xyz"])
def test_what_is_no_unit(name: str) -> None:
    assert find_unit(name) is None
