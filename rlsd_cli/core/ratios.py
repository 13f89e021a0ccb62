"""Importance ratios: how much likelier a token has become, and how much likelier the trainer finds it than the sampler.

Log-ratios are held to ±20, where an exponential is far beyond every clip.
"""

from typing import Literal, NamedTuple, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_LOG_RATIO = 20.0


class Ratio(NamedTuple):
    """The ratio of the policy to the policy before the update.

    Attributes:
        value: Ratio of each token; carries the gradient; 1 outside the mask.
        saturated: True where the log-ratio was held to ±20, which takes the gradient away.
    """

    value: Float[Tensor, "B T"]
    saturated: Bool[Tensor, "B T"]


def token_ratio(logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Ratio:
    """Each token's own ratio.

        ratio = exp(logp - old_logp)

    Args:
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        old_logp: The same under the policy before the update; a constant.
        mask: True at the tokens that count.

    Returns:
        ``Ratio``.

    Source: PPO, arXiv 1707.06347.
    """
    difference, saturated = log_ratio(logp, old_logp, mask)
    return Ratio(difference.exp(), saturated)


def sequence_ratio(logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Ratio:
    """The sequence's length-normalised ratio, at each of its tokens.

        sequence = exp(sum(mask * (logp - old_logp)) / sum(mask))
        ratio    = sg(sequence) * exp(logp) / sg(exp(logp))

    Each token has the value of the sequence's ratio and the gradient of its own log-probability.

    Args:
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        old_logp: The same under the policy before the update; a constant.
        mask: True at the tokens that count.

    Returns:
        ``Ratio``.

    Source: GSPO, arXiv 2507.18071, in its token form (GSPO-token).
    """
    difference, saturated = log_ratio(logp, old_logp, mask)
    num_tokens = mask.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (difference.sum(dim=1, keepdim=True) / num_tokens).detach()
    return Ratio(torch.where(mask, mean + difference - difference.detach(), 0.0).exp(), saturated)


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

    ``truncate`` is truncated importance sampling (TIS), ``mask`` with both bounds is IcePop. Log-ratios
    are held before and after the sum.

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
    difference, _ = log_ratio(old_logp, sampled_logp, mask)
    if level == "sequence":
        difference = difference.sum(dim=1, keepdim=True).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).expand_as(mask)
    weight = difference.detach().exp()
    match mode:
        case "truncate":
            bounded = weight.clamp(low, high)
        case "mask":
            bounded = torch.where((weight >= low) & (weight <= high), weight, 0.0)
        case _:
            assert_never(mode)
    return torch.where(mask, bounded, 0.0)


def log_ratio(
    logp: Float[Tensor, "B T"], other_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """``logp - other_logp`` held to ±20, 0 outside the mask; and True where it was held."""
    difference = torch.where(mask, logp - other_logp, 0.0)
    return difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO), difference.abs() > MAX_LOG_RATIO
