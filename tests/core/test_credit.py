import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from rlsd_cli.core.credit import balance_target, check_credit, self_distilled_credit, uniform_credit
from rlsd_cli.core.divergences import reverse_kl
from rlsd_cli.core.ratios import token_ratio
from rlsd_cli.core.surrogates import clipped_surrogate, mean_logp_regression

QUICK = settings(deadline=None, max_examples=60, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}
STUDENT = [-0.10, -0.50, -1.20, -2.00]
TEACHER = [-0.05, -0.80, -1.20, -0.50]
WON = [1.538453, 1.35, 1.5, 1.65]
LOST = [-0.487807, -0.55, -0.5, -0.45]
UNBOUNDED = 1e9


def row(values):
    return torch.tensor([values], dtype=torch.float32)


def credit_of(advantage, student, teacher, *, mask=None, mix=0.5, clip=0.2, weighted=None):
    mask = torch.ones(1, len(student), dtype=torch.bool) if mask is None else torch.tensor([mask])
    weighted = None if weighted is None else torch.tensor([weighted])
    result = self_distilled_credit(
        torch.tensor([advantage]), row(student), row(teacher), mask, mix=mix, clip=clip, weighted=weighted
    )
    check_credit(result, torch.tensor([advantage]), mask, mix=mix, clip=clip)
    return result


def weight_of(*arguments, **options):
    return credit_of(*arguments, **options).diagnostics["weight"]


@pytest.mark.parametrize(
    ("advantage", "raw", "clipped", "credit"),
    [
        (1.5, [1.051271, 0.740818, 1.0, 4.481689], [1.051271, 0.8, 1.0, 1.2], WON),
        (-0.5, [0.951229, 1.349859, 1.0, 0.22313], [0.951229, 1.2, 1.0, 0.8], LOST),
    ],
)
def test_the_credit_is_the_advantage_times_the_mixed_clipped_weight(advantage, raw, clipped, credit):
    result = credit_of(advantage, STUDENT, TEACHER)
    assert_close(weight_of(advantage, STUDENT, TEACHER, clip=UNBOUNDED), row(raw), **GOLDEN)
    assert_close(result.diagnostics["weight"], row(clipped), **GOLDEN)
    assert_close(result.value, row(credit), **GOLDEN)
    assert result.diagnostics["clip_low"].float().mean() == 0.25
    assert result.diagnostics["clip_high"].float().mean() == 0.25


@pytest.mark.parametrize(
    ("advantage", "credit"), [(1.5, [1.576907, 1.2, 1.5, 1.8]), (-0.5, [-0.475615, -0.6, -0.5, -0.4])]
)
def test_at_mix_1_the_teacher_sets_the_whole_magnitude(advantage, credit):
    assert_close(credit_of(advantage, STUDENT, TEACHER, mix=1.0).value, row(credit), **GOLDEN)


def test_at_mix_0_the_teacher_has_no_say():
    assert credit_of(1.5, STUDENT, TEACHER, mix=0.0).value.tolist() == [[1.5] * 4]


def test_the_clip_has_two_sides_which_equation_16_of_the_paper_has_not():
    blamed = credit_of(-0.5, [0.0], [-math.log(10)], mix=1.0).value
    assert_close(blamed, row([-0.6]), **GOLDEN)
    praised = credit_of(1.5, STUDENT, TEACHER, mix=1.0).value
    equation_16 = row([1.576907, 1.111227, 1.5, 1.8])
    assert (praised - equation_16).abs().max() > 0.08


def test_no_gap_leaves_the_advantage():
    assert credit_of(2.0, [-1.0, -3.0], [-1.0, -3.0]).value.tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("extreme", [50.0, -50.0, math.inf, -math.inf, math.nan])
def test_no_advantage_earns_exactly_nothing(extreme):
    result = credit_of(0.0, [0.0, -1.0], [extreme, -2.0])
    assert result.value.tolist() == [[0.0, 0.0]]
    assert not (result.diagnostics["clip_low"] | result.diagnostics["clip_high"]).any()


