"""The `exact` verifier: the answer is the reference, character by character, up to typography."""

import re

from rlsd_verifiers.extract import extract, only_line, why_no_answer
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.notation import fold_typography
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten


def grade_exact_quickly(submission: Submission, leniency: Leniency) -> Verdict | None:
    """`grade_exact`, or None if the reference is a pattern, which may take any time."""
    return None if _is_pattern(submission.answer or "") else grade_exact(submission, leniency)


def grade_exact(submission: Submission, leniency: Leniency) -> Verdict:  # noqa: ARG001
    """Compare the extracted answer and the reference as strings.

    Both lose surrounding blanks, `$` and a trailing full stop; runs of blanks count as one; case counts. A response of
    one line without any answer mark is its own answer.

    A reference `/.../` or `/.../i` is a regular expression for the whole answer, with `i` for either case. It also
    accepts itself, as every reference does.
    """
    reference = normalise(submission.answer or "")
    if not reference:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "the reference answer is empty")
    try:
        pattern = _pattern(submission.answer or "")
    except (re.error, OverflowError, RecursionError) as error:
        reason = f"the reference `{shorten(reference)}` is not a regular expression: {error}"
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, reason)
    found = extract(submission.response, last_number=False) or only_line(submission.response)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    answer = normalise(found.text)
    same = answer == reference or bool(pattern and pattern.fullmatch(answer))
    outcome, verb = (
        (Outcome.CORRECT, "matches" if pattern else "is") if same
        else (Outcome.WRONG, "does not match" if pattern else "is not")
    )  # fmt: skip
    reason = f"`{shorten(found.text)}` ({found.rule}) {verb} the reference `{shorten(reference)}`"
    return Verdict(outcome, float(same), found.text, reason)


def normalise(text: str) -> str:
    """Fold typography and blanks, and drop `$` and a trailing full stop."""
    folded = " ".join(fold_typography(text).replace("\\$", "").replace("$", "").split())
    return folded.removesuffix(".").rstrip()


def _is_pattern(reference: str) -> bool:
    reference = reference.strip()
    return len(reference) > 2 and reference.startswith("/") and reference.endswith(("/", "/i"))


def _pattern(reference: str) -> re.Pattern[str] | None:
    if not _is_pattern(reference):
        return None
    body, _, flag = reference.strip()[1:].rpartition("/")
    return re.compile(body, re.IGNORECASE if flag else 0) if body else None
