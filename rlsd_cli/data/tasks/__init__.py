"""Generated tasks: a name instead of a file.

A task draws its i-th problem from its own random stream, so a set of problems is a function of the task and a count.
`leakage` is the task's signature of a response that could only come from privileged information.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from rlsd_cli.data.problems import Problem
from rlsd_cli.data.tasks import arithmetic, sums


class Task(NamedTuple):
    summary: str
    draw: Callable[[Random], Problem]
    num_problems: int
    leakage: str | None = None


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "arithmetic": Task(
            "chains of 2 to 4 terms for the embedded policy, in its own alphabet",
            arithmetic.draw,
            20_000,
            leakage=arithmetic.LEAKAGE,
        ),
        "arithmetic-warmup": Task(
            "the same chains as demonstrations: some worked, some guessed, some with a hint",
            arithmetic.draw_demonstration,
            300_000,
        ),
        "sums": Task("two-digit sums and short chains, asked in English", sums.draw, 4_000),
    }
)


def generate(name: str) -> list[Problem]:
    """All problems of a task, without repeats, in a fixed order."""
    task = TASKS[name]
    random = Random(f"rlsd/{name}")
    drawn = (task.draw(random) for _ in range(task.num_problems))
    return list({(problem.question, problem.solution): problem for problem in drawn}.values())
