"""Verifiers by name, and the one way to call them.

A verifier is a function from a `Submission` to a `Verdict`. It may raise: `verify` turns the exception into the outcome
`crash`, which is no verdict, instead of a zero.
"""

import difflib
import time
from collections.abc import Callable, Iterable

from rlsd_verifiers.exact import grade_exact
from rlsd_verifiers.numeric import grade_numeric
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten

Verifier = Callable[[Submission], Verdict]

VERIFIERS: dict[str, Verifier] = {"exact": grade_exact, "numeric": grade_numeric}


class UnknownVerifierError(ValueError):
    """No verifier has this name; the message says which come close."""


def verify(submission: Submission, verifier: str = "numeric") -> Verdict:
    """Grade one submission, with the wall time in `Verdict.seconds`. Raises `UnknownVerifierError`."""
    return _timed(_named(verifier), submission)


def verify_all(submissions: Iterable[Submission], verifier: str = "numeric") -> list[Verdict]:
    """Grade submissions in order; a crash in one is that one's verdict and touches no other."""
    grade = _named(verifier)
    return [_timed(grade, submission) for submission in submissions]


def check_reference(submission: Submission, verifier: str = "numeric") -> str | None:
    """Why the reference cannot be graded, found by submitting it as its own answer; None if it accepts itself."""
    verdict = verify(submission._replace(response=rf"\boxed{{{submission.answer or ''}}}"), verifier)
    return None if verdict.correct else verdict.reason


def _timed(grade: Verifier, submission: Submission) -> Verdict:
    started = time.perf_counter()
    try:
        verdict = grade(submission)
    except Exception as error:
        reason = f"the verifier failed with {type(error).__name__}: {shorten(str(error), 200)}"
        verdict = Verdict(Outcome.CRASH, 0.0, None, reason)
    return verdict._replace(seconds=time.perf_counter() - started)


def _named(name: str) -> Verifier:
    if name in VERIFIERS:
        return VERIFIERS[name]
    close = difflib.get_close_matches(name, VERIFIERS, n=1, cutoff=0.5)
    suggestion = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(f'`{v}`' for v in VERIFIERS)}"
    raise UnknownVerifierError(f"no verifier named `{name}`; {suggestion}")
