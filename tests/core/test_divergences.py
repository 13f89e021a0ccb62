import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsd_cli.core.divergences import (
    clip_token_loss,
    forward_kl,
    generalized_jsd,
    kl_estimate,
    pointwise_clipped_forward_kl,
    reverse_kl,
    sampled_token_loss,
    teacher_top_k,
    top_k_with_tail,
)

GOLDEN = {"rtol": 0, "atol": 1e-5}
TEACHER = torch.tensor([0.7, 0.2, 0.1]).log()
STUDENT = torch.tensor([0.5, 0.3, 0.2]).log()


def gradient_on_logits(divergence, student=STUDENT, teacher=TEACHER, **options):
    logits = student.clone().requires_grad_()
    divergence(logits.log_softmax(-1), teacher, **options).sum().backward()
    return logits.grad


@pytest.mark.parametrize(
    ("divergence", "options", "expected"),
    [
        (forward_kl, {}, 0.085123),
        (reverse_kl, {}, 0.092033),
        (generalized_jsd, {"beta": 0.5}, 0.021901),
        (generalized_jsd, {"beta": 0.1}, 0.007695),
        (generalized_jsd, {"beta": 0.9}, 0.008185),
        (generalized_jsd, {"beta": 0.0}, 0.085123),
        (generalized_jsd, {"beta": 1.0}, 0.092033),
        (pointwise_clipped_forward_kl, {"kappa": 0.05}, -0.100408),
    ],
)
def test_values_by_hand(divergence, options, expected):
    assert divergence(STUDENT, TEACHER, **options).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("divergence", "options", "expected"),
    [
        (forward_kl, {}, [-0.2, 0.1, 0.1]),
        (reverse_kl, {}, [-0.214253, 0.09403, 0.120223]),
        (generalized_jsd, {"beta": 0.0}, [-0.2, 0.1, 0.1]),
        (generalized_jsd, {"beta": 1.0}, [-0.214253, 0.09403, 0.120223]),
    ],
)
def test_gradients_on_the_logits_by_hand(divergence, options, expected):
    assert_close(gradient_on_logits(divergence, **options), torch.tensor(expected), **GOLDEN)


def test_the_sampled_token_loss_has_the_gap_as_its_gradient():
    student = STUDENT.clone().requires_grad_()
    teacher = TEACHER.clone().requires_grad_()
    loss = sampled_token_loss(student, teacher)
    advantage = torch.tensor([0.336472, -0.405465, -0.693147])
    assert_close(loss, -advantage * STUDENT, **GOLDEN)
    loss.sum().backward()
    assert_close(student.grad, -advantage, **GOLDEN)
    assert teacher.grad is None


def test_the_expected_gradient_of_the_sampled_token_loss_is_that_of_reverse_kl():
    logits = STUDENT.clone().requires_grad_()
    logp = logits.log_softmax(-1)
    (logp.detach().exp() * sampled_token_loss(logp, TEACHER)).sum().backward()
    assert_close(logits.grad, gradient_on_logits(reverse_kl), **GOLDEN)


WIDE_STUDENT = torch.tensor([0.5, 0.25, 0.15, 0.10]).log()
WIDE_TEACHER = torch.tensor([0.4, 0.4, 0.05, 0.15]).log()


def test_the_tail_of_a_top_k_holds_the_mass_outside_of_both():
    student, teacher = top_k_with_tail(WIDE_STUDENT, WIDE_TEACHER, k=2)
    assert_close(student, torch.tensor([0.5, 0.25, 0.25]).log(), **GOLDEN)
    assert_close(teacher, torch.tensor([0.4, 0.4, 0.2]).log(), **GOLDEN)
    assert student[-1].item() == pytest.approx(-1.386294, abs=1e-5)
    assert reverse_kl(student, teacher).item() == pytest.approx(0.049857, abs=1e-5)
    assert forward_kl(student, teacher).item() == pytest.approx(0.054115, abs=1e-5)
    assert generalized_jsd(student, teacher, beta=0.5).item() == pytest.approx(0.012908, abs=1e-5)


