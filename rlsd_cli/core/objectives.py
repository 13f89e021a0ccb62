"""One credit a token -> one loss a token."""

from typing import Literal, NamedTuple, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_LOG_RATIO = 20.0


class Surrogate(NamedTuple):
    """A policy objective, token by token.

    Attributes:
        loss: To be minimised; 0 outside the mask.
        ratio: Importance ratio of the policy to the one that is held fixed; 1 outside the mask.
        clipped: True where the token has lost its gradient.
    """

    loss: Float[Tensor, "B T"]
    ratio: Float[Tensor, "B T"]
    clipped: Bool[Tensor, "B T"]


def clipped_surrogate(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    credit: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = None,
) -> Surrogate:
    """PPO's pessimistic surrogate, with a separate reach up and down.

        ratio = exp(logp - old_logp)
        loss  = -min(ratio * credit, clip(ratio, 1 - clip_low, 1 + clip_high) * credit)
        loss  = min(loss, -dual_clip * credit)    where credit < 0, if there is a dual clip

    The log-ratio is held to ±20.

    Args:
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        old_logp: The same under the policy before the update; a constant.
        credit: Advantage or credit of each token; a constant.
        mask: True at the tokens that count.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far it may rise above 1.
        dual_clip: Largest ratio that a negative credit is multiplied with, above 1; None for no bound.

    Returns:
        ``Surrogate``.

    Source: PPO, arXiv 1707.06347, Eq. 7; clip-higher: DAPO, arXiv 2503.14476; dual clip: arXiv 1912.09729.
    """
    log_ratio, saturated = _log_ratio(logp, old_logp, mask)
    return _pessimistic(log_ratio.exp(), saturated, credit, mask, clip_low, clip_high, dual_clip)


def gspo(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    credit: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = None,
) -> Surrogate:
    """``clipped_surrogate`` on the sequence's length-normalised ratio; the paper clips at 3e-4 and 4e-4.

        sequence_ratio = exp(sum(mask * (logp - old_logp)) / sum(mask))
        ratio          = sg(sequence_ratio) * exp(logp) / sg(exp(logp))
        loss           = -min(ratio * credit, clip(ratio, 1 - clip_low, 1 + clip_high) * credit)

    Each token has the value of the sequence's ratio and the gradient of its own log-probability.

    Args:
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        old_logp: The same under the policy before the update; a constant.
        credit: Advantage or credit of each token; a constant.
        mask: True at the tokens that count.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far it may rise above 1.
        dual_clip: Largest ratio that a negative credit is multiplied with, above 1; None for no bound.

    Returns:
        ``Surrogate``.

    Source: GSPO, arXiv 2507.18071, in its token form (GSPO-token).
    """
    log_ratio, saturated = _log_ratio(logp, old_logp, mask)
    num_tokens = mask.sum(dim=1, keepdim=True).clamp(min=1)
    sequence_log_ratio = (log_ratio.sum(dim=1, keepdim=True) / num_tokens).detach()
    ratio = torch.where(mask, sequence_log_ratio + log_ratio - log_ratio.detach(), 0.0).exp()
    return _pessimistic(ratio, saturated, credit, mask, clip_low, clip_high, dual_clip)


