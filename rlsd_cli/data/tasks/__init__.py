"""Generated tasks: a name instead of a file.

A task draws its problems one after the other from a random stream that its name and its knobs decide, so a list of
problems is a function of them, and a smaller `count` takes the beginning of the same list. `leakage` is the task's
signature of a response that could only come from privileged information.
"""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from rlsd_cli.data.problems import Problem
from rlsd_cli.data.tasks import arithmetic, base_conversion, countdown, knights, latin, linear, routes, sums
from rlsd_cli.data.tasks.errors import FirstError
from rlsd_cli.errors import RlsdError, did_you_mean


class Knob(NamedTuple):
    """A whole number that makes a task easier or harder: `low` to `high`, or the default, which may lie outside."""

    default: int
    low: int
    high: int
    meaning: str


class Task(NamedTuple):
    """`draw` takes a random stream and the knobs by name. `demonstrates`: a question may have several solutions.

    `first_error` finds the place where a response goes wrong; None where it does not, or the task cannot tell. `steps`
    gives the characters of each step of a response. Not every task can.
    """

    summary: str
    draw: Callable[..., Problem]
    num_problems: int
    leakage: str | None = None
    knobs: Mapping[str, Knob] = MappingProxyType({})
    demonstrates: bool = False
    first_error: Callable[[Problem, str], FirstError | None] | None = None
    steps: Callable[[str], list[tuple[int, int]]] | None = None


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "arithmetic": Task(
            "chains of 2 to 4 terms for the embedded policy, in its own alphabet",
            arithmetic.draw,
            20_000,
            leakage=arithmetic.LEAKAGE,
            knobs={
                "terms": Knob(0, 2, 8, "terms of a chain; 0: two, three or four"),
                "largest": Knob(99, 9, 999, "largest term"),
            },
            first_error=arithmetic.NOTATION.first_error,
            steps=arithmetic.NOTATION.steps,
        ),
        "arithmetic-warmup": Task(
            "the same chains as demonstrations: some worked, some guessed, some with a hint",
            arithmetic.draw_demonstration,
            300_000,
            demonstrates=True,
        ),
        "routes": Task(
            "sums of 3 or 4 numbers in any order, for the embedded policy, in its own alphabet",
            routes.draw,
            20_000,
            leakage=arithmetic.LEAKAGE,
            knobs={
                "terms": Knob(0, 3, 8, "numbers to add; 0: three or four"),
                "largest": Knob(99, 9, 999, "largest number"),
            },
            first_error=arithmetic.NOTATION.first_error,
            steps=arithmetic.NOTATION.steps,
        ),
        "routes-warmup": Task(
            "the same sums as demonstrations: most worked in some order, some guessed, some with a hint",
            routes.draw_demonstration,
            100_000,
            demonstrates=True,
        ),
        "sums": Task(
            "two-digit sums and short chains, asked in English",
            sums.draw,
            4_000,
            knobs={
                "terms": Knob(0, 2, 3, "terms; 0: two or three"),
                "largest": Knob(99, 20, 999, "largest term"),
            },
            first_error=sums.NOTATION.first_error,
            steps=sums.NOTATION.steps,
        ),
        "countdown": Task(
            "an expression of given numbers, each used once, that makes a target",
            countdown.draw,
            20_000,
            knobs={
                "numbers": Knob(4, 3, 6, "how many numbers"),
                "largest": Knob(25, 5, 99, "largest number"),
                "target": Knob(100, 10, 999, "largest target"),
            },
        ),
        "base-conversion": Task(
            "a number of one base written in another",
            base_conversion.draw,
            20_000,
            knobs={
                "base_from": Knob(0, 2, 16, "base of the given number; 0: drawn"),
                "base_to": Knob(0, 2, 16, "base to write it in; 0: drawn"),
                "digits": Knob(3, 1, 8, "digits of the given number"),
            },
        ),
        "linear": Task(
            "linear equations with a whole solution",
            linear.draw,
            20_000,
            knobs={
                "unknowns": Knob(1, 1, 2, "one equation in x, or two in x and y"),
                "largest": Knob(9, 2, 99, "largest coefficient, and largest solution"),
            },
        ),
        "latin": Task(
            "a Latin square with blanks, solved by forced moves",
            latin.draw,
            5_000,
            knobs={
                "size": Knob(4, 4, 6, "rows, columns and digits"),
                "blanks": Knob(8, 1, 22, "empty cells, at most five in eight"),
            },
        ),
        "knights": Task(
            "knights who tell the truth and knaves who lie",
            knights.draw,
            10_000,
            knobs={"people": Knob(3, 2, 5, "people, each of whom says one thing")},
        ),
    }
)


def knobs_of(name: str) -> dict[str, Knob]:
    """The knobs of a task; every task has `count`."""
    task = TASKS[name]
    return {**task.knobs, "count": Knob(task.num_problems, 1, 10_000_000, "problems drawn; repeats are dropped")}


def generate(name: str, settings: Mapping[str, int] = MappingProxyType({})) -> list[Problem]:
    """All problems of a task, without repeats, in a fixed order.

    `settings` are knobs by name. Raises RlsdError for a knob that does not exist or a value that it cannot have.
    """
    several = TASKS[name].demonstrates
    first: dict[tuple[str, str | None], Problem] = {}
    for problem in iterate(name, settings):
        first.setdefault((problem.question, problem.solution if several else None), problem)
    return [*first.values()]


def iterate(name: str, settings: Mapping[str, int] = MappingProxyType({})) -> Iterator[Problem]:
    """The problems of a task as they are drawn, repeats and all."""
    values = _settle(name, settings)
    count = values.pop("count")
    changed = [f"{knob}={values[knob]}" for knob in sorted(values) if values[knob] != TASKS[name].knobs[knob].default]
    random = Random("/".join(["rlsd", name, *changed]))
    for _ in range(count):
        yield TASKS[name].draw(random, **values)


def _settle(name: str, settings: Mapping[str, int]) -> dict[str, int]:
    """The value of every knob of a task."""
    knobs = knobs_of(name)
    for knob, value in settings.items():
        if knob not in knobs:
            known = f"its knobs: {', '.join(f'`{each}`' for each in knobs)}"
            raise RlsdError(f"task `{name}` has no knob `{knob}`", hint=did_you_mean(knob, knobs) or known)
        default, low, high, meaning = knobs[knob]
        if type(value) is not int or not (value == default or low <= value <= high):
            outside = "" if low <= default <= high else f" or {default}"
            raise RlsdError(f"task `{name}`: `{knob}` = {value} is not in {low}..{high}{outside}", hint=meaning)
    return {knob: settings.get(knob, default) for knob, (default, *_) in knobs.items()}
