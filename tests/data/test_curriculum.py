"""Which problems a step takes: epochs, orders by pass rate, and bounds."""

from collections import Counter
from random import Random
from typing import Any

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import bound, step_problems, weight
from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.sources import Splits
from rlsd_cli.errors import RlsdError
from rlsd_cli.training.problems import bounded

ORDERS = ["random", "easy_first", "weighted"]


def config(**values: Any) -> Config:
    return merge([], Layer(COMMAND_LINE, {key.replace("__", "."): value for key, value in values.items()})).config


def problems(*rates: float | None) -> list[Problem]:
    return [Problem(str(n), content_hash(str(n)), str(n), "1", pass_rate=rate) for n, rate in enumerate(rates)]


def rated(count: int) -> list[Problem]:
    random = Random(0)
    return problems(*(random.choice([None, *(n / 8 for n in range(9))]) for _ in range(count)))


def places(pool: list[Problem], settings: Config, step: int) -> list[int]:
    return [int(problem.id) for problem in step_problems(pool, settings, step)]


# -- every order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_problems_of_a_step_are_a_function_of_seed_and_step(order: str) -> None:
    pool, settings = rated(50), config(prompts_per_step=8, curriculum__order=order)
    backwards = {step: step_problems(pool, settings, step) for step in range(20, 0, -1)}
    assert all(step_problems(list(pool), settings, step) == batch for step, batch in backwards.items())
    assert step_problems(pool, config(prompts_per_step=8, seed=1, curriculum__order=order), 1) != backwards[1]


@pytest.mark.parametrize("order", ["random", "easy_first"])
@pytest.mark.parametrize("batch", [1, 3, 7, 16])
def test_every_epoch_visits_every_problem_once_in_an_order_of_its_own(batch: int, order: str) -> None:
    pool, settings = problems(*[0.5] * 7), config(prompts_per_step=batch, seed=5, curriculum__order=order)
    visited = [place for step in range(1, 8) for place in places(pool, settings, step)]
    epochs = [tuple(visited[start : start + 7]) for start in range(0, 7 * batch, 7)]
    assert all(Counter(epoch) == Counter(range(7)) for epoch in epochs)
    assert len(set(epochs)) == batch


def test_the_default_order_has_stayed_what_it_was_before_there_were_curricula() -> None:
    settings = config(prompts_per_step=6)
    assert [places(rated(9), settings, step) for step in (1, 2)] == [[8, 0, 3, 2, 7, 1], [6, 5, 4, 3, 0, 8]]


# -- easy_first ----------------------------------------------------------------------------------------------------


def test_easy_first_goes_from_solved_to_unsolved_to_unknown_in_every_epoch() -> None:
    pool, settings = (
        problems(0.0, None, 1.0, 0.5, 0.25, None, 0.75),
        config(prompts_per_step=7, curriculum__order="easy_first"),
    )
    for step in range(1, 5):
        batch = places(pool, settings, step)
        assert batch[:5] == [2, 6, 3, 4, 0]
        assert set(batch[5:]) == {1, 5}


def test_problems_that_are_equally_easy_keep_the_random_order_of_the_epoch() -> None:
    pool = rated(40)
    for step in (1, 2, 3):
        plain = step_problems(pool, config(prompts_per_step=40), step)
        sorted_ = step_problems(pool, config(prompts_per_step=40, curriculum__order="easy_first"), step)
        for rate in {problem.pass_rate for problem in pool}:
            same = [[problem for problem in batch if problem.pass_rate == rate] for batch in (plain, sorted_)]
            assert same[0] == same[1]


# -- weighted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0.09), (1.0, 0.09), (0.5, 0.25), (0.25, 0.21), (None, 0.25)])
def test_a_problem_weighs_the_variance_of_its_smoothed_score(rate: float | None, expected: float) -> None:
    assert weight(rate) == pytest.approx(expected)


def test_a_weighted_step_holds_no_problem_twice_while_there_are_others() -> None:
    pool, settings = rated(30), config(prompts_per_step=29, curriculum__order="weighted")
    for step in range(1, 30):
        assert len(set(places(pool, settings, step))) == 29
    twice = places(pool, config(prompts_per_step=75, curriculum__order="weighted"), 1)
    assert sorted(Counter(twice).values()) == [2] * 15 + [3] * 15
    assert len(set(twice[:30])) == len(set(twice[30:60])) == 30


def chi_square(seen: Counter[Any], expected: dict[Any, float], total: int) -> float:
    return sum((seen[key] - total * share) ** 2 / (total * share) for key, share in expected.items())


