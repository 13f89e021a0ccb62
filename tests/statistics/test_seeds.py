"""Two methods over seeds: against scipy, rliable, and by simulation."""

import numpy as np
import pytest

from rlsd_cli.statistics import seeds
from rlsd_cli.statistics.paired import Difference
from rlsd_cli.statistics.seeds import (
    compare_interquartile_means,
    interquartile_mean,
    mean_over_seeds,
    probability_of_improvement,
    welch,
)

stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng(3)


def test_welch_is_that_of_scipy() -> None:
    for sizes in ((3, 3), (3, 7), (10, 4)):
        a, b = RNG.normal(size=sizes[0]), 2 * RNG.normal(size=sizes[1]) + 1
        found, known = welch(a.tolist(), b.tolist()), stats.ttest_ind(b, a, equal_var=False)
        assert (found.mean, found.p) == (pytest.approx(b.mean() - a.mean()), pytest.approx(known.pvalue))
        assert (found.low, found.high) == tuple(map(pytest.approx, known.confidence_interval()))
        assert welch(b.tolist(), a.tolist())[:4] == tuple(map(pytest.approx, found.swapped[:4]))


def test_one_seed_and_seeds_that_do_not_differ_have_no_interval() -> None:
    assert welch([0.5], [0.6, 0.7])[1:4] == (None, None, None)
    assert "one seed" in welch([0.5], [0.6, 0.7]).how
    assert welch([0.5, 0.5], [0.75, 0.75])[:4] == (0.25, None, None, None)
    assert mean_over_seeds([0.5])[1:] == (None, None, 1)


def test_the_mean_over_seeds_reaches_as_far_as_t_and_not_as_1_96() -> None:
    values = [0.5, 0.6, 0.55]
    found = mean_over_seeds(values)
    assert (found.low, found.high) == tuple(map(pytest.approx, stats.ttest_1samp(values, 0).confidence_interval()))
    assert found.high is not None
    assert (found.high - found.mean) / (np.std(values, ddof=1) / 3**0.5) == pytest.approx(4.303, abs=1e-3)


@pytest.mark.parametrize("shape", [(5, 1), (6, 3), (10, 2), (7, 4)])
def test_the_interquartile_mean_is_that_of_scipy(shape: tuple[int, int]) -> None:
    values = RNG.random(shape)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=None))


def test_figures_are_those_of_rliable() -> None:
    """Made by rliable 1.2.0 with 50,000 resamples: percentile intervals, within which ours reach a little further."""
    a = np.array(
        [
            *([0.086, 0.237, 0.801], [0.582, 0.094, 0.433], [0.479, 0.16, 0.735], [0.114, 0.391, 0.517]),
            *([0.431, 0.587, 0.738], [0.956, 0.284, 0.649], [0.696, 0.293, 0.001], [0.973, 0.298, 0.314]),
        ]
    )
    b = np.array(
        [
            *([1.092, 0.785, 0.671], [0.973, 0.23, 0.907], [0.574, 0.291, 0.861], [1.131, 0.407, 0.83]),
            *([0.498, 0.942, 0.922], [0.419, 1.03, 0.858], [0.883, 1.02, 0.629], [0.959, 1.078, 0.302]),
        ]
    )
    assert interquartile_mean(a) == pytest.approx(0.43816666666666665)
    assert interquartile_mean(b) == pytest.approx(0.8184166666666665)
    found = probability_of_improvement(a, b)
    assert found.probability == pytest.approx(0.7786458333333334)
    flat = compare_interquartile_means(np.zeros_like(a), a)
    assert flat.low is not None
    assert flat.high is not None
    for ours, theirs in (
        ((found.low, found.high), (0.63020833, 0.90625)),
        ((flat.low, flat.high), (0.314, 0.55708333)),
    ):
        reach = theirs[1] - theirs[0]
        assert theirs[0] - 0.15 * reach < ours[0] < theirs[0]
        assert theirs[1] < ours[1] < theirs[1] + 0.15 * reach


def test_the_probability_of_improvement_counts_ties_half() -> None:
    a, b = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert probability_of_improvement(a, b).probability == (1 + 1 + 0.5 + 1) / 4
    same = probability_of_improvement(a, a)
    assert same.probability == 0.5


def covers(found: list[tuple[float | None, float | None]], truth: float) -> float:
    return sum(low is not None and high is not None and low <= truth <= high for low, high in found) / len(found)


@pytest.mark.parametrize("spread", [1, 2])
@pytest.mark.parametrize("n", [3, 5])
def test_intervals_of_welch_cover_what_they_say(n: int, spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With scipy's quantile, which is ours to nine digits and faster."""
    monkeypatch.setattr(seeds, "quantile", stats.t.ppf)
    monkeypatch.setattr(seeds, "two_sided_p", lambda t, df: 2 * stats.t.sf(abs(t), df))
    monkeypatch.setattr(seeds, "detectable", lambda error, df: error * df)

    def interval() -> Difference:
        return welch(RNG.normal(size=n).tolist(), (1 + spread * RNG.normal(size=n)).tolist())

    found = [interval() for _ in range(2000)]
    assert 0.93 <= covers([(each.low, each.high) for each in found], 1.0) <= 0.975


@pytest.mark.parametrize(("n", "tasks"), [(5, 1), (10, 3)])
def test_bootstraps_over_seeds_cover_what_they_say(n: int, tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "DRAWS", 400)
    better = stats.norm.cdf(0.5 / 2**0.5)
    sides = [(RNG.normal(size=(n, tasks)), RNG.normal(size=(n, tasks)) + 0.5) for _ in range(700)]
    middles = [compare_interquartile_means(a, b) for a, b in sides]
    chances = [probability_of_improvement(a, b) for a, b in sides]
    assert 0.93 <= covers([(each.low, each.high) for each in middles], 0.5) <= 0.985
    assert 0.92 <= covers([(each.low, each.high) for each in chances], better) <= 0.985
