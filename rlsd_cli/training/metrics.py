"""What a step leaves behind in numbers; every mean says over what."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.data.leakage import leaks
from rlsd_cli.rollout.records import Group, LeftOut
from rlsd_cli.training.assemble import Key
from rlsd_cli.training.judging import zero_variance
from rlsd_cli.training.losses import MicroBatch, TokenLoss
from rlsd_cli.training.reading import Taught

CREDIT_METRICS = ("credit_weight_mean", "credit_clip_low_rate", "credit_clip_high_rate")
"""What every step has a value for, None where the rule of the method has no such diagnostic."""


class TokenTotals:
    """Sums over the tokens that were trained on, for means with one denominator each, and largest values."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.largest: dict[str, float] = {}
        self.diagnostics: dict[str, None] = {}

    def add(self, batch: MicroBatch, losses: TokenLoss) -> None:
        columns, mask, credit = batch.columns, batch.tokens.mask, losses.credit
        sampled = mask & columns.sampled[:, None]
        old_logp = losses.student.logp.detach() if columns.old_logp is None else columns.old_logp
        mismatch = torch.where(sampled, old_logp - columns.sampled_logp, 0.0)
        readings = [reading.shown.any(1) for reading in columns.readings.values()]
        asked = torch.stack(readings).any(0) if readings else mask
        quantities = {
            "tokens": mask,
            "entropy": losses.student.entropy,
            "ratio_clipped": losses.ratio_clipped,
            "kl": losses.kl,
            "sampled_tokens": sampled,
            "mismatch_abs": mismatch.abs(),
            "sampler_weight": torch.where(sampled, mismatch.exp(), 0.0),
            "kept_weight": torch.where(sampled, losses.sampler_weight, 0.0),
            "shown_tokens": losses.shown,
            "gap": losses.gap,
            "gap_abs": losses.gap.abs(),
        }
        for name, values in credit.diagnostics.items():
            mean = f"credit_{name}_{'rate' if values.dtype == torch.bool else 'mean'}"
            quantities |= {mean: torch.where(asked, values, 0), f"{mean}_tokens": asked}
            self.diagnostics[mean] = None
        self.sums.update({name: values.sum().item() for name, values in quantities.items()})
        self._keep({"mismatch_abs": mismatch.abs().max().item()} if sampled.any() else {})

    def merge(self, others: Iterable["TokenTotals"]) -> None:
        """Add what others have counted."""
        for other in others:
            self.sums.update(other.sums)
            self.diagnostics |= other.diagnostics
            self._keep(other.largest)

    def _keep(self, largest: Mapping[str, float]) -> None:
        for name, value in largest.items():
            self.largest[name] = max(value, self.largest.get(name, value))

    def mean(self, name: str, over: str) -> float | None:
        """None when nothing was counted."""
        return self.sums[name] / self.sums[over] if self.sums[over] else None

    def credit_means(self) -> dict[str, float | None]:
        """The mean of every diagnostic of the credit over the tokens that it is about; a rate, where it is a bool."""
        return {name: self.mean(name, f"{name}_tokens") for name in self.diagnostics}


class Figures(NamedTuple):
    """What one step's update came to: mean loss and largest gradient norm over its optimiser steps."""

    loss: float
    grad_norm: float
    tokens: TokenTotals


def rollout_metrics(groups: Sequence[Group], config: Config) -> dict[str, Any]:
    """What the rollouts of the student say. Scores are averaged over the responses that reached a verdict."""
    members = [member for group in groups for member in group.own]
    rollouts = [member.rollout for member in members]
    verdicts = [member.verdict for member in members if member.verdict]
    scores = [member.score for member in members if member.score is not None]
    outcomes = Counter(str(verdict.outcome) for verdict in verdicts)
    flat = Counter(why for group in groups if (why := zero_variance(group))) if config.recipe.scored else None
    judged = len(scores) or None
    return {
        "reward_mean": sum(scores) / judged if judged else None,
        "reward_parts": {
            name: sum(member.parts[name] for member in members if member.parts) / judged if judged else None
            for name in config.reward.parts
        },
        "solved_rate": sum(verdict.correct is True for verdict in verdicts) / judged if judged else None,
        "no_answer_rate": outcomes["no_answer"] / judged if judged else None,
        "zero_variance_rate": None if flat is None else flat.total() / len(groups),
        "zero_variance_groups": None if flat is None else dict(flat.most_common()),
        "refilled_groups": max(0, len(groups) - config.prompts_per_step),
        "truncated_rate": rate(rollout.truncated for rollout in rollouts),
        "no_verdict_rate": rate(bool(member.verdict) and member.score is None for member in members),
        "response_tokens_mean": sum(len(rollout.token_ids) for rollout in rollouts) / len(rollouts),
        "leakage_rate": rate(leaks(rollout.text, config.data) for rollout in rollouts),
        "outcomes": dict(outcomes.most_common()),
        "told_rollouts": sum(len(group.members) - len(group.own) for group in groups),
        "tokens": sum(len(member.rollout.token_ids) for group in groups for member in group.members),
    }


def update_metrics(figures: Figures, config: Config, step: int) -> dict[str, Any]:
    """What the update of a step says.

    Token means are over the tokens trained on, those that the teacher was shown something for, or those that a sampler
    gave log-probabilities of.
    """
    totals = figures.tokens
    schedules = {name: value(config.credit, step) for name, value in config.recipe.schedules.items()}
    return {
        "loss": figures.loss,
        "grad_norm": figures.grad_norm,
        "entropy": totals.mean("entropy", "tokens"),
        "lambda": 0.0,
        **schedules,
        **dict.fromkeys(CREDIT_METRICS),
        **totals.credit_means(),
        "teacher_student_gap_mean": totals.mean("gap", "shown_tokens"),
        "teacher_student_gap_abs_mean": totals.mean("gap_abs", "shown_tokens"),
        "ratio_clip_rate": totals.mean("ratio_clipped", "tokens"),
        "kl": totals.mean("kl", "tokens"),
        "sampler_mismatch_abs_mean": totals.mean("mismatch_abs", "sampled_tokens"),
        "sampler_mismatch_abs_max": totals.largest.get("mismatch_abs"),
        "sampler_weight_mean": totals.mean("sampler_weight", "sampled_tokens"),
        "sampler_weight_kept_mean": totals.mean("kept_weight", "sampled_tokens"),
        "trained_tokens": int(totals.sums["tokens"]),
    }


def left_out_metrics(taught: Sequence[Taught], nowhere: Mapping[Key, LeftOut]) -> dict[str, Any]:
    """How many rollouts are in no loss, those that assembly found `nowhere` among them, and how many readings a teacher
    skipped because their prompt did not fit."""
    members = [member for each in taught for member in each.group.members]
    reads = [read for each in taught for readings in each.readings for read in readings.values()]
    left_out = Counter(member.left_out for member in members if member.left_out) + Counter(nowhere.values())
    return {
        "teacher_skipped": sum(read.skipped for read in reads),
        "left_out": dict(left_out.most_common()),
        "uncounted": left_out.total(),
    }


def rate(flags: Iterable[bool]) -> float:
    """The share that is True."""
    values = list(flags)
    return sum(values) / len(values)