def test_without_the_tail_both_are_renormalised_on_the_support():
    student, teacher = top_k_with_tail(WIDE_STUDENT, WIDE_TEACHER, k=2, tail=False)
    assert student.shape == (2,)
    assert reverse_kl(student, teacher).item() == pytest.approx(0.056633, abs=1e-5)
    assert reverse_kl(WIDE_STUDENT, WIDE_TEACHER).item() == pytest.approx(0.118316, abs=1e-5)
    assert forward_kl(WIDE_STUDENT, WIDE_TEACHER).item() == pytest.approx(0.104633, abs=1e-5)


def test_the_support_is_the_students():
    student, teacher = top_k_with_tail(WIDE_STUDENT.flip(0), WIDE_TEACHER, k=1, tail=True)
    assert_close(student, torch.tensor([0.5, 0.5]).log(), **GOLDEN)
    assert_close(teacher, torch.tensor([0.15, 0.85]).log(), **GOLDEN)


def test_a_support_that_holds_everything_has_a_finite_tail():
    logits = WIDE_STUDENT.clone().requires_grad_()
    student, teacher = top_k_with_tail(logits.log_softmax(-1), WIDE_TEACHER, k=4)
    loss = reverse_kl(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0.118316, abs=1e-4)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("divergence", [forward_kl, reverse_kl])
def test_a_small_tail_does_not_cancel(divergence):
    """A mass of 1e-6 outside the support, seven tokens of it; 1 minus the mass inside has one digit of that left."""
    tail = torch.linspace(1.0, 2.0, 7, dtype=torch.float64)
    student = torch.cat([torch.tensor([1 - 1e-6], dtype=torch.float64), 1e-6 * tail / tail.sum()]).log()
    teacher = torch.cat([torch.tensor([1 - 1e-2], dtype=torch.float64), 1e-2 * tail.flip(0) / tail.sum()]).log()

    def tailed(student, teacher):
        return divergence(*top_k_with_tail(student, teacher, k=1))

    exact, found = tailed(student, teacher), tailed(student.float(), teacher.float())
    assert_close(found.double(), exact, rtol=1e-5, atol=0)
    gradients = [
        gradient_on_logits(tailed, student.to(kind), teacher.to(kind)).double()
        for kind in (torch.float32, torch.float64)
    ]
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[1].norm()


def test_what_the_teacher_knows_is_a_gap_that_no_student_closes():
    """RLSD, Theorem 1: L_OPSD = L* + I(Y; R); per reference the gradient may point away from that of L*."""
    references = torch.tensor([[0.8, 0.2], [0.4, 0.6]]).log()
    mean = references.exp().mean(0).log()
    student = torch.tensor([0.5, 0.5]).log()
    loss = forward_kl(student.expand(2, 2), references).mean()
    information = forward_kl(mean.expand(2, 2), references).mean()
    assert loss.item() == pytest.approx(0.106440, abs=1e-5)
    assert forward_kl(student, mean).item() == pytest.approx(0.020136, abs=1e-5)
    assert information.item() == pytest.approx(0.086305, abs=1e-5)
    assert (loss - forward_kl(student, mean) - information).item() == pytest.approx(0, abs=1e-7)
    each = [gradient_on_logits(forward_kl, student, reference) for reference in references]
    marginal = gradient_on_logits(forward_kl, student, mean)
    assert_close(marginal, torch.tensor([-0.1, 0.1]), **GOLDEN)
    assert_close(each[0], torch.tensor([-0.3, 0.3]), **GOLDEN)
    assert_close(each[1], torch.tensor([0.1, -0.1]), **GOLDEN)
    deviations = torch.stack(each) - marginal
    assert_close(deviations.mean(0), torch.zeros(2), **GOLDEN)
    assert deviations.square().sum(1).mean().item() == pytest.approx(0.08, abs=1e-5)


def test_the_pointwise_clip_reverses_the_gradient():
    clipped = gradient_on_logits(pointwise_clipped_forward_kl, kappa=0.05)
    assert_close(gradient_on_logits(forward_kl), torch.tensor([-0.2, 0.1, 0.1]), **GOLDEN)
    assert_close(clipped, torch.tensor([0.15, -0.11, -0.04]), **GOLDEN)


def test_the_clip_of_a_whole_token_keeps_the_direction():
    bounded = gradient_on_logits(lambda student, teacher: clip_token_loss(forward_kl(student, teacher), 0.05))
    assert_close(bounded, torch.tensor([-0.2, 0.1, 0.1]) * 0.05 / 0.085123, **GOLDEN)