def test_weighted_draws_in_proportion_to_the_weights() -> None:
    """Against chi-square's 99.9 % quantiles: 27.9 with 9 degrees of freedom for one problem, 43.8 with 19 for pairs.

    A pair (i, j) of a step is drawn with probability w_i / W * w_j / (W - w_i). The draws are seeded: this is no game.
    """
    rates = [0.0, 0.125, 0.25, 0.5, 0.75, 1.0, None, 0.0, 0.5, 0.875]
    pool, steps = problems(*rates), 6000
    weights = [weight(rate) for rate in rates]
    one = config(prompts_per_step=1, curriculum__order="weighted")
    seen = Counter(places(pool, one, step)[0] for step in range(1, steps + 1))
    shares = {place: value / sum(weights) for place, value in enumerate(weights)}
    assert chi_square(seen, shares, steps) < 27.9
    assert chi_square(seen, dict.fromkeys(range(10), 0.1), steps) > 300

    few = [0, 3, 5, 6, 9]
    chosen, total = [weights[place] for place in few], sum(weights[place] for place in few)
    two = config(prompts_per_step=2, curriculum__order="weighted")
    pairs = Counter(tuple(places(problems(*(rates[p] for p in few)), two, step)) for step in range(1, steps + 1))
    expected = {
        (i, j): chosen[i] / total * chosen[j] / (total - chosen[i]) for i in range(5) for j in range(5) if i != j
    }
    assert sum(expected.values()) == pytest.approx(1.0)
    assert chi_square(pairs, expected, steps) < 43.8


# -- bounds --------------------------------------------------------------------------------------------------------


def test_bounds_are_inclusive_and_problems_without_a_pass_rate_stay() -> None:
    pool = problems(0.0, 0.125, 0.25, None, 0.75, 0.875, 1.0, 1.0)
    bounded = bound(pool, config(curriculum__min_pass_rate=0.125, curriculum__max_pass_rate=0.75))
    assert [problem.id for problem in bounded.kept] == ["1", "2", "3", "4"]
    assert (bounded.unrated, bounded.below, bounded.above) == (1, 1, 3)


def test_the_start_of_a_run_says_once_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    splits = Splits(problems(0.0, 0.5, None, 1.0, 1.0), problems(0.0))
    settings = config(curriculum__min_pass_rate=0.1, curriculum__max_pass_rate=0.9)
    kept = bounded(splits, settings)
    assert [problem.id for problem in kept.train] == ["1", "2"]
    assert kept.held_out == splits.held_out
    assert capsys.readouterr().err == (
        "curriculum: random, 2 of 5 training problems: left out are 1 with a pass rate below 0.1 and 2 above 0.9; "
        "1 without a pass rate stay\n"
    )
    assert bounded(splits, config()) == splits
    assert capsys.readouterr().err == ""
    assert bounded(splits, config(curriculum__order="weighted")) == splits
    assert capsys.readouterr().err == "curriculum: weighted, 5 training problems, of which 1 have no pass rate\n"


def test_bounds_that_leave_nothing_are_an_error_with_numbers() -> None:
    settings = config(data="d.jsonl", curriculum__min_pass_rate=0.2, curriculum__max_pass_rate=0.8)
    with pytest.raises(RlsdError) as caught:
        bound(problems(0.0, 0.0, 1.0), settings)
    assert caught.value.message == (
        "none of 3 training problems of `d.jsonl` has a pass rate in 0.2..0.8: 2 lie below, 1 above"
    )
    assert bound(problems(0.0, 0.0, 1.0, None), settings).unrated == 1


@pytest.mark.parametrize("order", ["easy_first", "weighted"])
def test_an_order_by_pass_rate_needs_one(order: str) -> None:
    with pytest.raises(RlsdError, match=f"`curriculum.order={order}` needs pass rates, and none of 2 ") as caught:
        bound(problems(None, None), config(data="d.jsonl", curriculum__order=order))
    assert caught.value.hint == "`rlsd data difficulty d.jsonl PRESET` measures them"
    assert bound(problems(None, 0.5), config(curriculum__order=order)).unrated == 1


def test_the_lower_bound_cannot_exceed_the_upper_one() -> None:
    with pytest.raises(RlsdError, match=r"`curriculum.min_pass_rate` cannot exceed `curriculum.max_pass_rate`"):
        config(curriculum__min_pass_rate=0.6, curriculum__max_pass_rate=0.5)
    assert config(curriculum__min_pass_rate=0.5, curriculum__max_pass_rate=0.5)
