"""Every mean of a step has the denominator that docs/runs.md gives it; worked out by hand on a batch of five tokens."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rlsd_cli.training.rewards import assign_advantages
from rlsd_cli.training.samples import Sample
from rlsd_cli.training.update import MicroBatch, TokenLoss
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.core.credit import Credit
from rlsd_cli.data.problems import Problem
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.scoring import TokenScores
from rlsd_cli.training.metrics import TokenTotals, Update, sample_metrics, update_metrics
from rlsd_verifiers import Outcome, Verdict

MASK = [[1, 1, 1], [1, 1, 0]]
SAMPLED = [[1, 1, 1], [0, 0, 0]]
REWEIGHTED = [[1, 1, 0], [0, 0, 0]]


def flags(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def numbers(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def totals_of(**changes: Any) -> TokenTotals:
    ids = torch.zeros(2, 3, dtype=torch.long)
    batch = MicroBatch(
        tokens=TokenBatch(ids, None, None, ids, ids, flags(MASK)),
        weight=torch.ones(2, 3),
        advantage=torch.ones(2),
        sampled_logp=numbers([-1.0, -1.0, -1.0], [-9.0, -9.0, -9.0]),
        sampled=flags(SAMPLED),
        old_logp=numbers([-1.5, -1.0, -1.1], [-1.0, -1.0, 0.0]),
        teacher_logp=torch.zeros(2, 3),
        reweighted=flags(REWEIGHTED),
        privileged=None,
    )._replace(**changes)
    losses = TokenLoss(
        loss=torch.zeros(2, 3),
        student=TokenScores(numbers([-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]), numbers([1.0, 2.0, 3.0], [4.0, 5.0, 0.0])),
        teacher_logp=torch.zeros(2, 3),
        gap=numbers([0.5, -0.3, 0.0], [0.0, 0.0, 0.0]),
        credit=Credit(
            torch.zeros(2, 3),
            numbers([1.2, 0.8, 1.0], [1.0, 1.0, 1.0]),
            flags([[0, 1, 0], [0, 0, 0]]),
            flags([[0, 0, 0], [0, 0, 0]]),
        ),
        ratio_clipped=flags([[1, 0, 0], [0, 1, 0]]),
        kl=numbers([0.1, 0.2, 0.3], [0.4, 0.5, 0.0]),
        sampler_weight=numbers([0.5, 0.5, 0.5], [9.0, 9.0, 0.0]),
    )
    totals = TokenTotals()
    totals.add(batch, losses)
    return totals


def test_means_are_over_the_tokens_that_they_are_about() -> None:
    found = update_metrics(Update(0.5, 2.0, totals_of()), [], mix=0.25)
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
        "teacher_skipped": 0,
        "uncounted": 0,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_where_whole_distributions_are_compared_the_gap_is_over_all_tokens() -> None:
    ids = torch.zeros(2, 3, dtype=torch.long)
    totals = totals_of(privileged=TokenBatch(ids, None, None, ids, ids, flags(MASK)))
    assert totals.mean("gap_abs", "seen_tokens") == pytest.approx(0.8 / 5)


def test_without_any_such_token_a_mean_is_none_and_not_zero() -> None:
    nowhere = flags([[0, 0, 0], [0, 0, 0]])
    found = update_metrics(Update(0.0, 0.0, totals_of(sampled=nowhere, reweighted=nowhere)), [], mix=0.0)
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


def test_means_of_several_processes_are_those_of_one() -> None:
    both = totals_of()
    both.merge([totals_of(sampled=flags([[1, 0, 0], [0, 0, 0]]))])
    assert both.mean("entropy", "tokens") == pytest.approx(3.0)
    assert both.sums["sampled_tokens"] == 4
    assert both.mean("mismatch_abs", "sampled_tokens") == pytest.approx((0.6 + 0.5) / 4)
    assert both.largest["mismatch_abs"] == pytest.approx(0.5)


def sample(score: float | None, outcome: Outcome, **fields: Any) -> Sample:
    made = Sample(Problem("p", "p", "q", "1"), 0, [1], [2, 3], None, False, "", False, **fields)
    made.verdict, made.score = Verdict(outcome, score or 0.0, "", ""), score
    made.counted = score is not None
    return made


def test_scores_are_averaged_over_verdicts_and_flags_over_responses(configure: Callable[..., Config]) -> None:
    config = configure({"method": "rlvr", "prompts_per_step": 2, "samples_per_prompt": 3})
    samples = [
        sample(1.0, Outcome.CORRECT),
        sample(0.0, Outcome.NO_ANSWER),
        sample(None, Outcome.CRASH),
        sample(0.0, Outcome.WRONG),
        sample(0.0, Outcome.WRONG),
        sample(0.0, Outcome.TIMEOUT),
    ]
    samples[0].leaks = samples[1].truncated = True
    assign_advantages(samples, config)
    found = sample_metrics(samples, config)
    expected = {
        "reward_mean": 1 / 5,
        "solved_rate": 1 / 5,
        "no_answer_rate": 1 / 5,
        "zero_variance_rate": 1 / 2,
        "dead_groups": {"all_wrong": 1},
        "refilled_groups": 0,
        "truncated_rate": 1 / 6,
        "no_verdict_rate": 1 / 6,
        "response_tokens_mean": 2.0,
        "leakage_rate": 1 / 6,
        "outcomes": {"wrong": 2, "correct": 1, "no_answer": 1, "crash": 1, "timeout": 1},
    }
    assert found == expected
