"""What a step leaves behind in numbers; every mean says over what."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.training.rewards import dead_reason, groups_of
from rlsd_cli.training.samples import Sample
from rlsd_cli.training.update import MicroBatch, TokenLoss


class Clock:
    """Wall seconds by name: `with clock("rollout"): ...`."""

    def __init__(self) -> None:
        self.seconds = {"rollout": 0.0, "verify": 0.0, "teacher": 0.0, "update": 0.0}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started


class TokenTotals:
    """Sums over the tokens that were trained on, for means with one denominator each, and largest values."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.largest: dict[str, float] = {}

    def add(self, batch: MicroBatch, losses: TokenLoss) -> None:
        mask, credit = batch.tokens.mask, losses.credit
        seen = mask if batch.privileged else batch.reweighted
        old_logp = losses.student.logp.detach() if batch.old_logp is None else batch.old_logp
        mismatch = torch.where(batch.sampled, old_logp - batch.sampled_logp, 0.0)
        quantities = {
            "tokens": mask,
            "entropy": losses.student.entropy,
            "ratio_clipped": losses.ratio_clipped,
            "kl": losses.kl,
            "sampled_tokens": batch.sampled,
            "mismatch_abs": mismatch.abs(),
            "sampler_weight": torch.where(batch.sampled, mismatch.exp(), 0.0),
            "kept_weight": torch.where(batch.sampled, losses.sampler_weight, 0.0),
            "seen_tokens": seen,
            "reweighted_tokens": batch.reweighted,
            "gap": losses.gap,
            "gap_abs": losses.gap.abs(),
            "weight": torch.where(batch.reweighted, credit.weight, 0.0),
            "clip_low": credit.clipped_low,
            "clip_high": credit.clipped_high,
        }
        self.sums.update({name: values.sum().item() for name, values in quantities.items()})
        self._keep({"mismatch_abs": mismatch.abs().max().item()} if batch.sampled.any() else {})

    def merge(self, others: Iterable["TokenTotals"]) -> None:
        """Add what others have counted."""
        for other in others:
            self.sums.update(other.sums)
            self._keep(other.largest)

    def _keep(self, largest: Mapping[str, float]) -> None:
        for name, value in largest.items():
            self.largest[name] = max(value, self.largest.get(name, value))

    def mean(self, name: str, over: str) -> float | None:
        """None when nothing was counted."""
        return self.sums[name] / self.sums[over] if self.sums[over] else None


class Update(NamedTuple):
    """What one step's update came to: mean loss and largest gradient norm over its optimiser steps."""

    loss: float
    grad_norm: float
    tokens: TokenTotals


def sample_metrics(samples: Sequence[Sample], config: Config) -> dict[str, Any]:
    """What the rollouts of a step say. Scores are averaged over the responses that reached a verdict."""
    scores = [sample.score for sample in samples if sample.score is not None]
    outcomes = Counter(str(sample.verdict.outcome) for sample in samples if sample.verdict)
    groups = groups_of(samples, config)
    dead = Counter(reason for group in groups if (reason := dead_reason(group))) if config.row.needs_reward else None
    judged = len(scores) or None
    return {
        "reward_mean": sum(scores) / judged if judged else None,
        "solved_rate": sum(s.verdict.correct is True for s in samples if s.verdict) / judged if judged else None,
        "no_answer_rate": outcomes["no_answer"] / judged if judged else None,
        "zero_variance_rate": None if dead is None else dead.total() / len(groups),
        "dead_groups": None if dead is None else dict(dead.most_common()),
        "refilled_groups": max(0, len(groups) - config.prompts_per_step),
        "truncated_rate": rate(sample.truncated for sample in samples),
        "no_verdict_rate": rate(bool(s.verdict) and s.score is None for s in samples),
        "response_tokens_mean": sum(len(sample.token_ids) for sample in samples) / len(samples),
        "leakage_rate": rate(sample.leaks for sample in samples),
        "outcomes": dict(outcomes.most_common()),
    }


def update_metrics(update: Update, samples: Sequence[Sample], mix: float) -> dict[str, Any]:
    """What the update of a step says.

    Token means are over the tokens trained on, those the teacher scored, or those it reweighted.
    """
    totals = update.tokens
    return {
        "loss": update.loss,
        "grad_norm": update.grad_norm,
        "entropy": totals.mean("entropy", "tokens"),
        "lambda": mix,
        "credit_weight_mean": totals.mean("weight", "reweighted_tokens"),
        "credit_clip_low_rate": totals.mean("clip_low", "reweighted_tokens"),
        "credit_clip_high_rate": totals.mean("clip_high", "reweighted_tokens"),
        "teacher_student_gap_mean": totals.mean("gap", "seen_tokens"),
        "teacher_student_gap_abs_mean": totals.mean("gap_abs", "seen_tokens"),
        "ratio_clip_rate": totals.mean("ratio_clipped", "tokens"),
        "kl": totals.mean("kl", "tokens"),
        "sampler_mismatch_abs_mean": totals.mean("mismatch_abs", "sampled_tokens"),
        "sampler_mismatch_abs_max": totals.largest.get("mismatch_abs"),
        "sampler_weight_mean": totals.mean("sampler_weight", "sampled_tokens"),
        "sampler_weight_kept_mean": totals.mean("kept_weight", "sampled_tokens"),
        "trained_tokens": int(totals.sums["tokens"]),
        "teacher_skipped": sum(sample.teacher_skipped for sample in samples),
        "uncounted": sum(not sample.counted for sample in samples),
    }


def rate(flags: Iterable[bool]) -> float:
    """The share that is True."""
    values = list(flags)
    return sum(values) / len(values)
