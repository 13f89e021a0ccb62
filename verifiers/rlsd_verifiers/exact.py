"""The `exact` verifier: the answer is the reference, character by character, up to typography."""

from rlsd_verifiers.extract import Extraction, extract, visible_text, why_no_answer
from rlsd_verifiers.notation import fold_typography
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten


def grade_exact(submission: Submission) -> Verdict:
    """Compare the extracted answer and the reference as strings.

    Both lose surrounding blanks, `$` and a trailing full stop; runs of blanks count as one; case counts. A response of
    one line without any answer mark is its own answer.
    """
    reference = normalise(submission.answer or "")
    if not reference:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "the reference answer is empty")
    found = extract(submission.response, allow_last_number=False) or _only_line(submission.response)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    same = normalise(found.text) == reference
    outcome, verb = (Outcome.CORRECT, "is") if same else (Outcome.WRONG, "is not")
    reason = f"`{shorten(found.text)}` ({found.rule}) {verb} the reference `{shorten(reference)}`"
    return Verdict(outcome, float(same), found.text, reason)


def normalise(text: str) -> str:
    """Fold typography and blanks, and drop `$` and a trailing full stop."""
    folded = " ".join(fold_typography(text).replace("\\$", "").replace("$", "").split())
    return folded.removesuffix(".").rstrip()


def _only_line(response: str) -> Extraction | None:
    text = (visible_text(response) or "").strip()
    return Extraction(text, "only line") if text and "\n" not in text else None