def cispo(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    credit: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> Surrogate:
    """REINFORCE with a clipped, constant importance weight: the weight is clipped, the gradient never.

        ratio = exp(logp - old_logp)
        loss  = -sg(clip(ratio, 1 - clip_low, 1 + clip_high)) * credit * logp

    Args:
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        old_logp: The same under the policy before the update; a constant.
        credit: Advantage or credit of each token; a constant.
        mask: True at the tokens that count.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far it may rise above 1.

    Returns:
        ``Surrogate``; ``clipped`` is False everywhere.

    Source: MiniMax-M1, arXiv 2506.13585.
    """
    log_ratio, _ = _log_ratio(logp, old_logp, mask)
    ratio = log_ratio.exp().detach()
    loss = -ratio.clamp(1 - clip_low, 1 + clip_high) * _inside(credit, mask) * _inside(logp, mask)
    return Surrogate(loss, ratio, torch.zeros_like(mask))


def negative_log_likelihood(logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Supervised fine-tuning's loss.

        loss = -logp

    Args:
        logp: Log-probability of each target token under the policy (nats).
        mask: True at the tokens that count.

    Returns:
        Loss of each token (nats), 0 outside the mask.
    """
    return -_inside(logp, mask)


def kl_estimate(
    logp: Float[Tensor, "B T"],
    reference_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    kind: Literal["k1", "k2", "k3"],
) -> Float[Tensor, "B T"]:
    """KL(policy || reference) estimated at tokens that the policy sampled.

        log_ratio = logp - reference_logp
        k1 = log_ratio                          unbiased, of either sign
        k2 = log_ratio ** 2 / 2                 biased, not negative, gradient of the KL
        k3 = exp(-log_ratio) + log_ratio - 1    unbiased, not negative

    The log-ratio is held to ±20.

    Args:
        logp: Log-probability of each sampled token under the policy (nats).
        reference_logp: The same under the reference.
        mask: True at the tokens that count.
        kind: Which estimator.

    Returns:
        Estimate of each token (nats), 0 outside the mask.

    Source: J. Schulman, "Approximating KL Divergence" (2020); k3 in GRPO, arXiv 2402.03300, Eq. 4.
    """
    log_ratio, _ = _log_ratio(logp, reference_logp, mask)
    match kind:
        case "k1":
            return log_ratio
        case "k2":
            return log_ratio.square() / 2
        case "k3":
            return torch.expm1(-log_ratio) + log_ratio
        case _:
            assert_never(kind)


def importance_weight(
    old_logp: Float[Tensor, "B T"],
    sampled_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    mode: Literal["truncate", "mask"],
    level: Literal["token", "sequence"] = "token",
    low: float = 0.0,
    high: float = 2.0,
) -> Float[Tensor, "B T"]:
    """Corrects for an engine that sampled with other probabilities than the trainer computes.

        weight = exp(old_logp - sampled_logp)                    at level "token"
        weight = exp(sum(mask * (old_logp - sampled_logp)))      at level "sequence", the same for all its tokens
        weight = clip(weight, low, high)                         in mode "truncate"
        weight = weight if low <= weight <= high else 0          in mode "mask"

    ``truncate`` is truncated importance sampling (TIS), ``mask`` with both bounds is IcePop. The log-ratio is held to
    ±20, before and after the sum.

    Args:
        old_logp: Log-probability of each sampled token, from the trainer before the update (nats).
        sampled_logp: The same, from the engine that sampled it.
        mask: True at the tokens that count.
        mode: What happens to a weight out of bounds.
        level: Whether a token or the whole sequence is weighed.
        low: Smallest weight.
        high: Largest weight.

    Returns:
        Weight of each token's loss, detached, 0 outside the mask.

    Source: TIS, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" (2025); IcePop, arXiv
    2510.18855.
    """
    log_ratio, _ = _log_ratio(old_logp, sampled_logp, mask)
    if level == "sequence":
        log_ratio = log_ratio.sum(dim=1, keepdim=True).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).expand_as(mask)
    weight = log_ratio.detach().exp()
    match mode:
        case "truncate":
            bounded = weight.clamp(low, high)
        case "mask":
            bounded = torch.where((weight >= low) & (weight <= high), weight, 0.0)
        case _:
            assert_never(mode)
    return _inside(bounded, mask)


def _pessimistic(
    ratio: Float[Tensor, "B T"],
    saturated: Bool[Tensor, "B T"],
    credit: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
) -> Surrogate:
    credit = _inside(credit, mask)
    gain, blame = credit > 0, credit < 0
    loss = -torch.minimum(ratio * credit, ratio.clamp(1 - clip_low, 1 + clip_high) * credit)
    clipped = (gain & (ratio > 1 + clip_high)) | (blame & (ratio < 1 - clip_low)) | ((gain | blame) & saturated)
    if dual_clip is not None:
        loss = torch.where(blame, torch.minimum(loss, -dual_clip * credit), loss)
        clipped = clipped | (blame & (ratio > dual_clip))
    return Surrogate(loss, ratio, clipped)


def _log_ratio(
    logp: Float[Tensor, "B T"], other_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """``logp - other_logp`` held to ±20, 0 outside the mask, and where it was held: there the gradient is gone."""
    log_ratio = _inside(logp - other_logp, mask)
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO), log_ratio.abs() > MAX_LOG_RATIO


def _inside(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return torch.where(mask, values, 0.0)
