"""FIPO's credit: the numbers of its released code, its sum, and what may not change it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsd_cli.core.credit import uniform_credit
from rlsd_cli.core.future_kl import discounted_future, future_kl_credit
from rlsd_cli.core.ratios import token_ratio
from rlsd_cli.core.surrogates import clipped_surrogate

QUICK = settings(deadline=None, max_examples=40, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}
CHANGES = [0.1, -0.2, 0.3, -0.1, 0.0]
"""Log-ratios of the tokens of a response (nats)."""
SEVEN_B = {"half_life": 2.0, "clip_low": 0.2, "clip_high": 0.2, "safety": 3.0, "ratio_limit": 10.0}
THIRTY_TWO_B = {"half_life": 32.0, "clip_low": 0.0, "clip_high": 0.2, "safety": 10.0, "ratio_limit": 10.0}


def row(values):
    return torch.tensor([values], dtype=torch.float32)


def of(changes, advantage, bounds):
    """Credit and loss of one response whose log-probabilities have changed so."""
    logp, old_logp = row(changes) - 1, torch.full((1, len(changes)), -1.0)
    mask = torch.ones_like(logp, dtype=torch.bool)
    found = future_kl_credit(torch.tensor([advantage]), logp, old_logp, mask, **bounds)
    loss = clipped_surrogate(token_ratio(logp, old_logp, mask), found.value, mask, dual_clip=10.0).loss
    return found, loss


# -- numbers ----------------------------------------------------------------------------------------------------------

FUTURE_2 = [0.073223, -0.037868, 0.229289, -0.1, 0.0]
FUTURE_32 = [0.097858, -0.002189, 0.202143, -0.1, 0.0]
WEIGHT_2 = [1.075971, 0.96284, 1.2, 0.904837, 1.0]
WEIGHT_32 = [1.102806, 1.0, 1.2, 1.0, 1.0]


@pytest.mark.parametrize(
    ("bounds", "advantage", "future", "weight", "loss"),
    [
        (SEVEN_B, 1.0, FUTURE_2, WEIGHT_2, [-1.189132, -0.788307, -1.536, -0.818731, -1.0]),
        (SEVEN_B, -1.0, FUTURE_2, WEIGHT_2, [1.189132, 0.788307, 1.619831, 0.818731, 1.0]),
        (THIRTY_TWO_B, 1.0, FUTURE_32, WEIGHT_32, [-1.21879, -0.818731, -1.536, -0.904837, -1.0]),
        (THIRTY_TWO_B, -1.0, FUTURE_32, WEIGHT_32, [1.21879, 0.818731, 1.619831, 0.904837, 1.0]),
    ],
    ids=["7b-won", "7b-lost", "32b-won", "32b-lost"],
)
def test_sum_weight_credit_and_clipped_loss_are_those_of_the_released_code(
    bounds, advantage, future, weight, loss
) -> None:
    found, given_loss = of(CHANGES, advantage, bounds)
    assert_close(found.diagnostics["future_kl"], row(future), **GOLDEN)
    assert_close(found.diagnostics["weight"], row(weight), **GOLDEN)
    assert_close(found.value, advantage * row(weight), **GOLDEN)
    assert_close(given_loss, row(loss), **GOLDEN)
    assert not found.diagnostics["dropped"].any()


def test_the_sum_of_three_tokens_with_a_half_life_of_two() -> None:
    found, _ = of([0.1, -0.2, 0.3], 1.0, SEVEN_B)
    assert_close(found.diagnostics["future_kl"], row([0.108579, 0.012132, 0.3]), **GOLDEN)
    assert_close(found.value, row([1.114693, 1.012206, 1.2]), **GOLDEN)


def test_a_token_whose_ratio_is_above_the_limit_is_in_no_sum_and_its_weight_is_held_below_one() -> None:
    found, loss = of([0.1, 2.5, 0.3, -0.1, 0.0], -1.0, SEVEN_B)
    assert_close(found.diagnostics["future_kl"], row([0.214645, 0.162132, 0.229289, -0.1, 0.0]), **GOLDEN)
    assert_close(found.value, row([-1.2, -1.0, -1.2, -0.904837, -1.0]), **GOLDEN)
    assert_close(loss, row([1.326205, 10.0, 1.619831, 0.818731, 1.0]), **GOLDEN)


def test_the_limit_does_not_ask_for_the_sign_of_the_advantage_and_the_other_two_rules_do() -> None:
    found, _ = of([2.5, 2.5, 0.3, -0.1, 0.0], 1.0, SEVEN_B)
    assert_close(found.diagnostics["future_kl"], row([0.114645, 0.162132, 0.229289, -0.1, 0.0]), **GOLDEN)
    assert_close(found.value, row([1.121476, 1.176016, 1.2, 0.904837, 1.0]), **GOLDEN)


def test_two_tokens_above_the_limit_leave_a_response_that_lost_without_credit() -> None:
    found, loss = of([2.5, 2.5, 0.3, -0.1, 0.0], -1.0, SEVEN_B)
    assert_close(found.diagnostics["weight"], row([1.0, 1.0, 1.2, 0.904837, 1.0]), **GOLDEN)
    assert found.diagnostics["dropped"].all()
    assert not found.value.any()
    assert not loss.any()


def test_the_safety_threshold_alone_holds_a_weight_to_eight_tenths_and_above() -> None:
    """The sums are below log 0.7, so that a clip of 0.5 lets weights of 0.5 to 0.7 pass where nothing holds them."""
    changes, bounds = [1.2, -2.0, -2.0], SEVEN_B | {"clip_low": 0.5}
    assert_close(of(changes, -1.0, bounds)[0].value, row([-0.8, -0.5, -0.5]), **GOLDEN)
    assert_close(of(changes, 1.0, bounds)[0].value, row([0.5, 0.5, 0.5]), **GOLDEN)


# -- the sum ----------------------------------------------------------------------------------------------------------


@QUICK
@given(st.integers(1, 40), st.floats(0.5, 200.0), st.integers(0, 2**16))
def test_the_sum_is_that_of_the_formula_whatever_the_length(length, half_life, seed) -> None:
    values = torch.randn(2, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    discount = 2 ** (-1 / half_life)
    expected = torch.zeros_like(values)
    for t in range(length):
        for k in range(t, length):
            expected[:, t] += discount ** (k - t) * values[:, k]
    assert_close(discounted_future(values, discount=discount), expected, rtol=1e-9, atol=1e-9)


def test_after_one_half_life_a_later_token_counts_half() -> None:
    future = discounted_future(row([0.0] * 4 + [1.0]), discount=2 ** (-1 / 4))
    assert_close(future[0, 0].item(), 0.5)


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("advantage", [1.5, -0.5, 0.0])
def test_where_nothing_has_changed_or_no_weight_may_move_it_is_the_uniform_credit_bit_for_bit(advantage) -> None:
    mask = torch.ones(1, 5, dtype=torch.bool)
    expected = uniform_credit(torch.tensor([advantage]), mask).value
    assert torch.equal(of([0.0] * 5, advantage, SEVEN_B)[0].value, expected)
    assert torch.equal(of(CHANGES, advantage, SEVEN_B | {"clip_low": 0.0, "clip_high": 0.0})[0].value, expected)


@QUICK
@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12), st.sampled_from([1.5, -0.5]))
def test_a_credit_is_zero_or_has_the_sign_of_the_advantage_and_stays_in_its_band(changes, advantage) -> None:
    found, _ = of(changes, advantage, SEVEN_B)
    share = found.value / advantage
    assert found.value.isfinite().all()
    assert ((share == 0) | ((share >= 0.8 - 1e-6) & (share <= 1.2 + 1e-6))).all()


def test_what_stands_outside_the_mask_changes_nothing_and_gets_nothing() -> None:
    plain, _ = of(CHANGES, -1.0, SEVEN_B)
    for junk in (0.0, math.nan, math.inf, 50.0):
        logp = torch.cat([row(CHANGES) - 1, torch.full((1, 4), junk)], 1)
        mask = torch.tensor([[True] * 5 + [False] * 4])
        found = future_kl_credit(torch.tensor([-1.0]), logp, torch.full((1, 9), -1.0), mask, **SEVEN_B)
        assert torch.equal(found.value[:, :5], plain.value)
        assert not found.value[:, 5:].any()
        assert not found.diagnostics["dropped"].any()


def test_no_gradient_goes_through_the_credit() -> None:
    logp = (row(CHANGES) - 1).requires_grad_()
    mask = torch.ones_like(logp, dtype=torch.bool)
    found = future_kl_credit(torch.tensor([1.0]), logp, torch.full((1, 5), -1.0), mask, **SEVEN_B)
    assert not found.value.requires_grad
    assert not any(values.requires_grad for values in found.diagnostics.values())
