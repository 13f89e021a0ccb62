"""The `numeric` verifier: the answer and the reference are the same number, compared exactly."""

import re
from fractions import Fraction
from typing import NamedTuple

from rlsd_verifiers.extract import extract, why_no_answer
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.notation import fold_typography, is_unit_like, split_number, split_percent
from rlsd_verifiers.units import Unit, convert, find_unit
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten


class Quantity(NamedTuple):
    """A number with what follows it.

    percent: whether a percent sign follows.
    unit: the unit, if it is a known one.
    words: the words that follow.
    """

    value: Fraction
    percent: bool
    unit: Unit | None
    words: frozenset[str]


def grade_numeric(submission: Submission, leniency: Leniency) -> Verdict:
    """Compare two numbers as fractions, so that nothing is ever equal by rounding.

    `parse_number` says which spellings are read, with a decimal comma where a comma cannot separate thousands. With
    `leniency.relative_tolerance` an answer is right when `|answer - reference| <= relative_tolerance * |reference|`. A
    percent sign means hundredths, and see `Leniency.percent`.

    A unit counts only where both have one that is known: then the answer is converted, and units of different kinds
    are wrong. Of unknown words on both sides one must be shared (`12 eggs`, `12 brown eggs`).
    """
    if submission.answer is None or not submission.answer.strip():
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "the reference answer is empty")
    reference = read_quantity(submission.answer)
    if reference is None or len(reference.words) > MAX_REFERENCE_WORDS:
        reason = f"the reference `{shorten(submission.answer)}` is not a number"
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, reason)
    found = extract(submission.response, last_number=leniency.last_number)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    answer = read_quantity(found.text)
    shown = f"`{shorten(found.text)}` ({found.rule})"
    if answer is None:
        return Verdict(Outcome.UNPARSEABLE, 0.0, found.text, f"{shown} is not a number")
    value = _in_unit_of(reference, answer)
    if value is None:
        reason = f"{shown} has another unit than the reference `{shorten(submission.answer)}`"
        return Verdict(Outcome.WRONG, 0.0, found.text, reason)
    same = _same(reference, answer._replace(value=value), leniency)
    outcome, verb = (Outcome.CORRECT, "equals") if same else (Outcome.WRONG, "does not equal")
    return Verdict(outcome, float(same), found.text, f"{shown} {verb} the reference `{shorten(submission.answer)}`")


MAX_REFERENCE_WORDS = 3
_FORMULA = re.compile(r"\s*+(?:\$(?P<inline>[^$]++)\$|\\\((?P<round>[^$\\]++)\\\))(?P<rest>[^$]*+)")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SMALL_WORDS = frozenset("a an and at for in of on per the to total altogether each every".split())


def read_quantity(text: str) -> Quantity | None:
    """The number that a text is, with what stands after it; None if that is more than a unit or words."""
    if formula := _FORMULA.fullmatch(text):
        text = f"{formula['inline'] or formula['round']} {formula['rest']}"
    found = split_number(text, decimal_comma=True)
    if found is None:
        return None
    value, rest = found
    percent, rest = split_percent(rest)
    unit = find_unit(rest) if rest.strip() else None
    if unit is None and not is_unit_like(rest):
        return None
    words = frozenset(word.casefold().removesuffix("s") for word in _WORD.findall(fold_typography(rest)))
    return Quantity(value, percent, unit, words - _SMALL_WORDS)


def _in_unit_of(reference: Quantity, answer: Quantity) -> Fraction | None:
    """The answer's number in the reference's unit, or None if the two do not measure the same."""
    if reference.unit and answer.unit:
        return convert(answer.value, answer.unit, reference.unit)
    if reference.unit or answer.unit or not (reference.words and answer.words) or reference.words & answer.words:
        return answer.value
    return None


def _same(reference: Quantity, answer: Quantity, leniency: Leniency) -> bool:
    def close(wanted: Fraction, given: Fraction) -> bool:
        return abs(given - wanted) <= Fraction(leniency.relative_tolerance) * abs(wanted)

    if reference.percent == answer.percent:
        return close(reference.value, answer.value)
    signless = answer.value if reference.percent else reference.value
    if leniency.percent == "either" and abs(signless) > 1 and close(reference.value, answer.value):
        return True
    return close(reference.value / (100 if reference.percent else 1), answer.value / (100 if answer.percent else 1))