@pytest.mark.parametrize(
    ("advantage", "gap", "expected"),
    [
        (1.0, 50, 1.1),
        (1.0, -50, 0.9),
        (-1.0, 50, -0.9),
        (-1.0, -50, -1.1),
        (1.0, math.inf, 1.1),
        (-1.0, math.inf, -0.9),
    ],
)
def test_a_gap_beyond_the_clip_saturates(advantage, gap, expected):
    assert_close(credit_of(advantage, [0.0], [gap]).value, row([expected]), **GOLDEN)


def test_the_exponent_is_held_to_20():
    assert_close(weight_of(1.0, [0.0, 0.0], [100.0, math.inf], clip=1e30), row([math.exp(20)] * 2))


@pytest.mark.parametrize(("edge", "side"), [(0.182322, "clip_high"), (-0.223144, "clip_low")])
def test_the_clip_begins_at_the_logarithm_of_its_bounds(edge, side):
    inside, outside = edge * (1 - 1e-4), edge * (1 + 1e-4)
    result = credit_of(1.0, [0.0, 0.0], [inside, outside])
    assert result.diagnostics[side].tolist() == [[False, True]]


def test_padding_earns_nothing():
    result = credit_of(1.0, [0.0, 0.0], [50.0, 50.0], mask=[True, False])
    assert_close(result.value, row([1.1, 0.0]), **GOLDEN)
    assert result.diagnostics["clip_high"].tolist() == [[True, False]]


def test_weights_are_how_much_each_token_tells_of_the_reference():
    """RLSD, Theorem 4: w = P(r | x, y_<=t) / P(r | x, y_<t), and their product is posterior over prior."""
    prior = {"a": 0.3, "b": 0.7}
    likelihoods = [{"a": 0.9, "b": 0.2}, {"a": 0.5, "b": 0.25}]
    belief, student = dict(prior), []
    for likelihood in likelihoods:
        student.append(sum(belief[r] * likelihood[r] for r in belief))
        belief = {r: belief[r] * likelihood[r] / student[-1] for r in belief}
    logs = [[math.log(p) for p in column] for column in (student, [likelihood["a"] for likelihood in likelihoods])]
    weight = weight_of(1.0, *logs, mix=1.0, clip=UNBOUNDED)
    assert_close(row(student), row([0.41, 0.414634]), **GOLDEN)
    assert_close(weight, row([2.195122, 1.205882]), **GOLDEN)
    assert weight.prod().item() == pytest.approx(2.647059, abs=1e-5)
    assert weight.prod().item() == pytest.approx(belief["a"] / prior["a"], abs=1e-5)


def test_the_unclipped_weight_has_mean_1_over_the_students_tokens_only_for_praise():
    student, teacher = row([0.5, 0.3, 0.2]), row([0.7, 0.2, 0.1])
    won = weight_of(1.0, student.log()[0].tolist(), teacher.log()[0].tolist(), clip=UNBOUNDED)
    lost = weight_of(-1.0, student.log()[0].tolist(), teacher.log()[0].tolist(), clip=UNBOUNDED)
    assert_close(won, row([1.4, 0.666667, 0.5]), **GOLDEN)
    assert_close(lost, row([0.714286, 1.5, 2.0]), **GOLDEN)
    assert (student * won).sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (student * lost).sum().item() == pytest.approx(1.207143, abs=1e-5)
    expected_gap = (student * (teacher / student).log()).sum().item()
    assert expected_gap == pytest.approx(-0.092033, abs=1e-5)
    assert expected_gap == pytest.approx(-reverse_kl(student.log(), teacher.log()).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("advantage", "student", "teacher", "expected"),
    [
        (1.0, [0.5, 0.3, 0.2], [0.7, 0.2, 0.1], 1.0),
        (-1.0, [0.5, 0.3, 0.2], [0.7, 0.2, 0.1], 1.0),
        (1.0, [0.9, 0.1], [0.99, 0.01], 1.07),
        (-1.0, [0.9, 0.1], [0.99, 0.01], 0.938182),
    ],
)
def test_the_clip_moves_the_mean_weight_from_1(advantage, student, teacher, expected):
    logs = ([math.log(p) for p in distribution] for distribution in (student, teacher))
    weight = weight_of(advantage, *logs)
    assert (row(student) * weight).sum().item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("advantage", "slope"), [(1.5, 1.538453), (-0.5, -0.487807)])
