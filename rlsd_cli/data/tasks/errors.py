"""Where a response to a sum goes wrong, by what its steps say, not by their likeness to a worked solution.

A step is an equation of a few numbers that are left, `58+21=79`; it replaces them by their sum. At first the terms of
the question are left, each with its sign, and they may be taken in any order. A step is wrong when its equation is
false or when it takes a number that is not left, because it was copied wrongly or used before. The result is wrong when
it is not the total that the steps led to, or is stated while several numbers are left.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import permutations, takewhile
from typing import Literal, NamedTuple

from rlsd_cli.data.problems import Problem

State = tuple[int, ...]
"""The numbers that are left, in order of size, as they add up: a term to be subtracted is negative."""

NUMBER = r"-?\d{1,15}+(?!\d)"
STEP = re.compile(
    rf"(?<![\d.,*/+(-])(?<![*/+(-] ){NUMBER}(?: ?[+-] ?\d{{1,15}}+)+ ?= ?{NUMBER}(?! *[-+*/=]|[.,]\d)", re.ASCII
)


class FirstError(NamedTuple):
    """The place of a response's first error: characters `start` to `end` of it, which lie in the first wrong token.

    `start` is the first character after which no right continuation is left: in a number the first digit that differs.
    Where a number or the response stops too early, it is the character that ends it, and `end` is `start` at the very
    end of the response.

    `kind` is "decision" for a wrong result without any step: the place is the mark that announces it. `step` counts
    from 0, and the result comes after the last step. `steps_after` counts the steps that follow `step`.
    """

    start: int
    end: int
    kind: Literal["step", "decision"]
    step: int
    steps_after: int


class Written(NamedTuple):
    """An equation or a number without blanks, and the place of each of its characters and of what comes after."""

    text: str
    places: tuple[int, ...]


class Response(NamedTuple):
    """The steps of a response, the place of the mark before its result, and its result."""

    steps: list[Written]
    mark: int
    result: Written


class Notation(NamedTuple):
    """How responses of a task are written.

    `shape` matches a whole response in which every character of a step is an `s`. `result` matches the mark and, as its
    group 1, the number. Where the shape does without, and no number follows the last step, its total is the result.
    """

    shape: re.Pattern[str]
    result: re.Pattern[str]

    def steps(self, text: str) -> list[tuple[int, int]]:
        """The characters of each step of a response, from the first up to the one that ends it: `37+58=95;`."""
        return [(step.start(), min(step.end() + 1, len(text))) for step in STEP.finditer(text)]

    def first_error(self, problem: Problem, text: str) -> FirstError | None:
        """The first error of a response; None where there is none or the response is not written like this.

        True equations that lead to the right result are no error, whatever way they take; a right guess is none either.
        """
        response = self.read(text)
        if response is None:
            return None
        steps, mark, result = response
        if int(result.text) == int(problem.answer) and all(_is_true(step.text) for step in steps):
            return None

        states = {tuple(sorted(terms(problem)))}
        for number, step in enumerate(steps):
            ways = ways_on(states, len(_numbers(step.text)) - 1)
            if step.text not in ways:
                return _at(_deviation(step, ways), text, "step", number, len(steps) - number - 1)
            states = ways[step.text]
        if any(len(state) == 1 for state in states):
            mark = _deviation(result, [problem.answer])
        return _at(mark, text, "step" if steps else "decision", len(steps), 0)

    def read(self, text: str) -> Response | None:
        """A response taken apart; None where it is written otherwise or states no result."""
        found = [*STEP.finditer(text)]
        masked = STEP.sub(lambda step: "s" * len(step[0]), text)
        if not self.shape.fullmatch(masked):
            return None
        steps = [_written(text, *step.span()) for step in found]
        last = found[-1].end() if found else 0
        if stated := [*self.result.finditer(masked, last)]:
            return Response(steps, stated[-1].start(), _written(text, *stated[-1].span(1)))
        if not steps or re.search(r"\d", masked[last:]):
            return None
        total = steps[-1].text.partition("=")[2]
        return Response(steps, len(text), Written(total, (len(text),) * (len(total) + 1)))


def terms(problem: Problem) -> list[int]:
    """The terms of a question, with their signs; a hint before it, `H74|`, does not count."""
    return _numbers(problem.question.rpartition("|")[2].replace(" ", ""))


def ways_on(states: Iterable[State], num_terms: int) -> Mapping[str, set[State]]:
    """The right steps of so many terms, or of all where fewer are left, and the states that each may lead to.

    A sum that is to be subtracted may be written with either sign: `20-9+4` has the steps `-9+4=-5` and `9-4=5`.
    """
    ways = defaultdict(set)
    for state in states:
        if len(state) == 1:
            continue
        for order in permutations(range(len(state)), min(num_terms, len(state))):
            taken = [state[index] for index in order]
            left = [number for index, number in enumerate(state) if index not in order]
            for sign in (1, -1) if taken[0] < 0 else (1,):
                ways[_equation([sign * number for number in taken])].add(tuple(sorted([*left, sum(taken)])))
    return ways


def _equation(numbers: list[int]) -> str:
    first, *others = numbers
    return f"{first}{''.join(f'{number:+d}' for number in others)}={sum(numbers)}"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"[+-]?\d+", text)]


def _is_true(equation: str) -> bool:
    *taken, total = _numbers(equation)
    return sum(taken) == total


def _written(text: str, start: int, end: int) -> Written:
    """A part of a response without its blanks, and with `+0` for `-0`."""
    places = [place for place in range(start, end) if text[place] != " "]
    bare = "".join(text[place] for place in places)
    return Written(re.sub(r"(?<=\d)-0(?!\d)", "+0", bare), (*places, end))


def _deviation(written: Written, ways: Iterable[str]) -> int:
    """The place up to which a part agrees with the way on that it agrees with longest."""
    same = (takewhile(lambda pair: pair[0] == pair[1], zip(written.text, way, strict=False)) for way in ways)
    return written.places[max((len([*pairs]) for pairs in same), default=0)]


def _at(place: int, text: str, kind: Literal["step", "decision"], step: int, steps_after: int) -> FirstError:
    return FirstError(place, min(place + 1, len(text)), kind, step, steps_after)
