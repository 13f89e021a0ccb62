"""One side of the throughput leg, as a program: reads what to grade, grades it, prints how long that took.

It imports nothing of the other side.
"""

import json
import multiprocessing
import sys
import time
from typing import Any

UNDECIDED = (r"\boxed{\sqrt{x^2+1}+y}", r"y+\sqrt{1+x \cdot x}")
"""A response and a reference that need a worker."""

_shared: dict[str, Any] = {}


def _grade_shared(line: str) -> tuple[bool, float]:
    return _shared["grade"](line)  # type: ignore[no-any-return]


def with_math_verify(processes: int, warm_up: list[str], lines: list[str]) -> tuple[float, int, list[float]]:
    """In this process if there is to be only one, else in forked ones: seconds, rows accepted, seconds of each row."""
    from benchmarks.verifiers.peer import grader

    _shared["grade"] = grade = grader()
    if processes == 1:
        for line in warm_up:
            grade(line)
        started = time.perf_counter()
        replies = [grade(line) for line in lines]
        seconds = time.perf_counter() - started
    else:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            pool.map(_grade_shared, warm_up, chunksize=4)
            started = time.perf_counter()
            replies = pool.map(_grade_shared, lines, chunksize=4)
            seconds = time.perf_counter() - started
    return seconds, sum(equal for equal, _ in replies), [row_seconds for _, row_seconds in replies]


def with_rlsd(workers: int, warm_up: list[Any], pairs: list[Any]) -> tuple[float, int, list[float]]:
    """In this process and the workers of a pool: seconds, rows accepted, seconds of each row."""
    from rlsd_verifiers import Job, Pool, Submission

    with Pool(workers) as pool:
        if warm_up:
            starting_all = [UNDECIDED] * 32 * workers
            list(pool.verify(Job(Submission(*pair)) for pair in warm_up + starting_all))
        started = time.perf_counter()
        verdicts = list(pool.verify(Job(Submission(*pair)) for pair in pairs))
        seconds = time.perf_counter() - started
    return seconds, sum(bool(verdict.correct) for verdict in verdicts), [verdict.seconds for verdict in verdicts]


def main() -> None:
    name, processes, warm_up, rows = json.load(sys.stdin)
    print(json.dumps((with_math_verify if name == "math-verify" else with_rlsd)(processes, warm_up, rows)))


if __name__ == "__main__":
    main()
