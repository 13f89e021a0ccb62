import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsd_cli.core.ratios import importance_weight, sequence_ratio, token_ratio

QUICK = settings(deadline=None, max_examples=40, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}
RATIOS = (token_ratio, sequence_ratio)
NEW, BEFORE = [-0.9, -0.7, -1.2], [-1.0, -1.0, -1.0]
OLD, SAMPLED = [-0.9, -0.8, -0.9], [-1.0, -2.0, -0.5]


def row(values):
    return torch.tensor([values], dtype=torch.float32)


def everywhere(values):
    return torch.ones_like(values, dtype=torch.bool)


def test_a_token_ratio_is_how_much_likelier_each_token_has_become():
    logp = row(NEW).requires_grad_()
    ratio = token_ratio(logp, row(BEFORE), everywhere(logp))
    assert_close(ratio.value, row([1.105171, 1.349859, 0.818731]), **GOLDEN)
    ratio.value.sum().backward()
    assert_close(logp.grad, ratio.value.detach())


def test_a_sequence_ratio_is_the_mean_log_ratio_at_every_token_with_the_gradient_of_that_token():
    logp = row(NEW).requires_grad_()
    ratio = sequence_ratio(logp, row(BEFORE), everywhere(logp))
    assert_close(ratio.value, row([1.068939] * 3), **GOLDEN)
    ratio.value[0, 0].backward()
    assert_close(logp.grad, row([1.068939, 0.0, 0.0]), **GOLDEN)


def test_a_sequence_ratio_counts_only_the_mask():
    logp, old = row([-0.9, -0.7, -1.2, 5.0]), row([-1.0, -1.0, -1.0, -9.0])
    ratio = sequence_ratio(logp, old, torch.tensor([[True, True, True, False]]))
    assert_close(ratio.value, row([1.068939] * 3 + [1.0]), **GOLDEN)


def test_the_sequence_ratio_of_one_token_is_its_token_ratio():
    old = torch.linspace(-30, 30, 40)[:, None] - 4
    values, grads = [], []
    for ratio in RATIOS:
        logp = torch.full((40, 1), -4.0, requires_grad=True)
        values.append(ratio(logp, old, everywhere(old)))
        grads.append(*torch.autograd.grad(values[-1].value.sum(), logp))
    assert all(torch.equal(token, sequence) for token, sequence in zip(*values, strict=True))
    assert torch.equal(*grads)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("log_ratio", [25.0, -25.0, math.inf, -math.inf])
def test_a_log_ratio_beyond_20_is_held_there_and_has_no_gradient(ratio, log_ratio):
    logp = row([log_ratio]).requires_grad_()
    held = ratio(logp, row([0.0]), everywhere(logp))
    assert held.saturated
    assert held.value.item() == pytest.approx(math.exp(math.copysign(20, log_ratio)))
    held.value.sum().backward()
    assert logp.grad.item() == 0
    assert not ratio(row([19.9]), row([0.0]), everywhere(logp)).saturated


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "truncate", "high": math.inf}, [1.105171, 3.320117, 0.67032]),
        ({"mode": "truncate"}, [1.105171, 2.0, 0.67032]),
        ({"mode": "mask"}, [1.105171, 0.0, 0.67032]),
        ({"mode": "mask", "low": 0.5, "high": 2.0}, [1.105171, 0.0, 0.67032]),
        ({"mode": "mask", "low": 0.7, "high": 4.0}, [1.105171, 3.320117, 0.0]),
        ({"mode": "truncate", "level": "sequence", "high": math.inf}, [2.459603] * 3),
        ({"mode": "truncate", "level": "sequence"}, [2.0] * 3),
        ({"mode": "mask", "level": "sequence"}, [0.0] * 3),
    ],
)
def test_an_importance_weight_is_bounded_as_its_mode_says_and_constant(options, expected):
    old = row(OLD).requires_grad_()
    weight = importance_weight(old, row(SAMPLED), everywhere(old), **options)
    assert_close(weight, row(expected), **GOLDEN)
    assert not weight.requires_grad


def test_sdpo_caps_an_importance_weight_at_2():
    weight = importance_weight(row([-1.0]), row([-2.0]), torch.tensor([[True]]), mode="truncate", high=2.0)
    assert weight.item() == 2.0


def test_a_long_sequence_cannot_overflow_its_weight():
    logp = torch.zeros(1, 50)
    weight = importance_weight(logp, logp - 15, everywhere(logp), mode="truncate", level="sequence", high=math.inf)
    assert_close(weight, torch.full((1, 50), math.exp(20)))


def outputs(logp, other, mask):
    for ratio in RATIOS:
        yield from ratio(logp, other, mask)
    for level in ("token", "sequence"):
        yield importance_weight(logp, other, mask, mode="truncate", level=level)
        yield importance_weight(logp, other, mask, mode="mask", level=level)


LOGPS = st.lists(st.floats(-8, 0, width=32), min_size=3, max_size=3)
JUNK = st.sampled_from([math.nan, math.inf, -math.inf, 1e30])


@QUICK
@given(LOGPS, LOGPS, JUNK, JUNK, st.integers(1, 4))
def test_padding_is_inert_even_when_it_is_not_a_number(logp, other, junk, other_junk, width):
    alone = row(logp).requires_grad_()
    padded = row(logp + [junk] * width).requires_grad_()
    padded_other = row(other + [other_junk] * width)
    mask = torch.tensor([[True] * 3 + [False] * width])
    total_alone, total_padded = torch.zeros(()), torch.zeros(())
    pairs = zip(outputs(alone, row(other), mask[:, :3]), outputs(padded, padded_other, mask), strict=True)
    for short, long in pairs:
        assert_close(long[:, :3], short, rtol=1e-6, atol=1e-6)
        neutral = 1 if short.requires_grad else 0
        assert (long[:, 3:] == neutral).all()
        if short.requires_grad:
            total_alone, total_padded = total_alone + short.sum(), total_padded + long.sum()
    total_alone.backward()
    total_padded.backward()
    assert_close(padded.grad[:, :3], alone.grad, rtol=1e-5, atol=1e-5)
    assert not padded.grad[:, 3:].any()
