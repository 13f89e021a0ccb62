"""The quick part of the `code` verifier: it runs nothing."""

from rlsd_verifiers.code.extract import extract_code
from rlsd_verifiers.extract import spoken_text
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.verdict import Outcome, Submission, Verdict


def grade_code_quickly(submission: Submission, leniency: Leniency) -> Verdict | None:  # noqa: ARG001
    """The verdict where there are no tests or no program; None where the program must run."""
    if submission.tests is None:
        return Verdict(Outcome.INVALID_ROW, 0.0, None, "tests: missing, and `code` needs some")
    if not isinstance(submission.tests, str | list):
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "tests: neither a list nor text")
    if extract_code(submission.response) is None:
        thinking = spoken_text(submission.response) is None
        return Verdict(Outcome.NO_ANSWER, 0.0, None, "it ends while still thinking" if thinking else "there is no code")
    return None
