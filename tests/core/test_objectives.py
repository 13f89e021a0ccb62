import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rlsd_cli.core.objectives import (
    cispo,
    clipped_surrogate,
    gspo,
    importance_weight,
    kl_estimate,
    negative_log_likelihood,
)
from torch.testing import assert_close

from rlsd_cli.core import objectives

QUICK = settings(deadline=None, max_examples=40, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}
SURROGATES = (clipped_surrogate, gspo, cispo)


def row(values):
    return torch.tensor([values], dtype=torch.float32)


def everywhere(values):
    return torch.ones_like(values, dtype=torch.bool)


def at_ratio(ratio, credit, **options):
    logp = row([math.log(ratio)]).requires_grad_()
    result = clipped_surrogate(logp, row([0.0]), row([credit]), everywhere(logp), **options)
    result.loss.sum().backward()
    return result, logp.grad.item()


@pytest.mark.parametrize(
    ("credit", "ratio", "loss"),
    [
        (1.0, 0.5, -0.5),
        (1.0, 0.9, -0.9),
        (1.0, 1.0, -1.0),
        (1.0, 1.25, -1.25),
        (1.0, 1.3, -1.28),
        (1.0, 2.0, -1.28),
        (1.0, 4.0, -1.28),
        (-1.0, 0.5, 0.8),
        (-1.0, 0.9, 0.9),
        (-1.0, 1.0, 1.0),
        (-1.0, 1.25, 1.25),
        (-1.0, 1.3, 1.3),
        (-1.0, 2.0, 2.0),
        (-1.0, 4.0, 3.0),
        (1.65, 1.5, -2.112),
        (-0.55, 4.0, 1.65),
    ],
)
def test_g6_clipped_surrogate(credit, ratio, loss):
    result, slope = at_ratio(ratio, credit, dual_clip=3.0)
    assert result.loss.item() == pytest.approx(loss, abs=1e-5)
    assert result.ratio.item() == pytest.approx(ratio, abs=1e-5)
    assert result.clipped.item() == (slope == 0)
    if slope:
        assert slope == pytest.approx(-ratio * credit, abs=1e-5)


def test_g6_without_dual_clip_blame_is_unbounded():
    result, slope = at_ratio(4.0, -1.0)
    assert result.loss.item() == pytest.approx(4.0)
    assert slope == pytest.approx(4.0)
    assert not result.clipped


@pytest.mark.parametrize(("credit", "log_ratio"), [(-1.0, 25.0), (1.0, -25.0), (-1.0, math.inf)])
def test_a_saturated_log_ratio_is_finite_and_counts_as_clipped(credit, log_ratio):
    logp = row([log_ratio]).requires_grad_()
    result = clipped_surrogate(logp, row([0.0]), row([credit]), everywhere(logp))
    result.loss.sum().backward()
    assert result.loss.isfinite()
    assert result.clipped
    assert logp.grad.item() == 0


OLD, SAMPLED = [-0.9, -0.8, -0.9], [-1.0, -2.0, -0.5]


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
def test_g7_importance_weight(options, expected):
    old = row(OLD).requires_grad_()
    weight = importance_weight(old, row(SAMPLED), everywhere(old), **options)
    assert_close(weight, row(expected), **GOLDEN)
    assert not weight.requires_grad


def test_a_long_sequence_cannot_overflow_its_weight():
    logp = torch.zeros(1, 50)
    weight = importance_weight(logp, logp - 15, everywhere(logp), mode="truncate", level="sequence", high=math.inf)
    assert_close(weight, torch.full((1, 50), math.exp(20)))


def test_g7_divergence_of_the_engine():
    mask = everywhere(row(OLD))
    assert kl_estimate(row(SAMPLED), row(OLD), mask, "k1").mean().item() == pytest.approx(-0.3, abs=1e-5)
    assert kl_estimate(row(SAMPLED), row(OLD), mask, "k3").mean().item() == pytest.approx(0.398536, abs=1e-5)


