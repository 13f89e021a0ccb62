"""Two policies on the same problems: what the difference is, for other problems of the same kind.

The problem is the unit. Samples of a problem, and problems of a cluster, are not independent. A paired difference makes
use of the fact that both policies answer the same problems: its variance lacks twice their covariance (arXiv
2411.00640).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from rlsd_cli.statistics.rates import Z95, pass_at_k
from rlsd_cli.statistics.students_t import detectable, quantile, two_sided_p

DRAWS = 10_000
"""Resamples of a bootstrap."""

Scores = Sequence[Sequence[float]]
"""By problem, the score of each of its samples, in 0..1."""


class Difference(NamedTuple):
    """What B has more than A, with a 95 % interval.

    p: two-sided, of no difference; None where nothing can be said
    n: units that the interval is over
    detectable: the smallest true difference that would be found four times out of five; None where nothing can be said
    how: interval and test, in words
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    detectable: float | None
    how: str

    @property
    def swapped(self) -> "Difference":
        """What A has more than B."""
        low, high = (None if bound is None else -bound for bound in (self.high, self.low))
        return self._replace(mean=-self.mean, low=low, high=high)


def compare_scores(first: Scores, second: Scores, clusters: Sequence[Hashable] | None = None) -> Difference:
    """The difference of two mean scores over the same problems: by `one_answer` where each has one, right or wrong.

    `clusters`: what each problem belongs to, where several are variants of one. Raises ValueError without problems.
    """
    _check(first, second)
    is_single = all(len(scores) == 1 and scores[0] in (0, 1) for side in (first, second) for scores in side)
    if is_single and (clusters is None or len(set(clusters)) == len(clusters)):
        return one_answer([bool(scores[0]) for scores in first], [bool(scores[0]) for scores in second])
    means = [math.fsum(b) / len(b) - math.fsum(a) / len(a) for a, b in zip(first, second, strict=True)]
    return clustered_difference(means, clusters)


def clustered_difference(differences: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Difference:
    """The mean of one difference a problem, with the cluster-robust standard error.

    For problems i of m in clusters c of G, and d the mean of the d_i:

        se^2 = G / (G - 1) * sum_c (sum_{i in c} (d_i - d))^2 / m^2

    and interval and test are those of t with G - 1 degrees of freedom. Without clusters each problem is one, and se is
    that of a mean. Where every difference is the same, that says nothing of other problems: the interval is then that
    of `one_answer` for G answers that agree.
    """
    values = np.asarray(differences, dtype=float)
    mean = float(values.mean())
    groups: dict[Hashable, float] = defaultdict(float)
    for index, value in enumerate(values - mean):
        groups[index if clusters is None else clusters[index]] += float(value)
    num_clusters, how = len(groups), "clustered t"
    if num_clusters < 2:
        return Difference(mean, None, None, None, num_clusters, None, f"{how}: one problem has no spread")
    squares = math.fsum(total * total for total in groups.values())
    error = math.sqrt(num_clusters / (num_clusters - 1) * squares) / len(values)
    df = num_clusters - 1
    if error <= 1e-12:
        reach = Z95**2 / (num_clusters + Z95**2)
        p = 1.0 if abs(mean) <= 1e-12 else None
        return Difference(mean, max(-1.0, mean - reach), min(1.0, mean + reach), p, num_clusters, None, how)
    half = quantile(0.975, df) * error
    return Difference(
        mean, mean - half, mean + half, two_sided_p(mean / error, df), num_clusters, detectable(error, df), how
    )


def one_answer(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """One right or wrong answer of each policy to each problem: Tango's interval (1998), McNemar's exact test (1947).

    Of n problems b are solved by B alone and a by A alone; the others say nothing. The interval holds every difference
    d that the score test does not refuse:

        |b - a - n d| <= z sqrt(n (2 q + d (1 - d)))    with q the likeliest share of "A alone" if the difference is d

    The test asks how often a fair coin would split a + b problems at least this unevenly.
    """
    n = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    low, high = tango(only_first, only_second, n)
    mean = (only_second - only_first) / n
    spread = (only_first + only_second) / n - mean * mean
    seen = detectable(math.sqrt(spread / n), n - 1) if spread > 0 and n > 1 else None
    return Difference(mean, low, high, mcnemar(only_first, only_second), n, seen, "Tango interval, exact McNemar test")


def tango(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """The bounds of Tango's score interval, by bisection from the estimate outwards."""

    def is_inside(difference: float) -> bool:
        b = -only_first - only_second + (2 * n - only_second + only_first) * difference
        c = -only_first * difference * (1 - difference)
        q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * q + difference * (1 - difference))
        distance = abs(only_second - only_first - n * difference)
        return distance <= Z95 * math.sqrt(max(variance, 0.0))

    estimate = (only_second - only_first) / n
    return _edge(is_inside, estimate, -1.0), _edge(is_inside, estimate, 1.0)


def _edge(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where an interval that holds `inside` ends on the way to `outside`."""
    if inside == outside:
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test; 1 where no answer differs."""
    n, least = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(least + 1))
    return min(1.0, float(tail * 2 / 2**n)) if n else 1.0


def compare_pass_at_k(first: Scores, second: Scores, k: int, seed: int = 0) -> Difference:
    """The difference of two unbiased pass@k over the same problems, with a bootstrap over problems.

    The interval is the expanded percentile interval (Hesterberg 2015, section 5.3): its tails are those at which a
    normal distribution reaches as far as t does, and make up for the 1 - 1/n that a resample's variance lacks. The test
    is that of `clustered_difference`. Problems with fewer than k samples on a side are left out.
    """
    _check(first, second)
    estimates = [
        pass_at_k(len(b), sum(score == 1 for score in b), k) - pass_at_k(len(a), sum(score == 1 for score in a), k)
        for a, b in zip(first, second, strict=True)
        if min(len(a), len(b)) >= k
    ]
    if not estimates:
        raise ValueError(f"no problem has {k} samples on both sides")
    found, values = clustered_difference(estimates), np.asarray(estimates)
    how = "bootstrap over problems"
    if found.detectable is None:
        return found._replace(how=how)
    draws = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    tail = expanded_tail(len(values), len(values) - 1)
    low, high = np.quantile(values[draws].mean(1), [tail, 1 - tail])
    return found._replace(low=float(low), high=float(high), how=how)


def expanded_tail(n: int, df: float) -> float:
    """The tail of a percentile interval that reaches as far as t with `df` does: Phi(-sqrt(n / (n - 1)) t).

    n: observations that are resampled together
    """
    from statistics import NormalDist

    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * quantile(0.975, df))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (1979): each may be read as if it had been the only one; None stays None."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for rank, (p, place) in enumerate(known):
        reached = max(reached, min(1.0, p * (len(known) - rank)))
        adjusted[place] = reached
    return adjusted


def _check(first: Scores, second: Scores) -> None:
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} problems cannot be paired with {len(second)}")
    if not all(scores for side in (first, second) for scores in side):
        raise ValueError("a problem has no samples")
