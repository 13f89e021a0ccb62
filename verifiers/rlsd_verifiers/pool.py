"""Verdicts from worker processes that can be killed.

One thread per process hands it rows and takes verdicts back. A row that goes over its time is answered by killing the
process; a row whose process dies goes to a fresh one, once. So every row gets its verdict, whatever the others do.
"""

import atexit
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Self

from rlsd_sandbox.settings import Settings
from rlsd_verifiers.job import Job, Row, begin, crash
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.process import Limits, Worker
from rlsd_verifiers.registry import AUTO, describe, find_verifier
from rlsd_verifiers.rewards import Call
from rlsd_verifiers.stream import Pending, Stream
from rlsd_verifiers.verdict import Submission, Verdict

__all__ = ["Job", "Pool", "check_reference", "verify", "verify_all"]

PREFETCH_ROWS = 8
"""Rows a worker holds, the one it grades and the next ones, so that it does not wait for its thread."""

AHEAD_ROWS, AHEAD_CHARS = 512, 2**26
"""How far `Pool.verify` reads ahead: rows per worker, and characters of all their responses."""


class Pool:
    """Grades jobs, those that need it in one of at most `workers` processes, each started when first needed.

    There a row may take `timeout_seconds` of wall clock, and `memory_mb` beyond what loading its verifier took; a
    program runs in a `sandbox`, whose limits hold instead. A process is replaced after `recycle_after` rows. Any thread
    may call any method; a forked process may call none.

    `launchers`: commands that start a process on another machine (`["ssh", "node7"]`), which the workers take in turn.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        timeout_seconds: float = 1.0,
        memory_mb: int = 512,
        recycle_after: int = 5000,
        sandbox: Settings = Settings(),  # noqa: B008
        launchers: Sequence[Sequence[str]] = (),
    ) -> None:
        self.workers = workers or min(8, os.cpu_count() or 1)
        self._limits = Limits(timeout_seconds, memory_mb, recycle_after, sandbox)
        self._launchers = launchers or [()]
        self._changed = threading.Condition()
        self._queue: deque[Row] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._hired: set[Worker] = set()
        self._unloadable: set[str] = set()
        self._closed = False
        self._owner = os.getpid()
        atexit.register(self.close)

    @property
    def unusable(self) -> bool:
        """Whether it is closed, or of the process that this one was forked from."""
        return self._closed or self._owner != os.getpid()

    def submit(self, job: Job | Call) -> Future[Verdict]:
        """The verdict to come, or what a reward function gives; already there where no process is needed.

        Never raises for what is in the job.
        """
        row = begin(job)
        if isinstance(row, Verdict):
            future: Future[Verdict] = Future()
            future.set_result(row)
            return future
        with self._changed:
            if self.unusable:
                raise RuntimeError("the pool is closed, or of another process")
            if len(self._queue) >= self._idle and len(self._threads) < self.workers:
                launcher = self._launchers[len(self._threads) % len(self._launchers)]
                thread = threading.Thread(target=self._serve, args=[launcher], name="verifier", daemon=True)
                thread.start()
                self._threads.append(thread)
            self._queue.append(row)
            self._changed.notify()
        return row.future

    def verify(self, jobs: Iterable[Job]) -> Iterator[Verdict]:
        """Verdicts in the order of the jobs. Reads as far ahead as keeps the workers busy, and no further."""
        begun = (self._pending(job) for job in jobs)
        stream = Stream(begun, AHEAD_ROWS * self.workers, AHEAD_CHARS)
        try:
            yield from (verdict.result() for verdict in stream if verdict)
        finally:
            stream.cancel()

    def _pending(self, job: Job) -> Pending[Future[Verdict]]:
        response, verdict = job.submission.response, self.submit(job)
        return Pending(verdict, [verdict], len(response) if isinstance(response, str) else 0)

    def close(self) -> None:
        """Kill the workers and wait for their ends. Rows without a verdict get the outcome `crash`."""
        if self._owner != os.getpid():
            return
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for worker in self._hired:
                worker.hang_up()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        while self._queue:
            self._queue.popleft().finish(crash("the pool was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, launcher: Sequence[str]) -> None:
        """A thread's life: keep one worker fed, and replace it when it hangs, dies or has done enough."""
        worker: Worker | None = None
        held: list[Row] = []
        while self._take(held):
            verdict, how = None, ""
            try:
                worker = worker or self._hire(launcher)
                verdict = worker.grade(held)
            except Exception as error:
                how = "" if isinstance(error, EOFError | ConnectionError) else describe(error)
            if worker and (verdict is None or not worker.fit):
                status = self._dismiss(worker)
                how = how or status
                worker = None
            if verdict is None and not self._closed and held[0].died():
                verdict = crash(f"the worker died twice ({how})")
            if verdict is not None:
                held.pop(0).finish(verdict)
            if worker is None:
                self._give_back(held)
        if worker:
            self._dismiss(worker)
        self._give_back(held)

    def _take(self, held: list[Row]) -> bool:
        """Fill up from the queue, waiting while there is nothing to do. False when the pool is closed."""
        with self._changed:
            while not self._closed:
                while self._queue and len(held) < PREFETCH_ROWS and (not held or len(self._queue) >= self.workers):
                    row = self._queue.popleft()
                    if row.start():
                        held.append(row)
                if held:
                    return True
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return False

    def _give_back(self, held: list[Row]) -> None:
        with self._changed:
            self._queue.extendleft(reversed(held))
            self._changed.notify(len(held))
        held.clear()

    def _hire(self, launcher: Sequence[str]) -> Worker:
        worker = Worker(self._limits, self._unloadable, launcher)
        with self._changed:
            self._hired.add(worker)
            if self._closed:
                worker.hang_up()
        return worker

    def _dismiss(self, worker: Worker) -> str:
        with self._changed:
            self._hired.discard(worker)
        return worker.kill()


_DEFAULT_LENIENCY = Leniency()
_default: Pool | None = None
_default_lock = threading.Lock()


def _default_pool() -> Pool:
    global _default
    with _default_lock:
        if _default is None or _default.unusable:
            _default = Pool()
        return _default


def verify(
    submission: Submission, verifier: str = AUTO, leniency: Leniency = _DEFAULT_LENIENCY, *, pool: Pool | None = None
) -> Verdict:
    """Grade one submission. Without a pool it is one with the defaults, which lives until the interpreter ends.

    Raises:
        UnknownVerifierError: there is no such verifier.
    """
    return verify_all([submission], verifier, leniency, pool=pool)[0]


def verify_all(
    submissions: Iterable[Submission],
    verifier: str = AUTO,
    leniency: Leniency = _DEFAULT_LENIENCY,
    *,
    pool: Pool | None = None,
) -> list[Verdict]:
    """Grade submissions, in order, as `verify` does one."""
    if verifier != AUTO:
        find_verifier(verifier)
    jobs = (Job(submission, verifier, leniency) for submission in submissions)
    return [*(pool or _default_pool()).verify(jobs)]


def check_reference(
    submission: Submission, verifier: str = AUTO, pool: Pool | None = None, leniency: Leniency = _DEFAULT_LENIENCY
) -> str | None:
    """Why the reference cannot be graded, found by submitting it as its own answer; None if it accepts itself."""
    own = submission._replace(response=rf"\boxed{{{submission.answer or ''}}}")
    verdict = verify(own, verifier, leniency, pool=pool)
    return None if verdict.correct else verdict.reason
