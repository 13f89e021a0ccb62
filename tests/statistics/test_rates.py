import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsd_cli.statistics.rates import Interval, clustered, mean_pass_at_k, pass_at_k, wilson

PROBLEMS = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=1, max_size=12)
BINARY = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=6), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("successes", "n", "mean", "low", "high"),
    [
        (10, 10, 1.0, 0.7225, 1.0),
        (0, 10, 0.0, 0.0, 0.2775),
        (5, 10, 0.5, 0.2366, 0.7634),
        (1, 1, 1.0, 0.2065, 1.0),
        (81, 263, 0.3080, 0.2553, 0.3662),
        (531, 1000, 0.531, 0.5000, 0.5618),
    ],
)
def test_wilson_known_numbers(successes: float, n: int, mean: float, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((mean, low, high), abs=5e-5)


def test_wilson_bounds_solve_the_equation_they_come_from() -> None:
    mean, low, high = wilson(7, 20, z=1.7)
    for bound in (low, high):
        assert abs(mean - bound) == pytest.approx(1.7 * math.sqrt(bound * (1 - bound) / 20))


@given(st.floats(0, 1), st.integers(1, 10_000), st.floats(0.1, 5))
def test_wilson_is_an_interval_and_symmetric(p: float, n: int, z: float) -> None:
    mean, low, high = wilson(p * n, n, z)
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    mirrored = wilson(n - p * n, n, z)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (1, 0), (-1, 5), (6, 5), (math.nan, 5), (1, math.nan)])
def test_wilson_refuses_the_impossible(successes: float, n: float) -> None:
    with pytest.raises(ValueError, match=r"observation|outside"):
        wilson(successes, n)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60))
def test_one_sample_a_problem_is_wilson_exactly(scores: list[float]) -> None:
    assert clustered([[score] for score in scores]) == wilson(sum(scores), len(scores))


def test_one_sample_a_problem_is_wilson_where_rounding_would_show() -> None:
    for n in range(1, 300):
        assert clustered([[1.0]] + [[0.0]] * (n - 1)) == wilson(1, n)


def test_by_hand() -> None:
    # means 1, 1/2, 0, 1/2: p = 1/2, se^2 = (1/4 + 0 + 1/4 + 0) / 16 = 1/32, n_eff = (1/4) / (1/32) = 8, all samples
    assert clustered([[1, 1], [1, 0], [0, 0], [0, 1]]) == wilson(4, 8)
    # means 1, 1, 0, 1/2: p = 5/8, se^2 = (9 + 9 + 25 + 1) / 64 / 16 = 11/256, n_eff = (15/64) / (11/256) = 60/11
    assert clustered([[1, 1], [1, 1], [0, 0], [0, 1]]) == pytest.approx(wilson(5 / 8 * 60 / 11, 60 / 11))


def test_copies_of_a_sample_are_not_new_evidence() -> None:
    once = [[1.0], [0.0], [1.0], [1.0], [0.0]]
    assert clustered([scores * 8 for scores in once]) == pytest.approx(clustered(once))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_without_spread_only_problems_count(score: float) -> None:
    assert clustered([[score] * 50] * 10) == wilson(10 * score, 10)


def test_problems_weigh_the_same() -> None:
    assert clustered([[1.0] * 9, [0.0]]).mean == 0.5


@given(PROBLEMS)
def test_the_interval_is_between_those_of_the_samples_and_of_the_problems(per_problem: list[list[float]]) -> None:
    interval = clustered(per_problem)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.mean == pytest.approx(math.fsum(math.fsum(s) / len(s) for s in per_problem) / len(per_problem))
    widest = wilson(interval.mean * len(per_problem), len(per_problem))
    num_samples = sum(map(len, per_problem))
    narrowest = wilson(interval.mean * num_samples, num_samples)
    tolerance = 1e-9
    assert widest.low - tolerance <= interval.low <= narrowest.low + tolerance
    assert narrowest.high - tolerance <= interval.high <= widest.high + tolerance


@given(BINARY, st.randoms(use_true_random=False))
def test_order_does_not_matter(per_problem: list[list[float]], rng: random.Random) -> None:
    shuffled = [rng.sample(scores, len(scores)) for scores in per_problem]
    rng.shuffle(shuffled)
    assert clustered(shuffled) == pytest.approx(clustered(per_problem))


def coverage(num_problems: int, num_samples: int, spread: float, repeats: int = 1500) -> float:
    """How often the interval holds the true mean 0.4, when problems differ in difficulty (Beta of the given spread)."""
    rng = random.Random(7)
    truth, held = 0.4, 0
    for _ in range(repeats):
        chances = [rng.betavariate(truth / spread, (1 - truth) / spread) for _ in range(num_problems)]
        interval = clustered([[float(rng.random() < p) for _ in range(num_samples)] for p in chances])
        held += interval.low <= truth <= interval.high
    return held / repeats


@pytest.mark.parametrize(("num_samples", "spread"), [(1, 1.0), (8, 0.01), (8, 0.5), (8, 2.0)])
def test_the_interval_covers_the_truth_as_often_as_it_says(num_samples: int, spread: float) -> None:
    assert 0.93 <= coverage(60, num_samples, spread) <= 0.97


@pytest.mark.parametrize(
    ("per_problem", "words"),
    [([], "no problems"), ([[1.0], []], "problem 1 has no samples"), ([[1.5]], "outside"), ([[math.nan]], "outside")],
)
def test_clustered_refuses(per_problem: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        clustered(per_problem)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (6, 1), (6, 2), (6, 4), (6, 6)])
def test_pass_at_k_counts_all_draws(n: int, k: int) -> None:
    for c in range(n + 1):
        draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(200, 13, 100), (10_000, 3, 5000), (1000, 1, 999)])
def test_pass_at_k_equals_the_binomials(n: int, c: int, k: int) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k), rel=1e-9)


@given(st.integers(1, 200), st.data())
def test_pass_at_k_is_a_chance_that_grows_with_k(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    chances = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert chances[0] == pytest.approx(c / n)
    assert chances[-1] == float(c > 0)
    assert all(0 <= a <= b + 1e-12 for a, b in itertools.pairwise(chances))


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6), (0, 0, 1)])
def test_pass_at_k_refuses_the_impossible(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="samples"):
        pass_at_k(n, c, k)


def test_mean_pass_at_k_counts_full_scores_only() -> None:
    assert mean_pass_at_k([[1, 0], [0.5, 0.9], [1, 1]], 1) == (pytest.approx((0.5 + 0 + 1) / 3), 3)
    assert mean_pass_at_k([[1, 0], [0.5, 0.9], [1, 1]], 2) == (pytest.approx(2 / 3), 3)


def test_mean_pass_at_k_is_over_the_problems_with_k_samples_each_with_its_own_number() -> None:
    per_problem = [[1, 0, 0, 0], [1, 0, 0], [0], []]
    assert mean_pass_at_k(per_problem, 1) == (pytest.approx((1 / 4 + 1 / 3 + 0) / 3), 3)
    assert mean_pass_at_k(per_problem, 2) == (pytest.approx((1 / 2 + 2 / 3) / 2), 2)
    assert mean_pass_at_k(per_problem, 4) == (1.0, 1)
    assert mean_pass_at_k(per_problem, 5) == mean_pass_at_k([], 1) == (None, 0)


def test_an_interval_reads_by_name() -> None:
    assert Interval(0.5, 0.4, 0.6).low == 0.4
