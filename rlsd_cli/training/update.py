"""From one micro-batch to one loss a token: the only place where a method's row meets the functions of `core`.

Token losses carry weights that are fixed for the whole batch of rollouts, and a step's loss is their sum, so cutting
the batch into micro-batches does not change it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config, DistillConfig
from rlsd_cli.core import divergences
from rlsd_cli.core.credit import Credit, check_credit, self_distilled_credit, uniform_credit
from rlsd_cli.core.objectives import (
    Surrogate,
    cispo,
    clipped_surrogate,
    gspo,
    importance_weight,
    kl_estimate,
    negative_log_likelihood,
)
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.scoring import TokenScores, features, score_divergence, score_features, score_tokens


class Models(NamedTuple):
    """The policy, the weights that read the privileged view, and the initial policy where a KL to it is kept."""

    policy: Policy
    teacher: Any
    reference: Any


class MicroBatch(NamedTuple):
    """`B` rollouts with all the update needs to know about them.

    weight [B, T]: of each token in the step's loss. advantage [B]. sampled_logp [B, T]: from the sampler, where
    `sampled` [B, T]. old_logp [B, T]: under the policy before the first of several updates; None where this is the
    first, so that the ratio is exactly 1 and only carries the gradient.
    teacher_logp [B, T] counts where `reweighted` [B, T] does. privileged: the same responses after the teacher's view,
    for objectives that compare whole distributions.
    """

    tokens: TokenBatch
    weight: Tensor
    advantage: Tensor
    sampled_logp: Tensor
    sampled: Tensor
    old_logp: Tensor | None
    teacher_logp: Tensor
    reweighted: Tensor
    privileged: TokenBatch | None


class TokenLoss(NamedTuple):
    """Per token, 0 where not counted, [B, T]: the weighted loss, whose sum has the gradient, and what is recorded.

    gap: log-probability of the teacher less that of the student with which it is compared, where a teacher has read.
    sampler_weight: what the loss was multiplied with because the sampler's probabilities are not the trainer's.
    """

    loss: Tensor
    student: TokenScores
    teacher_logp: Tensor
    gap: Tensor
    credit: Credit
    ratio_clipped: Tensor
    kl: Tensor
    sampler_weight: Tensor


def token_loss(models: Models, batch: MicroBatch, config: Config, mix: float) -> TokenLoss:
    """The weighted loss of every token, by the config's row of the method table, with the KL to the initial policy."""
    result = OBJECTIVES[config.row.objective](models, batch, config, mix)
    if config.loss.kl_coef == 0:
        return result
    with torch.no_grad():
        reference = score_tokens(models.policy, batch.tokens, batch.tokens.mask, temperature(config), models.reference)
    kl = kl_estimate(result.student.logp, reference.logp, batch.tokens.mask, config.loss.kl_estimator)
    return result._replace(loss=result.loss + config.loss.kl_coef * kl * batch.weight, kl=kl.detach())


def temperature(config: Config) -> float:
    """What logits are divided by on every side: the sampling temperature; 1 for responses nobody sampled."""
    return config.rollout.temperature if config.row.samples == "policy" else 1.0


def surrogate_loss(models: Models, batch: MicroBatch, config: Config, mix: float) -> TokenLoss:
    """Policy gradient: the verifier's advantage, spread over tokens by the method's credit function."""
    mask, settings = batch.tokens.mask, config.loss
    student = score_tokens(models.policy, batch.tokens, mask, temperature(config))
    old_logp = student.logp.detach() if batch.old_logp is None else batch.old_logp
    compared = old_logp if config.teacher.weights == "live" else student.logp.detach()
    credit = CREDITS[config.row.credit](batch, compared, config, mix)
    gap = torch.where(batch.reweighted, batch.teacher_logp - compared, 0.0)
    bounds = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    if settings.dual_clip is not None:
        bounds["dual_clip"] = settings.dual_clip
    surrogate = SURROGATES[settings.surrogate](student.logp, old_logp, credit.credit, mask, **bounds)
    sampler_weight = mask.float()
    if settings.rollout_correction != "none":
        sampler_weight = importance_weight(
            old_logp,
            batch.sampled_logp,
            mask,
            mode=settings.rollout_correction,
            level=settings.rollout_correction_level,
            low=settings.rollout_correction_floor,
            high=settings.rollout_correction_cap,
        )
    loss = surrogate.loss * batch.weight * sampler_weight
    clipped, nothing = surrogate.clipped & mask, torch.zeros_like(loss)
    return TokenLoss(loss, student, batch.teacher_logp, gap, credit, clipped, nothing, sampler_weight)


