"""The second part of the `math` verifier, for worker processes: expressions, then sympy. It may be slow and killed."""

from functools import lru_cache

from rlsd_verifiers.extract import why_no_answer
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.labels import Rules
from rlsd_verifiers.maths.probe import Probe
from rlsd_verifiers.maths.quick import compare, found_answer, read, reference_text, verdict
from rlsd_verifiers.maths.symbolic import sympy_equal
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten


@lru_cache(maxsize=1)
def _probe() -> Probe:
    return Probe()


def grade_math(submission: Submission, leniency: Leniency) -> Verdict:
    """A verdict by the values of the expressions, and where those cannot be had by sympy's algebra."""
    reference = reference_text(submission.answer or "").strip()
    found = found_answer(submission, leniency)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    decided = compare(found, reference, Rules(leniency, _probe()))
    if decided is not None:
        return decided
    equal = sympy_equal(reference, found.text)
    if equal is None:
        fault = read(found.text).fault or "not an answer of the kind asked for"
        return Verdict(Outcome.UNPARSEABLE, 0.0, found.text, f"`{shorten(found.text)}` ({found.rule}): {fault}")
    return verdict(equal, found, reference, "equals" if equal else "does not equal")
