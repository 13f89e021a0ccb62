import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import rlsd_cli.core
from rlsd_cli.core.ratios import sequence_ratio, token_ratio
from rlsd_cli.core.surrogates import cispo, clipped_surrogate, negative_log_likelihood

QUICK = settings(deadline=None, max_examples=40, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}


def row(values):
    return torch.tensor([values], dtype=torch.float32)


def everywhere(values):
    return torch.ones_like(values, dtype=torch.bool)


def clipped(logp, old_logp, credit, mask, **options):
    return clipped_surrogate(token_ratio(logp, old_logp, mask), credit, mask, **options)


def gspo(logp, old_logp, credit, mask, **options):
    return clipped_surrogate(sequence_ratio(logp, old_logp, mask), credit, mask, **options)


def cispo_of_tokens(logp, old_logp, credit, mask, **options):
    return cispo(token_ratio(logp, old_logp, mask), credit, mask, logp, **options)


SURROGATES = (clipped, gspo, cispo_of_tokens)


def at_ratio(ratio, credit, **options):
    logp = row([math.log(ratio)]).requires_grad_()
    result = clipped(logp, row([0.0]), row([credit]), everywhere(logp), **options)
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
def test_the_clipped_surrogate_is_pessimistic_on_both_sides_and_bounded_by_the_dual_clip(credit, ratio, loss):
    result, slope = at_ratio(ratio, credit, dual_clip=3.0)
    assert result.loss.item() == pytest.approx(loss, abs=1e-5)
    assert result.clipped.item() == (slope == 0)
    if slope:
        assert slope == pytest.approx(-ratio * credit, abs=1e-5)


def test_without_dual_clip_blame_is_unbounded():
    result, slope = at_ratio(4.0, -1.0)
    assert result.loss.item() == pytest.approx(4.0)
    assert slope == pytest.approx(4.0)
    assert not result.clipped


@pytest.mark.parametrize(("credit", "log_ratio"), [(-1.0, 25.0), (1.0, -25.0), (-1.0, math.inf)])
def test_a_saturated_log_ratio_is_finite_and_counts_as_clipped(credit, log_ratio):
    logp = row([log_ratio]).requires_grad_()
    result = clipped(logp, row([0.0]), row([credit]), everywhere(logp))
    result.loss.sum().backward()
    assert result.loss.isfinite()
    assert result.clipped
    assert logp.grad.item() == 0


NEW, BEFORE = [-0.9, -0.7, -1.2], [-1.0, -1.0, -1.0]


@pytest.mark.parametrize(("credit", "loss", "is_clipped"), [(1.0, -1.0004, True), (-1.0, 1.068939, False)])
def test_gspo_clips_a_whole_sequence_at_once(credit, loss, is_clipped):
    logp = row(NEW).requires_grad_()
    result = gspo(logp, row(BEFORE), row([credit] * 3), everywhere(logp), clip_low=3e-4, clip_high=4e-4)
    assert_close(result.loss, row([loss] * 3), **GOLDEN)
    assert result.clipped.tolist() == [[is_clipped] * 3]
    result.loss.mean().backward()
    assert_close(logp.grad, row([0.0 if is_clipped else 1.068939 / 3] * 3), **GOLDEN)


def test_cispo_clips_the_weight_and_never_the_gradient():
    logp = row(NEW).requires_grad_()
    result = cispo_of_tokens(logp, row(BEFORE), row([1.0] * 3), everywhere(logp))
    assert_close(result.loss, row([0.994654, 0.896, 0.982477]), **GOLDEN)
    assert not result.clipped.any()
    result.loss.sum().backward()
    assert_close(logp.grad, row([-1.105171, -1.28, -0.818731]), **GOLDEN)


def test_the_policy_gradient_on_the_logits_by_hand():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().requires_grad_()
    logp = logits.log_softmax(-1)[:1][None]
    clipped(logp, logp.detach(), row([1.1]), everywhere(logp)).loss.sum().backward()
    assert_close(logits.grad, torch.tensor([-0.55, 0.33, 0.22]), **GOLDEN)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_on_policy_every_surrogate_has_the_plain_policy_gradient(surrogate):
    logp = row([-0.5, -1.0, -3.0]).requires_grad_()
    credit = row([0.3, -1.7, 0.0])
    surrogate(logp, logp.detach(), credit, everywhere(logp)).loss.sum().backward()
    assert torch.equal(logp.grad, -credit)


def test_the_negative_log_likelihood_of_a_token_is_minus_its_log_probability_inside_the_mask():
    mask = torch.tensor([[True, False]])
    assert negative_log_likelihood(row([-0.5, -math.inf]), mask).tolist() == [[0.5, 0.0]]


def outputs(logp, other, credit, mask):
    for surrogate in SURROGATES:
        yield from surrogate(logp, other, credit, mask)
    yield negative_log_likelihood(logp, mask)


LOGPS = st.lists(st.floats(-8, 0, width=32), min_size=3, max_size=3)
JUNK = st.sampled_from([math.nan, math.inf, -math.inf, 1e30])


@QUICK
@given(LOGPS, LOGPS, LOGPS, JUNK, JUNK, JUNK, st.integers(1, 4))
def test_padding_is_inert_even_when_it_is_not_a_number(logp, other, credit, junk, other_junk, credit_junk, width):
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
        assert not long[:, 3:].any()
        if short.requires_grad:
            total_alone, total_padded = total_alone + short.sum(), total_padded + long.sum()
    total_alone.backward()
    total_padded.backward()
    assert_close(padded[0].grad[:, :3], alone[0].grad, rtol=1e-5, atol=1e-5)
    assert not padded[0].grad[:, 3:].any()


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_losses_are_zero_outside_the_mask(surrogate):
    logp, other, credit = row([-1.0, -2.0]), row([-1.5, -9.0]), row([1.0, -3.0])
    mask = torch.tensor([[True, False]])
    loss = surrogate(logp, other, credit, mask).loss
    assert loss[0, 1] == 0
    assert loss[0, 0] != 0


def unhooked(module):
    """The module without the shape checks, which a compiled graph cannot hold."""
    path = Path(rlsd_cli.core.__file__).with_name(f"{module}.py")
    spec = importlib.util.spec_from_file_location(f"unhooked_{module}", path)
    plain = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = plain
    spec.loader.exec_module(plain)
    return plain


def test_compiled_in_one_graph_equals_eager():
    self_distilled_credit = unhooked("credit").self_distilled_credit
    token_ratio = unhooked("ratios").token_ratio
    surrogate = unhooked("surrogates").clipped_surrogate

    def step(advantage, logp, old_logp, teacher_logp, mask):
        credit = self_distilled_credit(advantage, logp, teacher_logp, mask, mix=0.5, clip=0.2)
        ratio = token_ratio(logp, old_logp, mask)
        return *surrogate(ratio, credit.value, mask, dual_clip=3.0), credit.value, *credit.diagnostics.values()

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
