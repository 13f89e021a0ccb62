"""RLRT: the numbers of its formula, which rollouts it is about, and where it equals RLSD and GRPO."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from rlsd_cli.config.schema import Config
from rlsd_cli.core.credit import self_distilled_credit
from rlsd_cli.core.evidence import Credit, Evidence, Reading
from rlsd_cli.core.ratios import token_ratio
from rlsd_cli.core.surrogates import clipped_surrogate
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.methods.base import STUDENT, Attempt
from rlsd_cli.methods.rlrt import METHOD, Settings, credit
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import after, assert_equal, begin

GOLDEN = {"rtol": 0, "atol": 1e-5}
STUDENT_LOGP = torch.tensor([[-0.10, -0.50, -1.20, -2.00]])
TEACHER_LOGP = torch.tensor([[-0.05, -0.80, -1.20, -0.50]])
(VIEW,) = METHOD.views.values()


def credit_of(advantage: float, settings: Settings, *, shown: bool = True, student: Tensor = STUDENT_LOGP) -> Credit:
    """The credit of one response of four tokens, which the teacher may have read."""
    logp, shape = student.detach(), (1, 1, 4)
    reading = Reading(
        TEACHER_LOGP[:, None] if shown else torch.zeros(shape), torch.zeros(shape), torch.full(shape, shown)
    )
    mask, scalar = torch.ones(1, 4, dtype=torch.bool), torch.tensor([advantage])
    zeros = torch.zeros_like(logp)
    evidence = Evidence(mask, scalar, scalar, logp, logp, logp, student, {"hint": reading}, scalar.long(), zeros)
    return credit(evidence, settings, step=1)


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "expected"), [(0.2, [1.463422, 1.65, 1.5, 1.35]), (1.0, [1.463422, 1.762394, 1.5, 0.917348])]
)
def test_the_credit_is_the_advantage_times_the_mixed_clipped_ratio_of_student_to_teacher(
    clip: float, expected: list[float]
) -> None:
    """weight = S / T: 0.951229, 1.349859, 1 and 0.223130."""
    assert_close(credit_of(1.5, Settings(clip=clip)).value, torch.tensor([expected]), **GOLDEN)


def test_a_rollout_that_the_teacher_did_not_read_keeps_its_advantage_bit_for_bit() -> None:
    assert credit_of(-0.5, Settings(), shown=False).value.tolist() == [[-0.5] * 4]


def test_lambda_is_half_at_every_step_and_the_clip_that_of_instruct_models() -> None:
    assert (Settings().mix, Settings().clip) == (0.5, 0.5)
    assert [METHOD.schedules["lambda"](Settings(), step) for step in (1, 50, 10_000)] == [0.5] * 3


# -- which rollouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "advantage", "read"),
    [
        pytest.param(True, 1.5, True, id="correct"),
        pytest.param(True, 0.0, False, id="all-correct"),
        pytest.param(True, -0.5, False, id="correct-but-cut"),
        pytest.param(False, -0.5, False, id="wrong"),
        pytest.param(False, 0.5, False, id="wrong-with-a-part-of-the-score"),
        pytest.param(None, 0.5, False, id="no-verdict"),
    ],
)
def test_only_correct_rollouts_above_their_group_are_read(correct: bool | None, advantage: float, read: bool) -> None:
    attempt = Attempt(0, STUDENT, "#5", 1.0, correct, advantage, False, None)
    assert VIEW.where(attempt, (attempt,), Settings()) is read


@pytest.mark.parametrize("off", [Settings(mix=0.0), Settings(clip=0.0)], ids=["mix", "clip"])
def test_no_teacher_is_asked_where_its_word_could_not_count(off: Settings) -> None:
    assert VIEW.when(Settings(), 1)
    assert not VIEW.when(off, 1)


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.2, 0.5])
def test_a_correct_rollout_has_the_weights_that_rlsd_gives_to_a_failed_one(clip: float) -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    failed = self_distilled_credit(torch.tensor([-1.0]), STUDENT_LOGP, TEACHER_LOGP, mask, mix=0.5, clip=clip)
    found = credit_of(1.0, Settings(clip=clip))
    assert_close(found.value, -failed.value, rtol=0, atol=0)
    assert torch.equal(found.diagnostics["weight"], failed.diagnostics["weight"])


def test_tokens_that_surprise_the_teacher_are_pushed_further_up_and_nothing_flows_through_the_gap() -> None:
    """The gradient at the student's log-probabilities is minus the credit."""
    student = STUDENT_LOGP.clone().requires_grad_()
    given = credit_of(1.5, Settings(clip=0.2), student=student)
    mask = torch.ones(1, 4, dtype=torch.bool)
    clipped_surrogate(token_ratio(student, student.detach(), mask), given.value, mask).loss.sum().backward()
    assert student.grad is not None
    assert_close(student.grad, torch.tensor([[-1.463422, -1.65, -1.5, -1.35]]), **GOLDEN)


# -- a step -----------------------------------------------------------------------------------------------------------

Begin = Callable[..., Trainer]


@pytest.fixture(scope="module")
def start(configure: Callable[..., Config]) -> Iterator[Begin]:
    """`start(overrides)`: a trainer at its first step."""
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(configure()))

        def make(**overrides: Any) -> Trainer:
            keys = {key.replace("__", "."): value for key, value in overrides.items()}
            return begin(configure({"method": "rlrt", "optim.lr": 3e-4} | keys), pool)

        yield make


@pytest.mark.parametrize("off", [{"credit__mix": 0.0}, {"credit__clip": 0.0}], ids=["mix", "clip"])
def test_without_its_teacher_it_is_rlvr_bit_for_bit(start: Begin, off: dict[str, Any]) -> None:
    baseline = after(start(method="rlvr"), (1, 2))
    assert_equal(after(start(**off), (1, 2)), baseline, exactly=True)
    reversed_ = after(start(), (1, 2))
    assert any(not torch.equal(reversed_[name], value) for name, value in baseline.items()), "and it has an effect"


def test_in_a_step_tokens_of_correct_rollouts_differ_as_the_gap_says_and_those_of_wrong_ones_do_not(
    start: Begin,
) -> None:
    _, records = start(samples_per_prompt=8).step(1)
    trained = [record for record in records if record.credit is not None]
    wrong = [record for record in trained if record.advantage < 0]
    correct = [record for record in trained if record.advantage > 0]
    assert len(wrong) > 1
    assert len(correct) > 1
    for record in wrong:
        assert record.teacher_logp is None
        assert len(set(record.credit)) == 1
        assert record.credit[0] == pytest.approx(record.advantage)
    for record in correct:
        gap = torch.tensor(record.teacher_logp) - torch.tensor(record.student_logp)
        expected = record.advantage * (0.5 + 0.5 * (-gap).exp().clamp(0.5, 1.5))
        assert_close(torch.tensor(record.credit), expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 1e-4
