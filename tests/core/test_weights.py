import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsd_cli.core.credit import self_distilled_credit
from rlsd_cli.core.ratios import token_ratio
from rlsd_cli.core.surrogates import clipped_surrogate
from rlsd_cli.core.weights import token_weights

QUICK = settings(deadline=None, max_examples=40, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}
REDUCTIONS = ("sequence_mean", "token_mean", "constant")
MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])
STUDENT = torch.tensor([[-0.10, -0.50, -1.20, -2.00]]).repeat(2, 1)
TEACHER = torch.tensor([[-0.05, -0.80, -1.20, -0.50]]).repeat(2, 1)
ADVANTAGE = torch.tensor([1.5, -0.5])


def step(weights, *, mix=0.5):
    """The step's loss and its gradient on the log-probabilities, one sequence a micro-batch and in one batch."""
    totals, grads = [], []
    for parts in ([slice(0, 1), slice(1, 2)], [slice(0, 2)]):
        logp = STUDENT.clone().requires_grad_()
        losses = []
        for part in parts:
            student, teacher, mask = logp[part], TEACHER[part], MASK[part]
            credit = self_distilled_credit(ADVANTAGE[part], student, teacher, mask, mix=mix, clip=0.2)
            ratio = token_ratio(student, STUDENT[part], mask)
            losses.append((clipped_surrogate(ratio, credit.value, mask).loss * weights[part]).sum())
            losses[-1].backward()
        totals.append(sum(loss.item() for loss in losses))
        grads.append(logp.grad)
    assert totals[0] == pytest.approx(totals[1], abs=1e-6)
    assert_close(*grads)
    return totals[0], grads[0]


@pytest.mark.parametrize(
    ("reduction", "max_tokens", "expected"),
    [
        ("token_mean", None, -0.833441),
        ("sequence_mean", None, -0.495355),
        ("constant", 4, -0.625081),
        ("constant", 1, -2.500323),
    ],
)
def test_the_loss_of_a_step_by_hand_under_each_reduction(reduction, max_tokens, expected):
    loss, _ = step(token_weights(MASK, reduction, max_tokens=max_tokens))
    assert loss == pytest.approx(expected, abs=1e-5)


def test_without_a_teacher_the_loss_is_that_of_grpo():
    loss, _ = step(token_weights(MASK, "token_mean"), mix=0.0)
    assert loss == pytest.approx(-0.833333, abs=1e-5)


def test_the_gradient_of_a_token_is_its_credit_times_its_weight():
    _, grad = step(token_weights(MASK, "token_mean"))
    assert_close(grad[0], torch.tensor([-0.256409, -0.225, -0.25, -0.275]), **GOLDEN)
    _, grad = step(token_weights(MASK, "sequence_mean"))
    assert_close(grad[0], torch.tensor([-0.192307, -0.16875, -0.1875, -0.20625]), **GOLDEN)
    assert_close(grad[1], torch.tensor([0.121952, 0.1375, 0.0, 0.0]), **GOLDEN)


@pytest.mark.parametrize(("reduction", "expected"), [("sequence_mean", 2.0), ("token_mean", 2.6)])
def test_a_long_response_outweighs_a_short_one_under_token_mean_only(reduction, expected):
    mask = torch.arange(8)[None] < torch.tensor([[2], [8]])
    loss = torch.tensor([[1.0], [3.0]]).expand(2, 8)
    assert (loss * token_weights(mask, reduction)).sum().item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("num_sequences", [None, 0, 3])
def test_an_empty_mask_weighs_nothing(reduction, num_sequences):
    mask = torch.zeros(2, 3, dtype=torch.bool)
    weights = token_weights(mask, reduction, max_tokens=3, num_sequences=num_sequences)
    assert torch.equal(weights, torch.zeros(2, 3))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_empty_sequence_is_not_counted(reduction):
    with_empty = torch.cat([MASK, torch.zeros(1, 4, dtype=torch.bool)])
    weights = token_weights(with_empty, reduction, max_tokens=4)
    assert_close(weights[:2], token_weights(MASK, reduction, max_tokens=4))
    assert not weights[2].any()


def test_num_sequences_overrides_the_count():
    for reduction in ("sequence_mean", "constant"):
        ours = token_weights(MASK, reduction, max_tokens=4)
        assert_close(token_weights(MASK, reduction, max_tokens=4, num_sequences=8), ours / 4)


def test_constant_needs_a_length():
    with pytest.raises(ValueError, match="max_tokens"):
        token_weights(MASK, "constant")


@QUICK
@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1)
    ),
    st.sampled_from(REDUCTIONS),
    st.randoms(use_true_random=False),
)
def test_any_partition_into_microbatches_sums_to_the_same_loss(rows, reduction, random):
    mask = torch.tensor(rows)
    generator = torch.Generator().manual_seed(random.randrange(2**31))
    loss = torch.where(mask, torch.randn(mask.shape, generator=generator), 0.0)
    weights = token_weights(mask, reduction, max_tokens=mask.shape[1])
    order = random.sample(range(len(rows)), len(rows))
    cut = random.randint(0, len(rows))
    parts = [(loss[part] * weights[part]).sum() for part in (order[:cut], order[cut:])]
    assert_close(sum(parts), (loss * weights).sum(), rtol=1e-5, atol=1e-6)


@QUICK
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.sampled_from(REDUCTIONS), st.integers(0, 4))
def test_right_padding_changes_no_weight(lengths, reduction, extra):
    width = max(lengths)
    mask = torch.arange(width + extra)[None] < torch.tensor(lengths)[:, None]
    padded = token_weights(mask, reduction, max_tokens=9)
    assert torch.equal(padded[:, :width], token_weights(mask[:, :width], reduction, max_tokens=9))
    assert not padded[:, width:].any()
