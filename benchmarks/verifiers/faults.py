"""The fault leg: verifiers that misbehave, and what becomes of the rows around them."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlsd_verifiers import Job, Outcome, Pool, Submission, Verdict

TIMEOUT_SECONDS, MEMORY_MB = 1.0, 256
ROWS = 200
THREADS, ROWS_A_THREAD = 50, 20


def echo(submission: Submission) -> Verdict:
    """The response, after a while."""
    time.sleep(0.002)
    return Verdict(Outcome.CORRECT, 1.0, submission.response, "echoed")


def fill_memory(_: Submission) -> bool:
    pieces = []
    while True:
        pieces.append(bytearray(2**24))


def hang_in_c(_: Submission) -> bool:
    """One power of integers, with the interpreter's lock held and no signal handled."""
    return bool(7 ** (10**8))


def die(_: Submission) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def children() -> list[int]:
    """The processes that this one has started and not yet reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def jobs(bad: str = "", at: tuple[int, ...] = ()) -> list[Job]:
    """`ROWS` rows that say their number, those in `at` for the verifier `bad`."""
    name = dict.fromkeys(at, f"{__name__}:{bad}")
    return [Job(Submission(str(i), str(i)), name.get(i, f"{__name__}:echo")) for i in range(ROWS)]


def check(verdicts: list[Verdict], outcome: Outcome = Outcome.CORRECT, at: tuple[int, ...] = ()) -> None:
    """Every row has its own verdict, in order, and those in `at` the outcome of their fault."""
    assert len(verdicts) == ROWS, len(verdicts)
    for place, verdict in enumerate(verdicts):
        if place in at:
            assert verdict.outcome is outcome, (place, verdict)
        else:
            assert (verdict.outcome, verdict.extracted) == (Outcome.CORRECT, str(place)), (place, verdict)


def killed_from_outside() -> int:
    """kill -9 of a worker, three times while rows are graded."""
    with Pool(2, timeout_seconds=TIMEOUT_SECONDS, memory_mb=MEMORY_MB) as pool:
        stream = pool.verify(jobs())
        verdicts, killed = [], 0
        for place, verdict in enumerate(stream):
            verdicts.append(verdict)
            if place in (20, 80, 140):
                os.kill(children()[0], signal.SIGKILL)
                killed += 1
        check(verdicts)
    assert killed == 3
    return ROWS


def with_fault(bad: str, outcome: Outcome) -> Callable[[], int]:
    def run() -> int:
        at = (0, 50, 51, ROWS - 1)
        with Pool(2, timeout_seconds=TIMEOUT_SECONDS, memory_mb=MEMORY_MB) as pool:
            check(list(pool.verify(jobs(bad, at))), outcome, at)
        return ROWS

    return run


def from_many_threads() -> int:
    """Rows from 50 threads, one in two decided in the caller, each with its own number and every third one wrong."""
    with Pool(2) as pool:

        def some(thread: int) -> list[Verdict]:
            numbers = range(thread * ROWS_A_THREAD, (thread + 1) * ROWS_A_THREAD)
            futures = [pool.submit(_numbered(number)) for number in numbers]
            return [future.result() for future in futures]

        with ThreadPoolExecutor(THREADS) as threads:
            verdicts = [verdict for found in threads.map(some, range(THREADS)) for verdict in found]
    assert len(verdicts) == THREADS * ROWS_A_THREAD
    for number, verdict in enumerate(verdicts):
        assert verdict.extracted == _numbered_answer(number), (number, verdict)
        assert verdict.correct is (number % 3 > 0), (number, verdict)
    return len(verdicts)


def _numbered_answer(number: int) -> str:
    return str(number) if number % 2 else f"\\sqrt{{x^2 + {number}}}"


def _numbered(number: int) -> Job:
    reference = _numbered_answer(number).replace("x^2 +", "x \\cdot x +")
    wrong = "" if number % 3 else " + 1"
    return Job(Submission(f"\\boxed{{{_numbered_answer(number)}}}", reference + wrong))


FAULTS: dict[str, Callable[[], int]] = {
    "kill -9 of a worker, three times": killed_from_outside,
    "a verifier that kills its worker": with_fault("die", Outcome.CRASH),
    "a verifier that fills the memory": with_fault("fill_memory", Outcome.MEMORY),
    "a verifier that hangs in C code": with_fault("hang_in_c", Outcome.TIMEOUT),
    f"{THREADS * ROWS_A_THREAD:,} rows from {THREADS} threads": from_many_threads,
}


def faults() -> dict[str, Any]:
    """Runs them all. An assertion fails if a row lacks its verdict, and if a process or a descriptor is left over."""
    print("\nfaults: every row has its own verdict, in order; nothing is left over")
    print("fault\trows\tseconds")
    result = {}
    for name, run in FAULTS.items():
        before = children(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
        started = time.perf_counter()
        rows = run()
        seconds = time.perf_counter() - started
        after = children(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
        assert before == after, (name, before, after)
        print(f"{name}\t{rows}\t{seconds:.2f}")
        result[name] = {"rows": rows, "seconds": seconds}
    return result
