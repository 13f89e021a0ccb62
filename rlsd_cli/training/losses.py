"""From one micro-batch to one loss a token: the terms of the loss, which share one pass of the student.

Token losses carry weights that are fixed for the whole update, and its loss is their sum, so that cutting it into
micro-batches does not change it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.config.sections import DistillConfig
from rlsd_cli.core import divergences
from rlsd_cli.core.divergences import kl_estimate
from rlsd_cli.core.evidence import Credit, Evidence
from rlsd_cli.core.ratios import Ratio, importance_weight, sequence_ratio, token_ratio
from rlsd_cli.core.surrogates import (
    Surrogate,
    cispo,
    clipped_surrogate,
    mean_logp_regression,
    negative_log_likelihood,
)
from rlsd_cli.methods.base import Distill, KlToInitial, Likelihood, PolicyGradient, Regression, Term
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.models import Models
from rlsd_cli.policy.scoring import TokenScores, features, score_divergence, score_features, score_tokens
from rlsd_cli.training.assemble import Columns, evidence_of


class Told(NamedTuple):
    """The responses that the teacher is shown something for, after what it is shown.

    tokens: of these alone
    rows: True for those of the micro-batch that are among them [B]
    """

    tokens: TokenBatch
    rows: Tensor


class MicroBatch(NamedTuple):
    """B responses as the model reads them, what is known of them, and what the teacher reads, by the view distilled."""

    tokens: TokenBatch
    columns: Columns
    told: Mapping[str, Told]


class TokenLoss(NamedTuple):
    """Per token, 0 where not counted, [B, T]: the weighted loss, whose sum has the gradient, and what is recorded.

    teacher_logp: of the first view that the token is read after; it counts where `shown`
    gap: what is left of it without the log-probability of the student that it is compared with
    pull: the gap where a distillation trains on it, times the coefficient of its term
    sampler_weight: what the loss was multiplied with because the sampler's probabilities are not the trainer's
    """

    loss: Tensor
    student: TokenScores
    credit: Credit
    teacher_logp: Tensor
    gap: Tensor
    shown: Tensor
    pull: Tensor
    ratio_clipped: Tensor
    kl: Tensor
    sampler_weight: Tensor


@dataclass(eq=False)
class Pass:
    """The student on a micro-batch, read once for all terms, and what they record."""

    models: Models
    batch: MicroBatch
    config: Config
    step: int

    def __post_init__(self) -> None:
        nothing = torch.zeros_like(self.columns.weights[0])
        self.recorded = TokenLoss(
            loss=nothing,
            student=TokenScores(nothing, nothing),
            credit=Credit(nothing, {}),
            teacher_logp=nothing,
            gap=nothing,
            shown=torch.zeros_like(self.mask),
            pull=nothing,
            ratio_clipped=torch.zeros_like(self.mask),
            kl=nothing,
            sampler_weight=self.mask.float(),
        )

    @property
    def columns(self) -> Columns:
        return self.batch.columns

    @property
    def mask(self) -> Tensor:
        return self.batch.tokens.mask

    @property
    def is_scored(self) -> bool:
        """True where a term needs the student's log-probabilities with their gradient."""
        kinds = {type(term) for term in self.config.terms}
        return kinds != {Distill} or self.config.distill.divergence == "sampled_token"

    @cached_property
    def feature(self) -> Tensor:
        """What the head needs to predict each token, [N, H]; carries the gradient."""
        return features(self.models.policy, self.models.policy.model, self.batch.tokens, self.mask)

    @cached_property
    def student(self) -> TokenScores:
        """The student's scores; carry the gradient."""
        policy, tokens = self.models.policy, self.batch.tokens
        return score_features(policy, policy.model, tokens, self.mask, self.config.temperature, self.feature)

    @cached_property
    def old_logp(self) -> Tensor:
        """The policy before the update: where this is the first of a batch, the policy itself, as a constant."""
        old_logp = self.columns.old_logp
        return self.student.logp.detach() if old_logp is None else old_logp

    @cached_property
    def evidence(self) -> Evidence:
        """What a credit rule may look at."""
        logp = self.student.logp.detach()
        compared = self.old_logp if self.config.teacher.weights == "live" else logp
        return evidence_of(self.columns, self.mask, logp, self.old_logp, compared)

    def record(self, **values: Any) -> None:
        self.recorded = self.recorded._replace(**values)

    def record_reading(self, teacher_logp: Tensor, gap: Tensor, shown: Tensor) -> None:
        """Record what the teacher made of tokens, but for those that it was shown an earlier view for."""
        earlier = self.recorded
        self.record(
            teacher_logp=torch.where(earlier.shown, earlier.teacher_logp, teacher_logp),
            gap=torch.where(earlier.shown, earlier.gap, gap),
            shown=earlier.shown | shown,
        )