def test_g10_sdpo_importance_weight():
    weight = importance_weight(row([-1.0]), row([-2.0]), torch.tensor([[True]]), mode="truncate", high=2.0)
    assert weight.item() == 2.0


NEW, BEFORE = [-0.9, -0.7, -1.2], [-1.0, -1.0, -1.0]


@pytest.mark.parametrize(("credit", "loss", "clipped"), [(1.0, -1.0004, True), (-1.0, 1.068939, False)])
def test_g8_gspo(credit, loss, clipped):
    logp = row(NEW).requires_grad_()
    result = gspo(logp, row(BEFORE), row([credit] * 3), everywhere(logp), clip_low=3e-4, clip_high=4e-4)
    assert_close(result.ratio, row([1.068939] * 3), **GOLDEN)
    assert_close(result.loss, row([loss] * 3), **GOLDEN)
    assert result.clipped.tolist() == [[clipped] * 3]
    result.loss.mean().backward()
    assert_close(logp.grad, row([0.0 if clipped else 1.068939 / 3] * 3), **GOLDEN)


def test_g8_cispo():
    logp = row(NEW).requires_grad_()
    result = cispo(logp, row(BEFORE), row([1.0] * 3), everywhere(logp))
    assert_close(result.ratio, row([1.105171, 1.349859, 0.818731]), **GOLDEN)
    assert_close(result.loss, row([0.994654, 0.896, 0.982477]), **GOLDEN)
    assert not result.clipped.any()
    result.loss.sum().backward()
    assert_close(logp.grad, row([-1.105171, -1.28, -0.818731]), **GOLDEN)


@pytest.mark.parametrize(("kind", "expected"), [("k1", 0.3), ("k2", 0.045), ("k3", 0.040818)])
def test_g20_kl_estimates(kind, expected):
    estimate = kl_estimate(row([-1.0]), row([-1.3]), torch.tensor([[True]]), kind)
    assert estimate.item() == pytest.approx(expected, abs=1e-5)


def test_g22_policy_gradient_on_the_logits():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().requires_grad_()
    logp = logits.log_softmax(-1)[:1][None]
    clipped_surrogate(logp, logp.detach(), row([1.1]), everywhere(logp)).loss.sum().backward()
    assert_close(logits.grad, torch.tensor([-0.55, 0.33, 0.22]), **GOLDEN)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_on_policy_every_surrogate_has_the_plain_policy_gradient(surrogate):
    logp = row([-0.5, -1.0, -3.0]).requires_grad_()
    credit = row([0.3, -1.7, 0.0])
    surrogate(logp, logp.detach(), credit, everywhere(logp)).loss.sum().backward()
    assert torch.equal(logp.grad, -credit)


@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_gspo_of_one_token_is_clipped_surrogate(dual_clip):
    old = torch.linspace(-3, 3, 40)[:, None] - 4
    credit = torch.tensor([1.0, -0.5] * 20)[:, None]
    grads = []
    results = []
    for surrogate in (gspo, clipped_surrogate):
        logp = torch.full((40, 1), -4.0, requires_grad=True)
        results.append(surrogate(logp, old, credit, everywhere(old), dual_clip=dual_clip))
        grads.append(*torch.autograd.grad(results[-1].loss.sum(), logp))
    for sequence, token in zip(*results, strict=True):
        assert torch.equal(sequence, token)
    assert torch.equal(*grads)


def test_the_ratio_of_gspo_counts_only_the_mask():
    logp, old = row([-0.9, -0.7, -1.2, 5.0]), row([-1.0, -1.0, -1.0, -9.0])
    mask = torch.tensor([[True, True, True, False]])
    ratio = gspo(logp, old, row([1.0] * 4), mask).ratio
    assert_close(ratio, row([1.068939] * 3 + [1.0]), **GOLDEN)


def test_negative_log_likelihood():
    mask = torch.tensor([[True, False]])
    assert negative_log_likelihood(row([-0.5, -math.inf]), mask).tolist() == [[0.5, 0.0]]