def test_clip_token_loss_bounds_the_value_and_touches_nothing_below():
    loss = torch.tensor([0.0, 0.02, 0.05, 0.3, -1.0])
    assert_close(clip_token_loss(loss, 0.05), torch.tensor([0.0, 0.02, 0.05, 0.05, -1.0]))


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_ends_of_jsd_are_its_scaled_limits(beta):
    student, teacher = STUDENT.double(), TEACHER.double()
    near = abs(beta - 1e-6)
    limit = generalized_jsd(student, teacher, beta=near) / (near * (1 - near))
    assert_close(limit, generalized_jsd(student, teacher, beta=beta), rtol=1e-4, atol=0)


@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_jsd_refuses_a_beta_out_of_range(beta):
    with pytest.raises(ValueError, match="beta"):
        generalized_jsd(STUDENT, TEACHER, beta=beta)


EVERY = [
    (forward_kl, {}),
    (reverse_kl, {}),
    (generalized_jsd, {"beta": 0.5}),
    (generalized_jsd, {"beta": 0.05}),
    (pointwise_clipped_forward_kl, {"kappa": 0.05}),
]


@pytest.mark.parametrize(("divergence", "options"), EVERY)
def test_equal_distributions_are_at_distance_zero(divergence, options):
    assert divergence(STUDENT, STUDENT, **options).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("divergence", "options"), EVERY)
def test_numeric_gradient(divergence, options):
    generator = torch.Generator().manual_seed(1)
    logits, teacher = torch.randn(2, 2, 3, dtype=torch.float64, generator=generator)

    def of_logits(values):
        return divergence(values.log_softmax(-1), teacher.log_softmax(-1), **options)

    assert torch.autograd.gradcheck(of_logits, logits.requires_grad_())


@pytest.mark.parametrize("tail", [True, False])
def test_numeric_gradient_of_the_top_k(tail):
    generator = torch.Generator().manual_seed(2)
    logits, teacher = torch.randn(2, 2, 4, dtype=torch.float64, generator=generator)

    def of_logits(values):
        return reverse_kl(*top_k_with_tail(values.log_softmax(-1), teacher.log_softmax(-1), k=2, tail=tail))

    assert torch.autograd.gradcheck(of_logits, logits.requires_grad_())


@pytest.mark.parametrize(("divergence", "options"), EVERY)
def test_the_teacher_is_a_constant(divergence, options):
    teacher = TEACHER.clone().requires_grad_()
    student = STUDENT.clone().requires_grad_()
    divergence(student, teacher, **options).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_the_teacher_of_the_top_k_is_a_constant():
    _, teacher = top_k_with_tail(STUDENT, TEACHER.clone().requires_grad_(), k=2)
    assert not teacher.requires_grad


@pytest.mark.parametrize(("divergence", "options"), EVERY)
def test_a_token_both_exclude_contributes_nothing(divergence, options):
    """Logits of -inf, as padded vocabularies have them: value and gradient are those of the vocabulary without it."""
    excluded = torch.tensor([-math.inf])
    student, teacher = torch.cat([STUDENT, excluded]), torch.cat([TEACHER, excluded])
    assert_close(divergence(student, teacher, **options), divergence(STUDENT, TEACHER, **options))
    grad = gradient_on_logits(divergence, student, teacher, **options)
    assert_close(grad, torch.cat([gradient_on_logits(divergence, **options), torch.zeros(1)]))


def test_a_token_one_side_excludes():
    certain = torch.tensor([1.0, 0.0]).log()
    even = torch.tensor([0.5, 0.5]).log()
    assert forward_kl(even, certain).item() == pytest.approx(math.log(2))
    assert reverse_kl(certain, even).item() == pytest.approx(math.log(2))
    assert forward_kl(certain, even).item() == math.inf
    assert generalized_jsd(certain, certain.flip(0), beta=0.5).item() == pytest.approx(math.log(2))
    for student, teacher in ((certain, even), (even, certain)):
        assert gradient_on_logits(generalized_jsd, student, teacher, beta=0.5).isfinite().all()


def test_leading_dimensions_pass_through():
    student, teacher = STUDENT.expand(2, 4, 3), TEACHER.expand(2, 4, 3)
    assert forward_kl(student, teacher).shape == (2, 4)
    assert [side.shape for side in top_k_with_tail(student, teacher, k=2)] == [(2, 4, 3), (2, 4, 3)]