def token_loss(models: Models, batch: MicroBatch, config: Config, step: int) -> TokenLoss:
    """The weighted loss of every token: the sum of the terms, each times its coefficient."""
    run = Pass(models, batch, config, step)
    columns = batch.columns
    losses = [
        LOSSES[type(term)](term, run, term.coef(config.credit, step), weight, target)
        for term, weight, target in zip(config.terms, columns.weights, columns.targets, strict=True)
    ]
    if run.is_scored:
        run.record(student=run.student)
    return run.recorded._replace(loss=sum(losses[1:], start=losses[0]))


def _policy_gradient(term: PolicyGradient, run: Pass, coef: float, weight: Tensor, target: Tensor) -> Tensor:
    """The surrogate of a credit that a rule spreads over the tokens."""
    del target
    mask, settings, evidence, recorded = run.mask, run.config.loss, run.evidence, run.recorded
    credit = term.credit(evidence, run.config.credit, run.step)
    make_ratio, surrogate = SURROGATES[settings.surrogate]
    ratio = make_ratio(run.student.logp, run.old_logp, mask)
    found = surrogate(ratio, credit.value, mask, run.student.logp, settings)
    sampler_weight = mask.float()
    if settings.rollout_correction != "none":
        sampler_weight = importance_weight(
            run.old_logp,
            run.columns.sampled_logp,
            mask,
            mode=settings.rollout_correction,
            level=settings.rollout_correction_level,
            low=settings.rollout_correction_floor,
            high=settings.rollout_correction_cap,
        )
    total = recorded.credit.value + torch.where(weight != 0, coef * credit.value, 0.0)
    run.record(
        credit=Credit(total, {**recorded.credit.diagnostics, **credit.diagnostics}),
        ratio_clipped=recorded.ratio_clipped | (found.clipped & mask),
        sampler_weight=sampler_weight,
    )
    for name, reading in list(run.columns.readings.items())[:1]:
        run.record_reading(reading.logp[:, 0], evidence.gap(name)[:, 0], reading.shown[:, 0])
    return coef * found.loss * weight * sampler_weight


def _distill(term: Distill, run: Pass, coef: float, weight: Tensor, target: Tensor) -> Tensor:
    """The distance to the teacher who reads more, at every token of the responses that it is shown something for."""
    del target
    policy, teacher, told = run.models.policy, run.models.teacher_model, run.batch.told[term.view]
    settings, heat = run.config.distill, run.config.temperature
    mask = run.mask & told.rows[:, None]
    if not told.rows.any():
        if run.models.teacher:
            with torch.no_grad():
                features(policy, teacher, told.tokens, told.tokens.mask)  # other processes may wait for this pass
        return torch.zeros_like(weight)
    if not torch.equal(told.tokens.response_ids[told.tokens.mask], run.batch.tokens.response_ids[mask]):
        raise AssertionError("teacher and student must score the same response ids")
    with torch.no_grad():
        teacher_feature = features(policy, teacher, told.tokens, told.tokens.mask)
    if settings.ratio_cap is not None and run.columns.old_logp is not None:
        logp, cap = run.student.logp.detach(), settings.ratio_cap
        weight = weight * importance_weight(logp, run.old_logp, run.mask, mode="truncate", high=cap)
    tokens = run.batch.tokens._replace(mask=mask)
    if settings.divergence == "sampled_token":
        with torch.no_grad():
            scores = score_features(policy, teacher, tokens, mask, heat, teacher_feature)
        student, teacher_logp = run.student, scores.logp
        values = divergences.sampled_token_loss(student.logp, teacher_logp, kappa=settings.token_clip)
        loss = torch.where(mask, values, 0.0) * (coef * weight)
    else:
        measure = partial(divergence, settings=settings)
        feature = run.feature if told.rows.all() else run.feature[mask[run.mask]]
        result = score_divergence(policy, tokens, coef * weight, heat, teacher, feature, teacher_feature, measure)
        loss, teacher_logp = result.loss, result.teacher_logp
        student = run.student if run.is_scored else result.student
    known = zip(student, run.recorded.student, strict=True)
    run.record(student=TokenScores(*(torch.where(mask, now, before) for now, before in known)))
    gap = torch.where(mask, teacher_logp - student.logp.detach(), 0.0)
    run.record_reading(teacher_logp, gap, mask)
    run.record(pull=run.recorded.pull + torch.where(weight != 0, coef * gap, 0.0))
    return loss