def test_the_gap_carries_no_gradient(advantage, slope):
    student = row([-0.10]).requires_grad_()
    teacher = row([-0.05]).requires_grad_()
    mask = torch.tensor([[True]])
    credit = self_distilled_credit(torch.tensor([advantage]), student, teacher, mask, mix=0.5, clip=0.2).value
    assert not credit.requires_grad
    (-clipped_surrogate(token_ratio(student, student.detach(), mask), credit, mask).loss).sum().backward()
    assert_close(student.grad, row([slope]), **GOLDEN)
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("weights", "second", "expected"),
    [
        ([1.0, 1.0], [-2.0, 1.0], [-1.0, 1.0]),
        ([3.0, 1.0], [-2.0, 1.0], [1.0, 1.0]),
        (None, [-2.0, 1.0], [-0.7, 0.9]),
        ([1.0, 1.0], [-1.05, 1.0], [-0.05, 1.0]),
        (None, [-1.05, 1.0], [0.155, 0.9]),
    ],
)
def test_sign_preservation_is_not_direction_preservation(weights, second, expected):
    """Per-token gradients [1, 0] and `second`; None takes RLSD's own weights, 1.1 and 0.9, from a gap of ±50."""
    parameters = torch.zeros(2, requires_grad=True)
    logp = (torch.tensor([[1.0, 0.0], second]) @ parameters)[None]
    credit = credit_of(1.0, [0.0, 0.0], [50.0, -50.0]).value if weights is None else row(weights)
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss = clipped_surrogate(token_ratio(logp, logp.detach(), mask), credit, mask).loss
    (-loss).sum().backward()
    assert_close(parameters.grad, torch.tensor(expected), **GOLDEN)


def test_a_stale_teacher_speaks_without_information():
    live = credit_of(1.0, [-1.0], [-1.0])
    stale = credit_of(1.0, [-1.0], [-1.3])
    assert live.diagnostics["weight"].tolist() == [[1.0]]
    assert_close(stale.diagnostics["weight"], row([0.8]), **GOLDEN)
    assert_close(weight_of(1.0, [-1.0], [-1.3], clip=UNBOUNDED), row([0.740818]), **GOLDEN)


def test_tokens_that_are_not_weighted_keep_the_advantage():
    result = credit_of(1.5, STUDENT, TEACHER, weighted=[True, True, False, False])
    assert_close(result.value, row([1.538453, 1.35, 1.5, 1.5]), **GOLDEN)
    assert result.diagnostics["clip_low"].tolist() == [[False, True, False, False]]
    assert not result.diagnostics["clip_high"].any()


def test_rollouts_that_are_not_weighted_keep_the_advantage():
    advantage = torch.tensor([1.5, -0.5])
    student, teacher = row(STUDENT).expand(2, 4), row(TEACHER).expand(2, 4)
    mask = torch.ones(2, 4, dtype=torch.bool)
    weighted = (advantage < 0)[:, None].expand(2, 4)
    result = self_distilled_credit(advantage, student, teacher, mask, mix=0.5, clip=0.2, weighted=weighted)
    assert result.value[0].tolist() == [1.5] * 4
    assert_close(result.value[1:], row(LOST), **GOLDEN)


def test_uniform_credit_is_the_advantage_at_every_token_of_the_response():
    mask = torch.tensor([[True, True, False]])
    result = uniform_credit(torch.tensor([-0.25]), mask)
    assert result.value.tolist() == [[-0.25, -0.25, 0.0]]
    assert result.diagnostics == {}


LOGPS = st.lists(st.floats(-30, 0, width=32), min_size=4, max_size=4)
ADVANTAGES = st.floats(-5, 5, width=32)
SHARES = st.floats(0, 1)