def divergence_loss(models: Models, batch: MicroBatch, config: Config, mix: float) -> TokenLoss:
    """Distillation: at every token of the student's response, the distance to the teacher who reads more."""
    del mix
    assert batch.privileged is not None
    policy, tokens, settings, heat = models.policy, batch.tokens, config.distill, temperature(config)
    feature = features(policy, policy.model, tokens, tokens.mask)
    with torch.no_grad():
        teacher_feature = features(policy, models.teacher, batch.privileged, tokens.mask)
    if settings.divergence == "sampled_token":
        student = score_features(policy, policy.model, tokens, tokens.mask, heat, feature)
        with torch.no_grad():
            teacher = score_features(policy, models.teacher, tokens, tokens.mask, heat, teacher_feature)
        loss = divergences.sampled_token_loss(student.logp, teacher.logp, kappa=settings.token_clip) * batch.weight
        return _without_credit(batch, loss, student, teacher.logp)
    measure = partial(divergence, settings=settings)
    result = score_divergence(policy, tokens, batch.weight, heat, models.teacher, feature, teacher_feature, measure)
    student = result.student
    if config.loss.kl_coef > 0:
        student = score_features(policy, policy.model, tokens, tokens.mask, heat, feature)
    return _without_credit(batch, result.loss, student, result.teacher_logp)


def likelihood_loss(models: Models, batch: MicroBatch, config: Config, mix: float) -> TokenLoss:
    """Supervised: the negative log-likelihood of a given response."""
    del mix
    student = score_tokens(models.policy, batch.tokens, batch.tokens.mask, temperature(config))
    loss = negative_log_likelihood(student.logp, batch.tokens.mask) * batch.weight
    return _without_credit(batch, loss, student)


def _without_credit(
    batch: MicroBatch, loss: Tensor, student: TokenScores, teacher_logp: Tensor | None = None
) -> TokenLoss:
    nothing = torch.zeros_like(loss, requires_grad=False)
    gap = nothing if teacher_logp is None else teacher_logp - student.logp.detach()
    teacher_logp = batch.teacher_logp if teacher_logp is None else teacher_logp
    credit = uniform_credit(torch.zeros_like(batch.advantage), batch.tokens.mask)
    unclipped, mask = torch.zeros_like(batch.tokens.mask), batch.tokens.mask
    return TokenLoss(loss, student, teacher_logp, gap, credit, unclipped, nothing, mask.float())


def _uniform(batch: MicroBatch, student_logp: Tensor, config: Config, mix: float) -> Credit:
    del student_logp, config, mix
    return uniform_credit(batch.advantage, batch.tokens.mask)


def _self_distilled(batch: MicroBatch, student_logp: Tensor, config: Config, mix: float) -> Credit:
    """`student_logp`: the policy at the time of the teacher's reading where that is the policy itself, which reads once
    before the first of several updates; else the policy as it is now."""
    mask, clip = batch.tokens.mask, config.credit.clip
    credit = self_distilled_credit(
        batch.advantage, student_logp, batch.teacher_logp, mask, mix=mix, clip=clip, weighted=batch.reweighted
    )
    check_credit(credit, batch.advantage, mask, mix=mix, clip=clip)
    return credit


def divergence(student_logp: Tensor, teacher_logp: Tensor, settings: DistillConfig) -> Tensor:
    """The configured divergence of whole distributions at each of n positions, from log-probabilities [n, V]."""
    kappa = settings.token_clip
    if settings.divergence == "pointwise_clipped_forward_kl":
        assert kappa is not None
        return divergences.pointwise_clipped_forward_kl(student_logp, teacher_logp, kappa=kappa)
    if settings.top_k and settings.top_k < student_logp.shape[-1]:
        student_logp, teacher_logp = divergences.top_k_with_tail(
            student_logp, teacher_logp, k=settings.top_k, tail=settings.tail
        )
    beta = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": settings.beta}[settings.divergence]
    loss = divergences.generalized_jsd(student_logp, teacher_logp, beta=beta)
    return loss if kappa is None else divergences.clip_token_loss(loss, kappa)


OBJECTIVES: Mapping[str, Callable[[Models, MicroBatch, Config, float], TokenLoss]] = {
    "surrogate": surrogate_loss,
    "divergence": divergence_loss,
    "likelihood": likelihood_loss,
}
CREDITS: Mapping[str, Callable[[MicroBatch, Tensor, Config, float], Credit]] = {
    "uniform": _uniform,
    "self_distilled": _self_distilled,
}
SURROGATES: Mapping[str, Callable[..., Surrogate]] = {"clipped": clipped_surrogate, "gspo": gspo, "cispo": cispo}
