"""Scores with intervals. Problems are the sampling unit: more samples of one problem are not more problems.

Everything takes scores grouped by problem, `per_problem[i][j]` in 0..1 for sample `j` of problem `i`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

Z95 = 1.959964


class Interval(NamedTuple):
    """A mean and the bounds of its interval, all in 0..1."""

    mean: float
    low: float
    high: float


def wilson(successes: float, n: float, z: float = Z95) -> Interval:
    """The Wilson score interval of a proportion (Wilson 1927); 95 % unless `z` says otherwise.

    With p = successes / n:

        centre = (p + z^2 / 2n) / (1 + z^2 / n)
        half   = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    It never leaves 0..1 and is not empty at p = 0 or 1. Neither argument need be whole: a sum of partial scores over an
    effective sample size is a proportion too. Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not n > 0:
        raise ValueError(f"an interval needs at least one observation, not n = {n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes} is outside 0..{n}")
    return _wilson(successes / n, n, z)


def _wilson(p: float, n: float, z: float) -> Interval:
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    return Interval(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)))


def clustered(per_problem: Sequence[Sequence[float]], z: float = Z95) -> Interval:
    """The mean over problems of each problem's mean score, with a 95 % interval that generalises to other problems.

    Let x_i be the mean score of problem i of m, and p the mean of the x_i. The cluster standard error is

        se^2  = sum_i (x_i - p)^2 / m^2

    and the interval is Wilson's at the sample size that independent 0/1 scores would need for the same standard error:

        n_eff = p (1 - p) / se^2

    With one 0/1 sample a problem n_eff is m, so this is `wilson` exactly; with more samples n_eff grows from m, where
    samples of a problem always agree, up to the total number of samples, where they are as good as independent. It is
    clamped to that range: a chance agreement of the x_i promises nothing. Where se is 0 the spread says nothing about
    other problems, and n_eff is m.

    Problems weigh the same whatever their number of samples. Raises ValueError without problems, for a problem without
    samples, and for scores outside 0..1.
    """
    if not per_problem:
        raise ValueError("no problems: nothing to average")
    means = [_mean_score(scores, i) for i, scores in enumerate(per_problem)]
    num_problems, num_samples = len(means), sum(len(scores) for scores in per_problem)
    p = min(1.0, math.fsum(means) / num_problems)
    squared_error = math.fsum((x - p) ** 2 for x in means) / num_problems**2
    n_eff = p * (1 - p) / squared_error if squared_error > 0 else num_problems
    return _wilson(p, min(max(n_eff, num_problems), num_samples), z)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The unbiased estimate of the chance that at least one of k samples is correct (Chen et al. 2021, equation 1).

        1 - C(n - c, k) / C(n, k)  =  1 - prod_{i = n - c + 1 .. n} (1 - k / i)

    for n samples of which c are correct; the product needs no large binomials. Raises ValueError unless
    0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"{num_correct} correct of {num_samples} samples is impossible")
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} needs k of at least 1 and at least k samples a problem, not {num_samples}")
    if num_samples - num_correct < k:
        return 1.0
    return 1.0 - math.prod(1 - k / i for i in range(num_samples - num_correct + 1, num_samples + 1))


def mean_pass_at_k(per_problem: Sequence[Sequence[float]], k: int) -> tuple[float | None, int]:
    """The mean of `pass_at_k` over the problems with at least k samples, and how many these are; None of none.

    Each problem counts with its own number of samples. A sample with the full score 1 is correct.
    """
    estimates = [pass_at_k(len(x), sum(score == 1 for score in x), k) for x in per_problem if len(x) >= k]
    return math.fsum(estimates) / len(estimates) if estimates else None, len(estimates)


def majority(answers: Sequence[str | None], right: Sequence[bool]) -> float:
    """How often the answer that most responses give is right: 1 or 0, or the share of a tie that is right.

    Right answers are one answer, however they are written; wrong ones are one where they are written alike. A response
    without an answer has no vote.
    """
    counts = Counter("right" if ok else f"wrong {said}" for said, ok in zip(answers, right, strict=True) if ok or said)
    most = [answer for answer, count in counts.items() if count == max(counts.values())]
    return ("right" in most) / len(most) if most else 0.0


def _mean_score(scores: Sequence[float], index: int) -> float:
    if not scores:
        raise ValueError(f"problem {index} has no samples")
    if not all(0 <= score <= 1 for score in scores):
        raise ValueError(f"problem {index} has a score outside 0..1")
    return math.fsum(scores) / len(scores)
