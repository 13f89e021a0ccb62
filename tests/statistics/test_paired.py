"""Two policies on the same problems: against scipy, a loop over all, hand numbers, and by simulation."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rlsd_cli.statistics import paired
from rlsd_cli.statistics.paired import (
    Difference,
    clustered_difference,
    compare_pass_at_k,
    compare_scores,
    holm,
    mcnemar,
    one_answer,
    tango,
)

stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng(0)
Floats = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))


def test_problems_without_clusters_are_a_paired_t_test() -> None:
    a, b = RNG.random((30, 4)), RNG.random((30, 4))
    found = compare_scores(a.tolist(), b.tolist())
    known = stats.ttest_rel(b.mean(1), a.mean(1))
    assert (found.mean, found.p, found.n) == (pytest.approx((b - a).mean()), pytest.approx(known.pvalue), 30)
    assert (found.low, found.high) == tuple(map(pytest.approx, known.confidence_interval()))


def test_clusters_are_summed_before_they_are_squared() -> None:
    """The sandwich estimate of a mean as a loop over all pairs of problems of one cluster (arXiv 2411.00640, eq. 4)."""
    d, clusters = RNG.normal(size=12), [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4]
    pairs = itertools.product(range(12), repeat=2)
    total = sum((d[i] - d.mean()) * (d[j] - d.mean()) for i, j in pairs if clusters[i] == clusters[j])
    error = math.sqrt(5 / 4 * total) / 12
    found = clustered_difference(d.tolist(), clusters)
    half = stats.t.ppf(0.975, 4) * error
    assert (found.low, found.high) == (pytest.approx(d.mean() - half), pytest.approx(d.mean() + half))
    assert found.n == 5


def test_variants_of_one_problem_are_one_problem() -> None:
    a, b = [[0.0], [1.0], [0.5]] * 4, [[1.0], [1.0], [0.25]] * 4
    once = compare_scores(a[:3], b[:3])
    four = compare_scores(a, b, [0, 1, 2] * 4)
    assert (four.mean, four.low, four.p) == tuple(map(pytest.approx, (once.mean, once.low, once.p)))


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 5), (3, 9), (10, 10), (2, 1)])
def test_mcnemar_is_a_fair_coin(only_first: int, only_second: int) -> None:
    known = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(known)


@pytest.mark.parametrize(
    ("only_first", "only_second", "n"), [(3, 12, 44), (0, 0, 50), (0, 10, 50), (7, 7, 20), (150, 90, 1000)]
)
def test_tangos_interval_is_the_score_tests(only_first: int, only_second: int, n: int) -> None:
    """Each bound is where the score statistic, with the nuisance share found by maximising the likelihood, is 1.96."""
    for d in tango(only_first, only_second, n):
        shares = np.linspace(max(0.0, -d) + 1e-9, (1 - d) / 2 - 1e-9, 400_001)
        rest = n - only_first - only_second
        likelihood = only_first * np.log(shares) + only_second * np.log(shares + d) + rest * np.log1p(-2 * shares - d)
        q = shares[np.nanargmax(likelihood)]
        statistic = (only_second - only_first - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))
        assert abs(statistic) == pytest.approx(1.959964, abs=2e-3)


def test_pass_at_k_is_a_bootstrap_over_problems() -> None:
    a = (RNG.random((40, 4)) < 0.4).astype(float)
    b = (RNG.random((40, 4)) < 0.6).astype(float)
    found = compare_pass_at_k(a.tolist(), b.tolist(), 2)

    def estimate(scores: Floats) -> Floats:
        pairs = itertools.combinations(range(4), 2)
        return np.asarray(np.mean([np.maximum(scores[:, i], scores[:, j]) for i, j in pairs], axis=0))

    d = estimate(b) - estimate(a)
    assert found.mean == pytest.approx(d.mean())
    draws = [d[RNG.integers(40, size=40)].mean() for _ in range(20_000)]
    tail = stats.norm.cdf(-math.sqrt(40 / 39) * stats.t.ppf(0.975, 39))
    assert found.low == pytest.approx(np.quantile(draws, tail), abs=0.01)
    assert found.high == pytest.approx(np.quantile(draws, 1 - tail), abs=0.01)
    with pytest.raises(ValueError, match="no problem has 8 samples"):
        compare_pass_at_k(a.tolist(), b.tolist(), 8)


@pytest.mark.parametrize("samples", [1, 4])
def test_a_policy_and_itself_are_equal_and_sides_may_be_swapped(samples: int) -> None:
    a = (RNG.random((25, samples)) < 0.5).astype(float).tolist()
    b = (RNG.random((25, samples)) < 0.7).astype(float).tolist()
    same = compare_scores(a, a)
    assert (same.mean, same.p) == (0.0, 1.0)
    assert same.low is not None
    assert same.low < 0
    assert compare_scores(b, a)[:6] == tuple(pytest.approx(value) for value in compare_scores(a, b).swapped[:6])


def test_one_problem_says_nothing_of_others() -> None:
    found = compare_scores([[0.0, 1.0]], [[1.0, 1.0]])
    assert (found.mean, found.low, found.high, found.p) == (0.5, None, None, None)


@pytest.mark.parametrize("sides", [([], []), ([[1.0]], []), ([[1.0]], [[]])])
def test_what_cannot_be_paired_is_refused(sides: tuple[list[list[float]], list[list[float]]]) -> None:
    with pytest.raises(ValueError, match=r"cannot be paired|no samples"):
        compare_scores(*sides)


def test_holm_is_the_step_down_of_the_smallest() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), None, pytest.approx(0.06)]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def covers(interval: Callable[[], Difference], truth: float, times: int = 1500) -> float:
    """How often an interval holds the truth."""
    found = [interval() for _ in range(times)]
    bounds = [(each.low, each.high) for each in found if each.low is not None and each.high is not None]
    return sum(low <= truth <= high for low, high in bounds) / times


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize("cells", [(0.4, 0.1, 0.2, 0.3), (0.3, 0.2, 0.2, 0.3)])
def test_intervals_of_one_answer_cover_what_they_say(n: int, cells: tuple[float, ...]) -> None:
    def interval() -> Difference:
        both, first, second, neither = RNG.multinomial(n, cells)
        a = [True] * both + [True] * first + [False] * second + [False] * neither
        b = [True] * both + [False] * first + [True] * second + [False] * neither
        return one_answer(a, b)

    assert 0.93 <= covers(interval, cells[2] - cells[1]) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_intervals_of_several_samples_cover_what_they_say(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "DRAWS", 500)

    def chances(size: int) -> tuple[Floats, Floats]:
        ease, gain = 1.5 * RNG.normal(size=size), 0.4 + 0.7 * RNG.normal(size=size)
        return 1 / (1 + np.exp(-ease)), 1 / (1 + np.exp(-ease - gain))

    def drawn() -> tuple[list[list[float]], list[list[float]]]:
        first, second = ((RNG.random((n, 8)) < chance[:, None]).astype(float).tolist() for chance in chances(n))
        return first, second

    a, b = chances(1_000_000)
    assert 0.925 <= covers(lambda: compare_scores(*drawn()), float((b - a).mean())) <= 0.97
    truth = float(((1 - a) ** 4 - (1 - b) ** 4).mean())
    assert 0.92 <= covers(lambda: compare_pass_at_k(*drawn(), 4), truth, 1200) <= 0.97