def _regression(term: Regression, run: Pass, coef: float, weight: Tensor, target: Tensor) -> Tensor:
    """The square of what lacks a response's mean log-probability to its target."""
    del term
    return coef * mean_logp_regression(run.student.logp, target, run.mask) * weight


def _likelihood(term: Likelihood, run: Pass, coef: float, weight: Tensor, target: Tensor) -> Tensor:
    """The negative log-likelihood of a given response."""
    del term, target
    return coef * negative_log_likelihood(run.student.logp, run.mask) * weight


def _kl_to_initial(term: KlToInitial, run: Pass, coef: float, weight: Tensor, target: Tensor) -> Tensor:
    """The KL to the initial policy, estimated at the sampled tokens."""
    del term, target
    models, tokens = run.models, run.batch.tokens
    with torch.no_grad():
        reference = score_tokens(models.policy, tokens, run.mask, run.config.temperature, models.reference)
    kl = kl_estimate(run.student.logp, reference.logp, run.mask, run.config.loss.kl_estimator)
    run.record(kl=kl.detach())
    return coef * kl * weight


LOSSES: Mapping[type[Term], Callable[[Any, Pass, float, Tensor, Tensor], Tensor]] = {
    PolicyGradient: _policy_gradient,
    Distill: _distill,
    Regression: _regression,
    Likelihood: _likelihood,
    KlToInitial: _kl_to_initial,
}


def _clipped(ratio: Ratio, credit: Tensor, mask: Tensor, logp: Tensor, settings: Any) -> Surrogate:
    del logp
    bounds = {"clip_low": settings.clip_low, "clip_high": settings.clip_high, "dual_clip": settings.dual_clip}
    return clipped_surrogate(ratio, credit, mask, **bounds)


def _cispo(ratio: Ratio, credit: Tensor, mask: Tensor, logp: Tensor, settings: Any) -> Surrogate:
    return cispo(ratio, credit, mask, logp, clip_low=settings.clip_low, clip_high=settings.clip_high)


SURROGATES: Mapping[str, tuple[Callable[..., Ratio], Callable[..., Surrogate]]] = {
    "clipped": (token_ratio, _clipped),
    "gspo": (sequence_ratio, _clipped),
    "cispo": (token_ratio, _cispo),
}
"""Which ratio, and what is made of it."""


def divergence(student_logp: Tensor, teacher_logp: Tensor, settings: DistillConfig) -> Tensor:
    """The configured divergence of whole distributions at each of n positions, from log-probabilities [n, V]."""
    kappa = settings.token_clip
    if settings.divergence == "pointwise_clipped_forward_kl":
        assert kappa is not None
        return divergences.pointwise_clipped_forward_kl(student_logp, teacher_logp, kappa=kappa)
    if settings.top_k and settings.top_k < student_logp.shape[-1]:
        restrict = {"student": divergences.top_k_with_tail, "teacher": divergences.teacher_top_k}[settings.top_k_of]
        student_logp, teacher_logp = restrict(student_logp, teacher_logp, k=settings.top_k, tail=settings.tail)
    beta = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": settings.beta}[settings.divergence]
    loss = divergences.generalized_jsd(student_logp, teacher_logp, beta=beta)
    return loss if kappa is None else divergences.clip_token_loss(loss, kappa)