@QUICK
@given(ADVANTAGES, LOGPS, LOGPS, st.sampled_from([(0.0, 0.2), (0.5, 0.0), (0.3, 0.0), (0.0, 0.0)]))
def test_without_a_teacher_it_is_uniform_credit_bit_for_bit(advantage, student, teacher, mix_and_clip):
    mix, clip = mix_and_clip
    mask = torch.tensor([[True, True, True, False]])
    teacher = [math.nan, *teacher[1:]]
    result = self_distilled_credit(torch.tensor([advantage]), row(student), row(teacher), mask, mix=mix, clip=clip)
    assert torch.equal(result.value, uniform_credit(torch.tensor([advantage]), mask).value)


@QUICK
@given(ADVANTAGES, LOGPS, SHARES.filter(bool), SHARES.filter(bool))
def test_a_teacher_that_agrees_leaves_the_advantage_bit_for_bit(advantage, student, mix, clip):
    result = credit_of(advantage, student, student, mix=mix, clip=clip)
    assert torch.equal(result.value, torch.full((1, 4), advantage))


@QUICK
@given(ADVANTAGES, LOGPS, LOGPS, SHARES, SHARES)
def test_the_sign_is_the_verifiers_and_the_band_holds(advantage, student, teacher, mix, clip):
    credit_of(advantage, student, teacher, mix=mix, clip=clip)


@QUICK
@given(ADVANTAGES, LOGPS, LOGPS)
def test_swapping_both_views_and_the_sign_leaves_the_weight(advantage, student, teacher):
    here = weight_of(advantage, student, teacher)
    there = weight_of(-advantage, teacher, student)
    assert torch.equal(here, there)


@QUICK
@given(ADVANTAGES, LOGPS, LOGPS, st.sampled_from([math.nan, math.inf, -math.inf, 0.0]), st.integers(1, 5))
def test_padding_and_packing_are_inert(advantage, student, teacher, junk, width):
    alone = credit_of(advantage, student, teacher)
    padded_student, padded_teacher = row(student + [junk] * width), row(teacher + [-1.0] * width)
    mask = torch.tensor([[True] * 4 + [False] * width]).repeat(2, 1)
    packed = self_distilled_credit(
        torch.tensor([advantage, 1.0]),
        padded_student.repeat(2, 1),
        padded_teacher.repeat(2, 1),
        mask,
        mix=0.5,
        clip=0.2,
    )
    check_credit(packed, torch.tensor([advantage, 1.0]), mask, mix=0.5, clip=0.2)
    assert torch.equal(alone.value[0], packed.value[0, :4])
    assert not packed.value[:, 4:].any()
    assert alone.diagnostics.keys() == packed.diagnostics.keys()
    for name, diagnostic in alone.diagnostics.items():
        assert torch.equal(diagnostic[0], packed.diagnostics[name][0, :4])


@QUICK
@given(st.sampled_from([2.0, -0.5]), LOGPS, st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))
def test_shifting_the_teacher_scales_the_unclipped_weight(advantage, student, gap, shift):
    teacher = [logp + gap for logp in student]
    shifted = [logp + shift for logp in teacher]
    before = weight_of(advantage, student, teacher, clip=UNBOUNDED)
    after = weight_of(advantage, student, shifted, clip=UNBOUNDED)
    assert_close(after, before * math.exp(math.copysign(1, advantage) * shift), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("token", "value", "message"),
    [
        ((1, 2), -0.5, "rollout 1, token 2.*opposite sign"),
        ((1, 0), 1.2, "rollout 1, token 0.*leaves"),
        ((1, 1), 0.8, "rollout 1, token 1.*leaves"),
        ((0, 1), 0.1, "rollout 0, token 1.*leaves"),
        ((1, 1), math.nan, "rollout 1, token 1.*not finite"),
        ((1, 3), 0.1, "rollout 1, token 3.*outside the mask"),
        ((0, 3), math.nan, "rollout 0, token 3.*outside the mask"),
    ],
)
def test_check_credit_names_the_broken_token(token, value, message):
    advantage = torch.tensor([0.0, 1.0])
    mask = torch.tensor([[True, True, True, False]] * 2)
    broken = uniform_credit(advantage, mask)
    check_credit(broken, advantage, mask, mix=0.5, clip=0.2)
    broken.value[token] = value
    with pytest.raises(ValueError, match=message):
        check_credit(broken, advantage, mask, mix=0.5, clip=0.2)


