from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlsd_verifiers import Leniency, Outcome, Submission, parse_number, verify
from rlsd_verifiers.numeric import grade_numeric


def outcome(response: str, answer: str | None) -> str:
    verdict = verify(Submission(response, answer), "numeric")
    assert verdict.score == float(verdict.outcome is Outcome.CORRECT)
    return verdict.outcome


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"), ("-42", "-42"), ("+42", "42"), ("042", "42"), ("42.", "42"), ("42.0", "42"), (".5", "1/2"),
        ("1,234", "1234"), ("1,234,567.5", "1234567.5"), ("1{,}234", "1234"), (r"1\,234\,567", "1234567"),
        ("1/2", "1/2"), ("-6 / 4", "-3/2"), (r"\frac{1}{2}", "1/2"), (r"-\dfrac{3}{4}", "-3/4"), (r"\frac12", "1/2"),
        ("1 1/2", "3/2"), (r"-1\frac{1}{2}", "-3/2"), ("1e5", "100000"), ("2.5E-3", "0.0025"),
        (r"2.5 \times 10^{-3}", "0.0025"), ("4.27 \N{MULTIPLICATION SIGN} 10^5", "427000"), ("3 x 10^2", "300"),
        ("50%", "50"), (r"50\%", "50"), ("$5", "5"), ("-$5.00", "-5"), (r"\$5", "5"), ("5 \N{EURO SIGN}", "5"),
        ("$42$", "42"), (r"\(42\)", "42"), ("**42**", "42"), ("x = 42", "42"), ("= 42", "42"), ("{42}", "42"),
        ("\N{MINUS SIGN}7", "-7"), ("\N{EN DASH}7", "-7"), ("\N{FULLWIDTH DIGIT SEVEN}", "7"),
        ("\N{VULGAR FRACTION ONE HALF}", "1/2"), ("10\N{SUPERSCRIPT TWO}", "100"), (r"0.\overline{3}", "1/3"),
        ("9" * 1000, "9" * 1000),
    ],
)  # fmt: skip
def test_parse_number_reads(text: str, value: str) -> None:
    assert parse_number(text) == Fraction(value)
    assert parse_number(text, allow_unit=True) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "-", "%", "x", "nan", "inf", "12,34", "1,2345", "1,234,56", "1234,567", "1,234/5", "1/0", "1/2/3",
        "1 2", "--5", "1e", "1e401", "1e-99999999", "1 x 10^9999999", "5!", "2^10", "0x1f",
        "1_000",
        "41 = 42", "2x+1 = 0", r"4\sqrt(2)", r"4\sqrt{2}", "3+4", "3-4", "3*4",
        "40, 41", "(1, 2)", "42 or 43", "about 42", r"\pi", r"2\pi", "9" * 1001, "3x", "2i", "3 x", "5 million",
        "5 and a half", "5 feet 3 inches", "40 bars, 60 pops", "5 pi", "5(x)", "5-x",
    ],
)  # fmt: skip
def test_parse_number_refuses(text: str) -> None:
    assert parse_number(text) is None
    assert parse_number(text, allow_unit=True) is None


@pytest.mark.parametrize(
    "text",
    ["5 km/h", "5cm", r"5\text{ cm}^2", "5 m", r"5\,\mathrm{kg}", "5 clips in April and May", "5^\\circ", "5% off"],
)
def test_units_are_ignored_in_answers_only(text: str) -> None:
    assert parse_number(text, allow_unit=True) == 5
    assert parse_number(text) is None or text == r"5^\circ"


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        (r"\boxed{42}", "42", "correct"),
        ("is 42.", "42.0", "correct"),
        ("so the result is 0.5.", r"\frac{1}{2}", "correct"),
        ("The answer is 72 clips altogether in April and May.", "72", "correct"),
        (r"\boxed{41 = 42}", "42", "unparseable"),
        (r"\boxed{5 million}", "5", "unparseable"),
        ("The answer is 40, 41, 42", "40", "unparseable"),
        ("The answer is unclear", "42", "unparseable"),
        ("50%", "50", "correct"),
        ("50%", "50%", "correct"),
        ("50%", "0.5", "correct"),
        ("50%", "0.005", "wrong"),
        (r"\boxed{10 cm}", "10 m", "wrong"),
        (r"\boxed{1000 m}", "1 km", "correct"),
        ("0.0000001", "0.0000002", "wrong"),
        (r"\boxed{10^{-23}}", "1e-23", "correct"),
        (r"\boxed{10^{-23}}", "1e-22", "wrong"),
        ("0.333333333333333333", "1/3", "wrong"),
        ("41", "42", "wrong"),
        ("1" * 1001, "42", "unparseable"),
        ("no idea", "42", "no_answer"),
        ("", "42", "no_answer"),
        ("<think>42", "42", "no_answer"),
        ("42", "", "bad_reference"),
        ("42", None, "bad_reference"),
        ("42", "forty-two", "bad_reference"),
        ("42", "42 apples", "correct"),
        ("1933", "the Act of 1933", "bad_reference"),
    ],
)
def test_outcomes(response: str, answer: str | None, expected: str) -> None:
    assert outcome(response, answer) == expected


