"""Where a response to a chain of additions and subtractions goes wrong: by what is true, not by the worked solution."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from rlsd_cli.data.problems import Problem

Span = tuple[int, int]


class FirstError(NamedTuple):
    """The first place of a response after which nothing right can follow.

    start, end: its characters, without `end`
    kind: a wrong `step`, or the `decision` to state a result, which is wrong, before all is worked out
    steps_after: how many steps follow the one that it is in
    """

    start: int
    end: int
    kind: Literal["step", "decision"]
    steps_after: int = 0


# -- chains in the alphabet of the embedded policy --------------------------------------------------------------------


def chain_steps(text: str) -> list[Span]:
    """The characters of each step of `11-3=8;8+6=14;#14`, without what ends it."""
    pieces = text.split("#")[0].split(";")
    ends = accumulate(len(piece) + 1 for piece in pieces)
    spans = [(end - 1 - len(piece), end - 1) for piece, end in zip(pieces, ends, strict=True)]
    return [(start, end) for start, end in spans if "=" in text[start:end]]


def chain_error(problem: Problem, text: str) -> FirstError | None:
    """Where a chain goes wrong, whichever two of the numbers that are left it joins at a time.

    None where it does not, as far as it goes.
    """
    numbers = Counter(int(term) for term in re.findall(r"[+-]?\d+", problem.question))
    start = 0
    for piece in re.findall(r"[^;]*;|[^;]+$", text):
        if piece.startswith("#"):
            return _stated(problem, text, start, guessed=numbers.total() > 1)
        steps = {f"{step};": left for step, left in _joined(numbers)}
        if (at := _first_unlike(piece, steps)) is not None:
            after = sum(first > start for first, _ in chain_steps(text))
            return FirstError(start + at, start + at + 1, "step", after)
        if piece not in steps:
            return None
        numbers, start = steps[piece], start + len(piece)
    return None


def _stated(problem: Problem, text: str, start: int, *, guessed: bool) -> FirstError | None:
    """What is wrong with the result that is stated at `start`."""
    stated = text[start + 1 :]
    if stated == problem.answer:
        return None
    if guessed:
        return FirstError(start, start + 1, "decision")
    at = _first_unlike(f"{stated}\n", [f"{problem.answer}\n"])
    return None if at is None else FirstError(min(start + 1 + at, len(text) - 1), start + 2 + at, "step")


def _joined(numbers: Counter[int]) -> Iterator[tuple[str, Counter[int]]]:
    """The right next steps, and the numbers that each leaves."""
    for first in numbers:
        for second in numbers - Counter([first]):
            if first >= 0 and first + second >= 0:
                step = f"{first}{second:+d}={first + second}"
                yield step, numbers - Counter([first, second]) + Counter([first + second])


def _first_unlike(text: str, rights: Sequence[str] | dict[str, Counter[int]]) -> int | None:
    """The first character of a text with which none of the right ones begins; None where one begins with all of it."""
    for length in range(1, len(text) + 1):
        if not any(right.startswith(text[:length]) for right in rights):
            return length - 1
    return None


# -- equations in free text -------------------------------------------------------------------------------------------

EQUATION = re.compile(r"(\d+)\s*([+-])\s*(\d+)\s*=\s*(-?\d+)")
NUMBER = re.compile(r"-?\d+")


def equation_steps(text: str) -> list[Span]:
    """The characters of each equation of a text."""
    return [match.span() for match in EQUATION.finditer(text)]


def equation_error(problem: Problem, text: str) -> FirstError | None:
    """The first number of a text that is wrong: an operand that neither the question nor an earlier equation has, or a
    result that is false; where the equations are right, the last number, if it is not the answer.

    A text without an equation decides to guess where its last number begins.
    """
    known = {int(number) for number in NUMBER.findall(problem.question.replace("-", " - "))}
    equations = list(EQUATION.finditer(text))
    for place, match in enumerate(equations):
        left, right = int(match[1]), int(match[3])
        result = left + right if match[2] == "+" else left - right
        after = len(equations) - place - 1
        for group, value in ((1, left), (3, right)):
            if value not in known:
                return FirstError(match.start(group), match.end(group), "step", after)
        if int(match[4]) != result:
            at = match.start(4) + _first_difference(match[4], str(result))
            return FirstError(min(at, match.end(4) - 1), match.end(4), "step", after)
        known.add(result)
    numbers = list(NUMBER.finditer(text))
    if not numbers or numbers[-1][0] == problem.answer:
        return None
    last = numbers[-1]
    if not equations:
        return FirstError(last.start(), last.end(), "decision")
    at = last.start() + _first_difference(last[0], problem.answer)
    return FirstError(min(at, last.end() - 1), last.end(), "step")


def _first_difference(text: str, right: str) -> int:
    """The first character at which two texts differ; the length of the shorter where it begins the other."""
    pairs = enumerate(zip(text, right, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(text), len(right)))