def test_a_nan_gap_is_reported_not_forgiven():
    with pytest.raises(ValueError, match=r"rollout 0, token 1.*not finite"):
        credit_of(1.0, [-1.0, -1.0], [-1.0, math.nan])


def test_a_nan_gap_that_is_not_reweighted_does_no_harm():
    result = credit_of(1.0, [-1.0, -1.0], [-1.0, math.nan], weighted=[True, False])
    assert result.value.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(("mix", "clip"), [(-0.1, 0.2), (1.1, 0.2), (0.5, -0.1), (0.5, math.inf), (math.nan, 0.2)])
def test_out_of_range_is_refused(mix, clip):
    with pytest.raises(ValueError, match="must"):
        credit_of(1.0, STUDENT, TEACHER, mix=mix, clip=clip)


def test_shapes_are_checked_here():
    with pytest.raises(TypeCheckError):
        uniform_credit(torch.ones(3), torch.ones(2, 4, dtype=torch.bool))


# -- a flow that balances within its group ----------------------------------------------------------------------------


def flow(old, initial, teacher, advantage, group, **options):
    settings = {"teacher_weight": 1.0, "reward_weight": 15.0, "gap_clip": 4.0} | options
    old, initial, teacher = (torch.tensor(side)[:, None] for side in (old, initial, teacher))
    mask = torch.ones_like(old, dtype=torch.bool)
    return balance_target(
        torch.tensor(advantage), old, teacher, initial, mask, torch.tensor(group), shown=mask, **settings
    )


FLOW = {"old": [-1.0, -1.2], "initial": [-1.1, -1.3], "teacher": [-0.9, -1.2], "advantage": [0.707107, -0.707107]}


def test_targets_are_those_of_flowsd():
    target = flow(**FLOW, group=[7, 7])
    assert_close(target, torch.tensor([9.756602, -11.956602]), **GOLDEN)
    logp = torch.tensor([[-1.0], [-1.2]], requires_grad=True)
    mask = torch.ones(2, 1, dtype=torch.bool)
    loss = mean_logp_regression(logp, target, mask).sum() / 2
    loss.backward()
    assert_close(loss.detach(), torch.tensor(115.704481), rtol=1e-6, atol=0)
    assert_close(logp.grad[:, 0], torch.tensor([-10.756602, 10.756602]), **GOLDEN)


def test_each_group_balances_by_itself():
    twice = {name: side + side for name, side in FLOW.items()}
    assert_close(flow(**twice, group=[1, 1, 2, 2]), flow(**FLOW, group=[1, 1]).repeat(2))
    other = flow(**{**twice, "old": [-1.0, -1.2, -9.0, -9.2]}, group=[1, 1, 2, 2])
    assert_close(other[:2], flow(**FLOW, group=[1, 1]))


def test_a_response_is_drawn_by_its_mean_whatever_its_length():
    long = torch.tensor([[-1.0, -3.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    loss = mean_logp_regression(long, torch.tensor([0.0]), mask)
    assert_close(loss, torch.tensor([[4.0, 4.0, 0.0]]))
    (loss.sum() / 2).backward()
    assert_close(long.grad, torch.tensor([[-2.0, -2.0, 0.0]]))


def test_a_token_that_the_teacher_was_shown_nothing_for_has_no_gap():
    mask = torch.ones(1, 2, dtype=torch.bool)
    target = balance_target(
        torch.ones(1),
        torch.zeros(1, 2),
        torch.tensor([[3.0, 9.0]]),
        torch.zeros(1, 2),
        mask,
        torch.zeros(1, dtype=torch.long),
        shown=torch.tensor([[True, False]]),
        teacher_weight=1.0,
        reward_weight=0.0,
        gap_clip=2.0,
    )
    assert target.item() == 0  # a group of one balances where it is