def test_reasons_name_what_they_speak_of() -> None:
    assert "forty-two" in verify(Submission("42", "forty-two"), "numeric").reason
    verdict = verify(Submission(r"\boxed{41}", "42"), "numeric")
    assert verdict.extracted == "41"
    assert all(word in verdict.reason for word in ("`41`", "boxed", "`42`"))


def test_tolerance_is_relative_to_the_reference_and_off_by_default() -> None:
    def graded(answer: str, tolerance: float) -> bool | None:
        return grade_numeric(Submission(answer, "200"), Leniency(relative_tolerance=tolerance)).correct

    assert graded("202", 0.01)
    assert graded("202.01", 0.01) is False
    assert graded("200.0000000001", 0.0) is False
    assert grade_numeric(Submission("0.001", "0"), Leniency(relative_tolerance=0.5)).correct is False


def test_the_last_number_can_be_forbidden() -> None:
    assert grade_numeric(Submission("so 42", "42"), Leniency()).outcome is Outcome.CORRECT
    assert grade_numeric(Submission("so 42", "42"), Leniency(last_number=False)).outcome is Outcome.NO_ANSWER


INTEGERS = st.integers(-(10**18), 10**18)
DECIMALS = st.decimals(-(10**9), 10**9, places=4)
SPELLINGS = (
    "{}", "{:f}", "{:,}", " {} ", "{}.", "${}$", r"\boxed{{{}}}", r"\boxed{{{:,}}}", r"\boxed{{x = {}}}",
    "<answer>{}</answer>", "The answer is {}.", "**Answer:** **{:,}**", "work, work\n#### {:,}", "a=1;#{}",
    "so it is {:,}", "it is {:,} dollars", r"\boxed{{{} \text{{ cm}}}}", "it is {}%",
    "1 + 1 = {} .",
)  # fmt: skip


@given(st.one_of(INTEGERS.map(Decimal), DECIMALS), st.sampled_from(SPELLINGS))
def test_a_number_equals_itself_however_it_is_written(number: Decimal, spelling: str) -> None:
    if "%" in spelling and abs(number) <= 1:  # `1%` is not 1
        assert outcome(spelling.format(number), str(number / 100)) == "correct"
        return
    response = spelling.format(number).replace("-", "\N{MINUS SIGN}") if "so" in spelling else spelling.format(number)
    assert outcome(response, str(number)) == "correct"


@given(INTEGERS, INTEGERS, st.sampled_from(SPELLINGS))
def test_different_numbers_are_wrong(number: int, other: int, spelling: str) -> None:
    assume("%" not in spelling or max(abs(number), abs(other)) > 1)
    assert outcome(spelling.format(Decimal(number)), str(other)) == ("correct" if number == other else "wrong")


@given(INTEGERS, st.integers(1, 10**6))
def test_fractions_are_compared_as_values(numerator: int, denominator: int) -> None:
    value = Fraction(numerator, denominator)
    assert outcome(rf"\boxed{{{numerator}/{denominator}}}", str(value)) == "correct"
    assert outcome(rf"\boxed{{\frac{{{numerator}}}{{{denominator}}}}}", str(value)) == "correct"
    assert outcome(rf"\boxed{{{numerator}/{denominator}}}", str(value + Fraction(1, 10**40))) == "wrong"


@given(DECIMALS, st.integers(-30, 30))
def test_scientific_notation_is_exact(mantissa: Decimal, exponent: int) -> None:
    value = Fraction(mantissa) * Fraction(10) ** exponent
    assert parse_number(f"{mantissa}e{exponent}") == value
    assert parse_number(rf"{mantissa} \times 10^{{{exponent}}}") == value


@given(st.text(max_size=200), st.text(max_size=30))
def test_no_text_crashes_the_verifier(response: str, answer: str) -> None:
    for name in ("numeric", "exact"):
        assert verify(Submission(response, answer), name).outcome is not Outcome.CRASH
