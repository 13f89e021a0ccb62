"""Every mean of a step has the denominator that docs/runs.md gives it; worked out by hand on a batch of five tokens."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.core.evidence import Credit, Reading
from rlsd_cli.data.problems import Problem
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.scoring import TokenScores
from rlsd_cli.rollout.records import Group, Judged, Prompt, Rollout
from rlsd_cli.training import metrics as metrics_module
from rlsd_cli.training.assemble import Columns
from rlsd_cli.training.judging import advantages_of
from rlsd_cli.training.losses import MicroBatch, TokenLoss
from rlsd_cli.training.metrics import Figures, TokenTotals, left_out_metrics, rollout_metrics, update_metrics
from rlsd_cli.training.reading import Read, Taught
from rlsd_verifiers import Outcome, Verdict

MASK = [[1, 1, 1], [1, 1, 0]]
SHOWN = [[1, 1, 0], [0, 0, 0]]


def flags(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def numbers(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def totals_of(shown: list[list[int]] = SHOWN, *, reads: bool = True, **changes: Any) -> TokenTotals:
    ids = torch.zeros(2, 3, dtype=torch.long)
    nothing = torch.zeros(2, 3)
    columns = Columns(
        mask=flags(MASK),
        advantage=torch.ones(2),
        score=torch.ones(2),
        sampled_logp=numbers([-1.0, -1.0, -1.0], [-9.0, -9.0, -9.0]),
        sampled=flags([[1, 0]])[0],
        old_logp=numbers([-1.5, -1.0, -1.1], [-1.0, -1.0, 0.0]),
        readings={"hint": Reading(nothing[:, None], nothing[:, None], flags(shown)[:, None])} if reads else {},
        group=torch.zeros(2, dtype=torch.long),
        gain=nothing,
        weights=(torch.ones(2, 3),),
        targets=(torch.zeros(2),),
    )._replace(**changes)
    losses = TokenLoss(
        loss=nothing,
        student=TokenScores(numbers([-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]), numbers([1.0, 2.0, 3.0], [4.0, 5.0, 0.0])),
        teacher_logp=nothing,
        gap=numbers([0.5, -0.3, 0.0], [0.0, 0.0, 0.0]),
        pull=nothing,
        shown=flags(shown),
        credit=Credit(
            nothing,
            {
                "weight": numbers([1.2, 0.8, 1.0], [1.0, 1.0, 1.0]),
                "clip_low": flags([[0, 1, 0], [0, 0, 0]]),
                "clip_high": flags([[0, 0, 0], [0, 0, 0]]),
            },
        ),
        ratio_clipped=flags([[1, 0, 0], [0, 1, 0]]),
        kl=numbers([0.1, 0.2, 0.3], [0.4, 0.5, 0.0]),
        sampler_weight=numbers([0.5, 0.5, 0.5], [9.0, 9.0, 0.0]),
    )
    totals = TokenTotals()
    totals.add(MicroBatch(TokenBatch(ids, None, None, ids, ids, flags(MASK)), columns, {}), losses)
    return totals


def test_means_are_over_the_tokens_that_they_are_about(configure: Callable[..., Config]) -> None:
    found = update_metrics(Figures(0.5, 2.0, totals_of()), configure({"method": "rlsd"}), step=25)
    expected = {
        "loss": 0.5,
        "grad_norm": 2.0,
        "lambda": 0.25,
        "entropy": 15 / 5,
        "credit_weight_mean": 2.0 / 2,
        "credit_clip_low_rate": 1 / 2,
        "credit_clip_high_rate": 0.0,
        "teacher_student_gap_mean": 0.2 / 2,
        "teacher_student_gap_abs_mean": 0.8 / 2,
        "ratio_clip_rate": 2 / 5,
        "kl": 1.5 / 5,
        "sampler_mismatch_abs_mean": (0.5 + 0.0 + 0.1) / 3,
        "sampler_mismatch_abs_max": 0.5,
        "sampler_weight_mean": sum(torch.tensor([-0.5, 0.0, -0.1]).exp().tolist()) / 3,
        "sampler_weight_kept_mean": 1.5 / 3,
        "trained_tokens": 5,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_a_credit_that_no_teacher_weighs_is_a_mean_over_all_tokens() -> None:
    nowhere = [[0, 0, 0], [0, 0, 0]]
    assert totals_of(nowhere, reads=False).credit_means()["credit_weight_mean"] == pytest.approx(5.0 / 5)
    assert totals_of(nowhere).credit_means()["credit_weight_mean"] is None


def test_where_whole_distributions_are_compared_the_gap_is_over_all_tokens() -> None:
    totals = totals_of(MASK, reads=False)
    assert totals.mean("gap_abs", "shown_tokens") == pytest.approx(0.8 / 5)


def test_without_any_such_token_a_mean_is_none_and_not_zero(configure: Callable[..., Config]) -> None:
    nowhere = [[0, 0, 0], [0, 0, 0]]
    figures = Figures(0.0, 0.0, totals_of(nowhere, sampled=flags([[0, 0]])[0]))
    found = update_metrics(figures, configure({"method": "rlvr"}), step=1)
    missing = [name for name, value in found.items() if value is None]
    assert missing == [
        "credit_weight_mean",
        "credit_clip_low_rate",
        "credit_clip_high_rate",
        "teacher_student_gap_mean",
        "teacher_student_gap_abs_mean",
        "sampler_mismatch_abs_mean",
        "sampler_mismatch_abs_max",
        "sampler_weight_mean",
        "sampler_weight_kept_mean",
    ]
    assert found["lambda"] == 0.0


def test_means_of_several_processes_are_those_of_one() -> None:
    both = totals_of()
    both.merge([totals_of(sampled=flags([[0, 1]])[0])])
    assert both.mean("entropy", "tokens") == pytest.approx(3.0)
    assert both.sums["sampled_tokens"] == 5
    assert both.mean("mismatch_abs", "sampled_tokens") == pytest.approx((0.6 + 16.0) / 5)
    assert both.largest["mismatch_abs"] == pytest.approx(8.0)


# -- rollouts ---------------------------------------------------------------------------------------------------------


def member(score: float | None, outcome: Outcome, text: str = "", *, truncated: bool = False) -> Judged:
    problem = Problem("p", "p", "q", "1")
    rollout = Rollout(problem, 0, Prompt((1,)), (2, 3), None, truncated, text)
    verdict, left_out = Verdict(outcome, score or 0.0, "", ""), "no_verdict" if score is None else None
    return Judged(rollout, verdict, score, left_out, parts={} if score is None else {"answer": score})


def groups_of(members: list[tuple[Judged, ...]], config: Config) -> list[Group]:
    advantages = advantages_of(members, config)
    return [Group(place, *pair) for place, pair in enumerate(zip(members, advantages, strict=True))]


def test_scores_are_averaged_over_verdicts_and_flags_over_responses(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure({"method": "rlvr", "prompts_per_step": 2, "samples_per_prompt": 3})
    monkeypatch.setattr(metrics_module, "leaks", lambda text, _: text == "told")
    first = member(1.0, Outcome.CORRECT, "told"), member(0.0, Outcome.NO_ANSWER, truncated=True)
    second = member(0.0, Outcome.WRONG), member(0.0, Outcome.WRONG), member(0.0, Outcome.TIMEOUT)
    found = rollout_metrics(groups_of([(*first, member(None, Outcome.CRASH)), second], config), config)
    expected = {
        "reward_mean": 1 / 5,
        "reward_parts": {"answer": 1 / 5},
        "solved_rate": 1 / 5,
        "no_answer_rate": 1 / 5,
        "zero_variance_rate": 1 / 2,
        "zero_variance_groups": {"all_wrong": 1},
        "told_rollouts": 0,
        "refilled_groups": 0,
        "truncated_rate": 1 / 6,
        "no_verdict_rate": 1 / 6,
        "response_tokens_mean": 2.0,
        "leakage_rate": 1 / 6,
        "outcomes": {"wrong": 2, "correct": 1, "no_answer": 1, "crash": 1, "timeout": 1},
        "tokens": 12,
    }
    assert found == expected


def test_what_is_in_no_loss_is_counted_by_its_reason(configure: Callable[..., Config]) -> None:
    config = configure({"method": "rlvr", "prompts_per_step": 1, "samples_per_prompt": 3})
    cut = member(0.0, Outcome.WRONG, truncated=True)._replace(left_out="truncated")
    (group,) = groups_of([(member(1.0, Outcome.CORRECT), member(None, Outcome.CRASH), cut)], config)
    fits, too_long = Read(((1,),), 2), Read((), 2, skipped=True)
    taught = [Taught(group, ({"hint": fits}, {"hint": too_long}, {}))]
    assert left_out_metrics(taught, {}) == {
        "teacher_skipped": 1,
        "left_out": {"no_verdict": 1, "truncated": 1},
        "uncounted": 2,
    }
    assert left_out_metrics(taught, {(1, 0): "no_view", (1, 1): "no_view", (1, 2): "no_term"}) == {
        "teacher_skipped": 1,
        "left_out": {"no_view": 2, "no_verdict": 1, "truncated": 1, "no_term": 1},
        "uncounted": 5,
    }