def test_sampled_token_clip_bounds_the_gradient_and_keeps_its_direction() -> None:
    student = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    teacher = torch.tensor([-0.9, -4.0, -0.2])
    sampled_token_loss(student, teacher, kappa=0.5).sum().backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([-0.1, 0.5, -0.5]))


# -- estimates at sampled tokens --------------------------------------------------------------------------------------

ESTIMATORS = ("k1", "k2", "k3")


def row(values):
    return torch.tensor([values], dtype=torch.float32)


@pytest.mark.parametrize(("kind", "expected"), [("k1", 0.3), ("k2", 0.045), ("k3", 0.040818)])
def test_kl_estimates_by_hand(kind, expected):
    estimate = kl_estimate(row([-1.0]), row([-1.3]), torch.tensor([[True]]), kind)
    assert estimate.item() == pytest.approx(expected, abs=1e-5)


def test_the_kl_of_an_engine_to_the_trainer_is_the_mean_of_its_log_ratios():
    old, sampled = row([-0.9, -0.8, -0.9]), row([-1.0, -2.0, -0.5])
    estimate = kl_estimate(sampled, old, torch.ones(1, 3, dtype=torch.bool), "k1")
    assert estimate.mean().item() == pytest.approx(-0.3, abs=1e-5)


@pytest.mark.parametrize("kind", ESTIMATORS)
@settings(deadline=None, max_examples=20, database=None)
@given(
    st.lists(st.floats(-8, 0, width=32), min_size=3, max_size=3),
    st.lists(st.floats(-8, 0, width=32), min_size=3, max_size=3),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e30]),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e30]),
)
def test_padding_adds_nothing_to_a_kl_even_when_it_is_not_a_number(kind, logp, reference, junk, other_junk):
    alone, padded = row(logp).requires_grad_(), row([*logp, junk]).requires_grad_()
    mask = torch.tensor([[True, True, True, False]])
    short = kl_estimate(alone, row(reference), mask[:, :3], kind)
    long = kl_estimate(padded, row([*reference, other_junk]), mask, kind)
    assert torch.equal(long[:, :3], short)
    assert long[0, 3] == 0
    short.sum().backward()
    long.sum().backward()
    assert torch.equal(padded.grad, torch.cat([alone.grad, torch.zeros(1, 1)], dim=1))


# -- the teacher's top k ----------------------------------------------------------------------------------------------

HDPO_TEACHER = [0.4, 0.4, 0.05, 0.15]
HDPO_STUDENT = [0.5, 0.25, 0.15, 0.10]


def hdpo(k, tail=True):
    student, teacher = (torch.tensor(side).log() for side in (HDPO_STUDENT, HDPO_TEACHER))
    return generalized_jsd(*teacher_top_k(student, teacher, k=k, tail=tail), beta=0.5)


def test_the_jsd_on_the_teachers_top_k_is_exact_outside_it():
    assert_close(hdpo(2), torch.tensor(0.107881), rtol=0, atol=1e-6)
    assert_close(hdpo(4), torch.tensor(0.027114), rtol=0, atol=1e-6)


def test_outside_the_support_the_jsd_is_half_of_log_2_times_the_students_mass():
    student, teacher = torch.tensor(HDPO_STUDENT), torch.tensor([0.5, 0.5, 0.0, 0.0])
    mixture = (student + teacher) / 2
    whole = (
        0.5 * (torch.special.xlogy(teacher, teacher / mixture) + torch.special.xlogy(student, student / mixture)).sum()
    )
    assert_close(hdpo(2), whole)
    outside = 0.5 * student[2:].sum() * math.log(2)
    inside = 0.5 * (teacher * (teacher / mixture).log() + student * (student / mixture).log())[:2].sum()
    assert_close(hdpo(2), inside + outside)


def test_without_the_tail_both_are_renormalised_on_the_teachers_top_k():
    student, teacher = (torch.tensor(side).log() for side in (HDPO_STUDENT, HDPO_TEACHER))
    for side in teacher_top_k(student, teacher, k=2, tail=False):
        assert_close(side.exp().sum(), torch.tensor(1.0))
    shares = teacher_top_k(student, teacher, k=2, tail=False)[0].exp().sort().values
    assert_close(shares, torch.tensor([1 / 3, 2 / 3]))
