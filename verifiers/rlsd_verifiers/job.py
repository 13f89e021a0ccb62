"""A submission on its way to a verdict: graded at once, or made a row for a worker process."""

import time
from concurrent.futures import Future
from typing import NamedTuple

from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.process import encode
from rlsd_verifiers.registry import AUTO, UnknownVerifierError, describe, look_up, resolve
from rlsd_verifiers.rewards import Call
from rlsd_verifiers.verdict import Outcome, Submission, Verdict


class Job(NamedTuple):
    """A submission, and how to grade it."""

    submission: Submission
    verifier: str = AUTO
    leniency: Leniency = Leniency()


class Row:
    """A job that needs a worker: the import path of its verifier, the line to send, and the future of its verdict."""

    def __init__(self, path: str, encoded: bytes, seconds: float, *, jailed: bool = False) -> None:
        self.path = path
        self.jailed = jailed
        self.encoded = encoded
        self.future: Future[Verdict] = Future()
        self._seconds = seconds
        self._deaths = 0

    def start(self) -> bool:
        """True where a verdict is still wanted. From here on the row cannot be cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def died(self) -> bool:
        """Count the death of a worker at this row. True where it is not tried again."""
        self._deaths += 1
        return self._deaths > 1

    def finish(self, verdict: Verdict) -> None:
        """Deliver the verdict, with the time that was spent before the worker's added to it."""
        if self.start():
            self.future.set_result(verdict._replace(seconds=verdict.seconds + self._seconds))


def begin(job: Job | Call) -> Verdict | Row:
    """The verdict on a job that needs no worker, else its row. Never raises for what is in the job."""
    started = time.perf_counter()
    try:
        found = _row(job.path, *job[1:], started) if isinstance(job, Call) else _begin(job, started)
    except UnknownVerifierError as error:
        found = invalid(str(error))
    except Exception as error:
        found = crash(f"the verifier failed with {describe(error)}")
    return found._replace(seconds=time.perf_counter() - started) if isinstance(found, Verdict) else found


def _begin(job: Job, started: float) -> Verdict | Row:
    submission, name, leniency = job
    if not (isinstance(submission.response, str) and isinstance(submission.answer, str | None)):
        return invalid("the response or the reference answer is not text")
    if not isinstance(name, str):
        return invalid("the name of the verifier is not text")
    verifier = look_up(resolve(name, submission))
    verdict = verifier.quick(submission, leniency) if verifier.quick else None
    if verdict is not None:
        return verdict
    if verifier.thorough is None:
        return crash(f"the verifier `{name}` gave no verdict")
    return _row(verifier.thorough, submission, leniency, started, jailed=verifier.jailed)


def _row(path: str, given: object, settings: object, started: float, *, jailed: bool = False) -> Verdict | Row:
    try:
        encoded = encode([path, given, settings])
    except (TypeError, ValueError, RecursionError) as error:
        return invalid(f"the row is not JSON: {describe(error)}")
    return Row(path, encoded, time.perf_counter() - started, jailed=jailed)


def crash(reason: str) -> Verdict:
    return Verdict(Outcome.CRASH, 0.0, None, reason)


def invalid(reason: str) -> Verdict:
    return Verdict(Outcome.INVALID_ROW, 0.0, None, reason)