def outputs(logp, other, credit, mask):
    for surrogate in SURROGATES:
        result = surrogate(logp, other, credit, mask)
        yield result.loss
        yield result.ratio
        yield result.clipped
    yield negative_log_likelihood(logp, mask)
    for kind in ("k1", "k2", "k3"):
        yield kl_estimate(logp, other, mask, kind)
    for level in ("token", "sequence"):
        yield importance_weight(logp, other, mask, mode="truncate", level=level)
        yield importance_weight(logp, other, mask, mode="mask", level=level)


LOGPS = st.lists(st.floats(-8, 0, width=32), min_size=3, max_size=3)
JUNK = st.sampled_from([math.nan, math.inf, -math.inf, 1e30])


@QUICK
@given(LOGPS, LOGPS, LOGPS, JUNK, JUNK, JUNK, st.integers(1, 4))
def test_p4_padding_is_inert_even_when_it_is_not_a_number(logp, other, credit, junk, other_junk, credit_junk, width):
    alone = [row(values) for values in (logp, other, credit)]
    padded = [
        row(values + [fill] * width) for values, fill in ((logp, junk), (other, other_junk), (credit, credit_junk))
    ]
    alone[0].requires_grad_()
    padded[0].requires_grad_()
    mask = torch.tensor([[True] * 3 + [False] * width])
    total_alone, total_padded = torch.zeros(()), torch.zeros(())
    for short, long in zip(outputs(*alone, mask[:, :3]), outputs(*padded, mask), strict=True):
        assert_close(long[:, :3], short, rtol=1e-6, atol=1e-6)
        assert long.isfinite().all()
        if short.requires_grad:
            assert ((long[:, 3:] == 0) | (long[:, 3:] == 1)).all()
            total_alone, total_padded = total_alone + short.sum(), total_padded + (long * mask).sum()
    total_alone.backward()
    total_padded.backward()
    assert_close(padded[0].grad[:, :3], alone[0].grad, rtol=1e-5, atol=1e-5)
    assert not padded[0].grad[:, 3:].any()


@pytest.mark.parametrize("output", range(4))
def test_losses_are_zero_outside_the_mask(output):
    logp, other, credit = row([-1.0, -2.0]), row([-1.5, -9.0]), row([1.0, -3.0])
    mask = torch.tensor([[True, False]])
    losses = [*(surrogate(logp, other, credit, mask).loss for surrogate in SURROGATES)]
    losses.append(kl_estimate(logp, other, mask, "k3"))
    assert losses[output][0, 1] == 0
    assert losses[output][0, 0] != 0


def unhooked(module):
    """The module without the shape checks, which a compiled graph cannot hold."""
    path = Path(objectives.__file__).with_name(f"{module}.py")
    spec = importlib.util.spec_from_file_location(f"unhooked_{module}", path)
    plain = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = plain
    spec.loader.exec_module(plain)
    return plain


def test_compiled_in_one_graph_equals_eager():
    self_distilled_credit = unhooked("credit").self_distilled_credit
    surrogate = unhooked("objectives").clipped_surrogate

    def step(advantage, logp, old_logp, teacher_logp, mask):
        credit = self_distilled_credit(advantage, logp, teacher_logp, mask, mix=0.5, clip=0.2)
        return *surrogate(logp, old_logp, credit.credit, mask, dual_clip=3.0), *credit

    generator = torch.Generator().manual_seed(0)
    logp, old_logp, teacher_logp = torch.randn(3, 4, 6, generator=generator) - 2
    inputs = (
        torch.tensor([1.0, -1.0, 0.0, 0.5]),
        logp,
        old_logp,
        teacher_logp,
        torch.rand(4, 6, generator=generator) > 0.3,
    )
    results, grads = [], []
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        logp.requires_grad_().grad = None
        results.append(function(*inputs))
        results[-1][0].sum().backward()
        grads.append(logp.grad)
    for eager, compiled in zip(*results, strict=True):
        assert_close(compiled, eager)
    assert_close(*grads)
