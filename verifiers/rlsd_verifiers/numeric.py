"""The `numeric` verifier: the answer and the reference are the same number, compared exactly."""

from fractions import Fraction

from rlsd_verifiers.extract import extract, why_no_answer
from rlsd_verifiers.notation import parse_number
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten


def grade_numeric(
    submission: Submission, *, relative_tolerance: float = 0.0, allow_last_number: bool = True
) -> Verdict:
    """Compare two numbers as fractions, so that nothing is ever equal by rounding.

    `parse_number` says which spellings are read. Words after the number of an answer are ignored, so units are not
    compared; a reference must be a bare number. With `relative_tolerance` an answer is right when
    `|answer - reference| <= relative_tolerance * |reference|`.
    """
    if submission.answer is None or not submission.answer.strip():
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "the reference answer is empty")
    reference = parse_number(submission.answer)
    if reference is None:
        return Verdict(
            Outcome.BAD_REFERENCE, 0.0, None, f"the reference `{shorten(submission.answer)}` is not a number"
        )
    found = extract(submission.response, allow_last_number=allow_last_number)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    answer = parse_number(found.text, allow_unit=True)
    shown = f"`{shorten(found.text)}` ({found.rule})"
    if answer is None:
        return Verdict(Outcome.UNPARSEABLE, 0.0, found.text, f"{shown} is not a number")
    same = abs(answer - reference) <= Fraction(relative_tolerance) * abs(reference)
    outcome, verb = (Outcome.CORRECT, "equals") if same else (Outcome.WRONG, "does not equal")
    return Verdict(outcome, float(same), found.text, f"{shown} {verb} the reference `{shorten(submission.answer)}`")
