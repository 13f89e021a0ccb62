"""Two methods, each trained from several seeds: the seed is the unit, and what is measured on it is one number.

Below five seeds there are the points and a t interval; from five on also the interquartile mean and the probability of
improvement, with bootstraps stratified by task (Agarwal et al. 2021, arXiv 2108.13264).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsd_cli.statistics.paired import DRAWS, Difference, expanded_tail
from rlsd_cli.statistics.students_t import detectable, quantile, two_sided_p

MANY = 5
"""Seeds a method from which there is enough to resample."""

Runs = NDArray[np.float64]
"""One number for each seed and task, [seeds, tasks]."""


class Mean(NamedTuple):
    """The mean over seeds with the t interval of a mean; no interval of one seed."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_over_seeds(values: Sequence[float]) -> Mean:
    """The mean of one number a seed: mean +- t sqrt(s^2 / n), with n - 1 degrees of freedom."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n < 2:
        return Mean(mean, None, None, n)
    half = quantile(0.975, n - 1) * math.sqrt(_variance(values) / n)
    return Mean(mean, mean - half, mean + half, n)


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The difference of two means over seeds, which may vary differently (Welch 1947).

        se^2 = s_a^2 / n_a + s_b^2 / n_b
        df   = se^4 / (s_a^4 / (n_a^2 (n_a - 1)) + s_b^4 / (n_b^2 (n_b - 1)))

    There is no interval where a side has one seed, or where seeds make no difference on either.
    """
    mean = math.fsum(second) / len(second) - math.fsum(first) / len(first)
    n, how = min(len(first), len(second)), "Welch's t over seeds"
    if n < 2:
        return Difference(mean, None, None, None, n, None, f"{how}: one seed has no spread")
    parts = [_variance(values) / len(values) for values in (first, second)]
    error = math.sqrt(sum(parts))
    if error <= 1e-12:
        return Difference(mean, None, None, None, n, None, f"{how}: all seeds of each method are alike")
    sizes = (len(first), len(second))
    df = error**4 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    half = quantile(0.975, df) * error
    p = two_sided_p(mean / error, df)
    return Difference(mean, mean - half, mean + half, p, n, detectable(error, df), how)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def interquartile_mean(values: Runs) -> float:
    """The mean of all numbers without the lowest and the highest quarter, each rounded down to whole numbers."""
    return float(_trimmed(np.sort(values, axis=None)[None])[0])


def _trimmed(ordered: Runs) -> Runs:
    """The interquartile means of sorted rows."""
    cut = ordered.shape[1] // 4
    return np.asarray(ordered[:, cut : ordered.shape[1] - cut].mean(1))


def compare_interquartile_means(first: Runs, second: Runs, seed: int = 0) -> Difference:
    """The difference of two interquartile means, with a bootstrap that resamples the seeds of each task.

    The interval is the expanded percentile interval, see `paired.compare_pass_at_k`.
    """
    rng = np.random.default_rng(seed)
    draws = [_trimmed(np.sort(_resampled(side, rng).reshape(DRAWS, -1), axis=1)) for side in (first, second)]
    n = min(len(first), len(second))
    low, high = _bounds(draws[1] - draws[0], first, second)
    mean = interquartile_mean(second) - interquartile_mean(first)
    return Difference(mean, low, high, None, n, None, "interquartile mean, stratified bootstrap over seeds")


class Improvement(NamedTuple):
    """The chance that a run of B beats one of A on a task, with a 95 % interval."""

    probability: float
    low: float
    high: float


def probability_of_improvement(first: Runs, second: Runs, seed: int = 0) -> Improvement:
    """The mean over tasks of Mann and Whitney's U over all pairs of seeds, with a stratified bootstrap.

    A tie counts half.
    """
    rng = np.random.default_rng(seed)
    a, b = (_resampled(side, rng) for side in (first, second))
    draws = np.asarray(_beats(a, b).mean((1, 2, 3)))
    low, high = _bounds(draws, first, second)
    return Improvement(float(_beats(first[None], second[None]).mean()), max(0.0, low), min(1.0, high))


def _beats(first: Runs, second: Runs) -> Runs:
    """1 where B's seed has more than A's, 1/2 where as much, for [draws, seeds, tasks] of each."""
    gap = second[:, None] - first[:, :, None]
    return np.asarray((np.sign(gap) + 1) / 2)


def _resampled(side: Runs, rng: np.random.Generator) -> Runs:
    """Seeds drawn anew for each task, [draws, seeds, tasks]."""
    seeds, tasks = side.shape
    return np.asarray(side[rng.integers(seeds, size=(DRAWS, seeds, tasks)), np.arange(tasks)])


def _bounds(draws: Runs, first: Runs, second: Runs) -> tuple[float, float]:
    """The expanded percentile interval; each task of each side lost one degree of freedom to its mean."""
    (num_first, tasks), (num_second, _) = first.shape, second.shape
    tail = expanded_tail(min(num_first, num_second), tasks * (num_first + num_second - 2))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
