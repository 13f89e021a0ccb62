"""The problems of each step, filtered and ordered by their pass rates.

A problem that a policy always solves, or never does, teaches nothing by reward: all scores of its group are equal, so
every advantage is 0. With 0/1 scores and pass rate p the variance of a score is p (1 - p), largest at p = 1/2; the
improvement that can be expected is bounded from below by it (Bae et al. 2025, "Online Difficulty Filtering for
Reasoning Oriented Reinforcement Learning", arXiv 2504.03380). There p is measured again and again while the policy
changes; here it is what `rlsd data difficulty` found once.
"""

from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import RlsdError

PRIOR_SAMPLES = 8
"""Answers that a pass rate is taken to come from when it is smoothed: those that `rlsd data difficulty` draws."""


class Bounded(NamedTuple):
    """Problems within the bounds, how many of them are `unrated`, and how many lie outside on either side."""

    kept: list[Problem]
    unrated: int
    below: int
    above: int

    def in_words(self, config: Config) -> str:
        """`curriculum: 40 of 120 training problems ...`, for the start of a run."""
        order, low, high = config.curriculum.order, config.curriculum.min_pass_rate, config.curriculum.max_pass_rate
        total = len(self.kept) + self.below + self.above
        if (low, high) == (0.0, 1.0):
            return f"{order}, {total:,} training problems, of which {self.unrated:,} have no pass rate"
        stay = f"; {self.unrated:,} without a pass rate stay" if self.unrated else ""
        return (
            f"{order}, {len(self.kept):,} of {total:,} training problems: left out are {self.below:,} with a pass rate "
            f"below {low:g} and {self.above:,} above {high:g}{stay}"
        )


def bound(problems: Sequence[Problem], config: Config) -> Bounded:
    """Leave out problems whose pass rate lies outside the bounds; those without one stay.

    Raises:
        RlsdError: nothing is left, or the order asks for pass rates and no problem has one.
    """
    curriculum = config.curriculum
    rates = [problem.pass_rate for problem in problems if problem.pass_rate is not None]
    if curriculum.order != "random" and not rates:
        raise RlsdError(
            f"`curriculum.order={curriculum.order}` needs pass rates, and none of {len(problems):,} training problems "
            f"of `{config.data}` has a `pass_rate`",
            hint=f"`rlsd data difficulty {config.data} PRESET` measures them",
        )
    below = sum(rate < curriculum.min_pass_rate for rate in rates)
    above = sum(rate > curriculum.max_pass_rate for rate in rates)
    kept = [problem for problem in problems if _is_within(problem, config)]
    if problems and not kept:
        raise RlsdError(
            f"none of {len(problems):,} training problems of `{config.data}` has a pass rate in "
            f"{curriculum.min_pass_rate:g}..{curriculum.max_pass_rate:g}: {below:,} lie below, {above:,} above",
            hint="lower `curriculum.min_pass_rate` or raise `curriculum.max_pass_rate`",
        )
    return Bounded(kept, len(problems) - len(rates), below, above)


def _is_within(problem: Problem, config: Config) -> bool:
    low, high = config.curriculum.min_pass_rate, config.curriculum.max_pass_rate
    return problem.pass_rate is None or low <= problem.pass_rate <= high


def is_used(config: Config) -> bool:
    """True where a config asks for anything but all problems in random order."""
    curriculum = config.curriculum
    return (curriculum.order, curriculum.min_pass_rate, curriculum.max_pass_rate) != ("random", 0.0, 1.0)


def step_problems(problems: list[Problem], config: Config, step: int) -> list[Problem]:
    """The problems of a step (from 1): a pure function of problems, config and step, so resuming needs no state.

    `random` and `easy_first` visit every problem once an epoch, in an order that is new each time, and a batch may span
    two epochs. `weighted` draws each step by itself.
    """
    seed, count, size = config.seed, config.prompts_per_step, len(problems)
    if config.curriculum.order == "weighted":
        return [problems[place] for place in _drawn(_rates(problems), seed, step, count)]
    rates = _rates(problems) if config.curriculum.order == "easy_first" else None
    positions = range((step - 1) * count, step * count)
    orders = {
        epoch: _order(seed, epoch, size) if rates is None else _easy_first(seed, epoch, rates)
        for epoch in range(positions[0] // size, positions[-1] // size + 1)
    }
    return [problems[orders[position // size][position % size]] for position in positions]


def refill_problems(problems: list[Problem], config: Config, step: int, skip: int, count: int) -> list[Problem]:
    """`count` problems, or as many as there are, that the batch of a step leaves out, after `skip` of them.

    Like the batch, a pure function of problems, config and step.
    """
    batch, most = config.prompts_per_step, min(len(problems), config.prompts_per_step + config.rollout.refill)
    if config.curriculum.order == "weighted":
        others = [problems[place] for place in _drawn(_rates(problems), config.seed, step, most)[batch:]]
    else:
        taken = {problem.id for problem in step_problems(problems, config, step)}
        places = Random(f"{config.seed}/refill/{step}").sample(range(len(problems)), most)
        others = [problem for problem in map(problems.__getitem__, places) if problem.id not in taken]
    return others[skip : skip + count]


Rates = tuple[float | None, ...]


def _rates(problems: Sequence[Problem]) -> Rates:
    """What the order of problems depends on, as a key of caches."""
    return tuple(problem.pass_rate for problem in problems)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    Random(f"{seed}/order/{epoch}").shuffle(order)
    return order


@lru_cache(maxsize=2)
def _easy_first(seed: int, epoch: int, rates: Rates) -> list[int]:
    """By falling pass rate, and where rates are equal in the epoch's random order; without one last."""

    def hardness(index: int) -> float:
        rate = rates[index]
        return 1.0 if rate is None else -rate

    return sorted(_order(seed, epoch, len(rates)), key=hardness)


def weight(pass_rate: float | None) -> float:
    """How often a problem is drawn, relative to others: p (1 - p) of its smoothed pass rate.

        p = (s + 1) / (n + 2)        s = n pass_rate right answers of n = PRIOR_SAMPLES

    is the rule of succession: what was solved 0 or n times of n may still have something to teach, and weighs 0.09
    where a problem that was solved half of the time weighs 0.25. One without a pass rate weighs 0.25 as well.
    """
    if pass_rate is None:
        return 0.25
    p = (PRIOR_SAMPLES * pass_rate + 1) / (PRIOR_SAMPLES + 2)
    return p * (1 - p)


@lru_cache(maxsize=2)
def _heights(rates: Rates) -> list[float]:
    return list(accumulate(map(weight, rates)))


def _drawn(rates: Rates, seed: int, step: int, count: int) -> list[int]:
    """Places drawn one after the other, each in proportion to its weight among those that are left.

    When all have been drawn, all are there again.
    """
    random, heights = Random(f"{seed}/weighted/{step}"), _heights(rates)
    chosen: list[int] = []
    left = set[int]()
    while len(chosen) < count:
        left = left or set(range(len(rates)))
        place = bisect(heights, random.random() * heights[-1], hi=len(heights) - 1)
        if place in left:
            left.remove(place)
            chosen.append(place)
    return chosen
