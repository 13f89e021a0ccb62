"""One ratio and one credit a token -> one loss a token. The ratio is an argument: `core.ratios` has the kinds."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlsd_cli.core.ratios import Ratio


class Surrogate(NamedTuple):
    """A policy objective, token by token.

    Attributes:
        loss: To be minimised; 0 outside the mask.
        clipped: True where the token has lost its gradient.
    """

    loss: Float[Tensor, "B T"]
    clipped: Bool[Tensor, "B T"]


def clipped_surrogate(
    ratio: Ratio,
    credit: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = None,
) -> Surrogate:
    """PPO's pessimistic surrogate, with a separate reach up and down.

        loss = -min(ratio * credit, clip(ratio, 1 - clip_low, 1 + clip_high) * credit)
        loss = min(loss, -dual_clip * credit)    where credit < 0, if there is a dual clip

    Args:
        ratio: Importance ratio; carries the gradient. On ``sequence_ratio`` this is GSPO, which clips at 3e-4 and 4e-4.
        credit: Advantage or credit of each token; a constant.
        mask: True at the tokens that count.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far it may rise above 1.
        dual_clip: Largest ratio that a negative credit is multiplied with, above 1; None for no bound.

    Returns:
        ``Surrogate``.

    Source: PPO, arXiv 1707.06347, Eq. 7; clip-higher: DAPO, arXiv 2503.14476; dual clip: arXiv 1912.09729.
    """
    credit = torch.where(mask, credit, 0.0)
    gain, blame = credit > 0, credit < 0
    value = ratio.value
    loss = -torch.minimum(value * credit, value.clamp(1 - clip_low, 1 + clip_high) * credit)
    clipped = (gain & (value > 1 + clip_high)) | (blame & (value < 1 - clip_low)) | ((gain | blame) & ratio.saturated)
    if dual_clip is not None:
        loss = torch.where(blame, torch.minimum(loss, -dual_clip * credit), loss)
        clipped = clipped | (blame & (value > dual_clip))
    return Surrogate(loss, clipped)


def cispo(
    ratio: Ratio,
    credit: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> Surrogate:
    """REINFORCE with a clipped, constant importance weight: the weight is clipped, the gradient never.

        loss = -sg(clip(ratio, 1 - clip_low, 1 + clip_high)) * credit * logp

    Args:
        ratio: Importance ratio; detached here.
        credit: Advantage or credit of each token; a constant.
        mask: True at the tokens that count.
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far it may rise above 1.

    Returns:
        ``Surrogate``; ``clipped`` is False everywhere.

    Source: MiniMax-M1, arXiv 2506.13585.
    """
    weight = ratio.value.detach().clamp(1 - clip_low, 1 + clip_high)
    loss = -weight * torch.where(mask, credit, 0.0) * torch.where(mask, logp, 0.0)
    return Surrogate(loss, torch.zeros_like(mask))


def mean_logp_regression(
    logp: Float[Tensor, "B T"], target: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The square of what lacks the mean log-probability of a response to its target, at each of its tokens.

        loss = (sum(mask * logp) / sum(mask) - target) ** 2

    Under weights that add up to 1 over a response it is the response's own square, with its gradient.

    Args:
        logp: Log-probability of each sampled token under the policy (nats); carries the gradient.
        target: What the mean should be (nats); a constant.
        mask: True at the tokens that count.

    Returns:
        Loss of each token (nats squared), the same in the whole response, 0 outside the mask.

    Source: FlowSD, trajectory balance of a length-normalised log-probability.
    """
    num_tokens = mask.sum(dim=1).clamp(min=1)
    mean = torch.where(mask, logp, 0.0).sum(dim=1) / num_tokens
    return torch.where(mask, (mean - target).square()[:, None], 0.0)


def negative_log_likelihood(logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Supervised fine-tuning's loss.

        loss = -logp

    Args:
        logp: Log-probability of each target token under the policy (nats).
        mask: True at the tokens that count.

    Returns:
        Loss of each token (nats), 0 outside the mask.
    """
    return -torch.where(mask, logp, 0.0)
