"""FIPO's credit: a token counts for more where the policy has since made the tokens after it likelier."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlsd_cli.core.evidence import Credit
from rlsd_cli.core.ratios import log_ratio

SAFE_LOW = 0.8
"""Smallest weight of a token of negative advantage whose ratio is above the safety threshold; the largest is 1."""


def future_kl_credit(
    advantage: Float[Tensor, " B"],
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    half_life: float,
    clip_low: float,
    clip_high: float,
    safety: float,
    ratio_limit: float,
) -> Credit:
    """The advantage times what the update has done to the rest of the response so far.

        difference = sg(logp - old_logp), ratio = exp(difference)
        future[t]  = sum over k >= t of  discount ** (k - t) * difference[k]    without k of ratio[k] > ratio_limit
        discount   = 2 ** (-1 / half_life)
        weight     = clip(exp(future), 1 - clip_low, 1 + clip_high)
        weight     = clip(weight, 0.8, 1)      where advantage < 0 and ratio > safety
        credit     = advantage * weight

    A response of negative advantage with more than one token of ``ratio > ratio_limit`` has credit 0. Where the policy
    is still the old one the result *is* ``uniform_credit``, bit for bit.

    Args:
        advantage: One advantage a rollout.
        logp: Log-probability of each sampled token under the policy as it is now (nats); detached here.
        old_logp: The same before the update.
        mask: True at the tokens that count.
        half_life: Tokens after which a log-ratio counts half; the source's tau.
        clip_low: How far a weight may fall below 1.
        clip_high: How far it may rise above 1.
        safety: Ratio above which a token of negative advantage has a weight of at most 1.
        ratio_limit: Ratio above which a token is in no sum; the source's c.

    Returns:
        ``Credit``. Its diagnostics: ``future_kl``, the sum (nats); ``weight``; ``weight_low`` and ``weight_high``, True
        where it was raised to ``1 - clip_low`` or lowered to ``1 + clip_high``; ``dropped``, True in a response whose
        ratios leave it without credit.

    Source: FIPO, arXiv 2603.19835, and its released code, which bounds the weight above the safety threshold where the
    paper sets it to 1.
    """
    difference = log_ratio(logp, old_logp, mask)[0].detach()
    beyond = difference > math.log(ratio_limit)
    blame = (advantage < 0)[:, None]

    future = discounted_future(torch.where(beyond, 0.0, difference), discount=2 ** (-1 / half_life))
    raw = future.exp()
    weight = raw.clamp(1 - clip_low, 1 + clip_high)
    weight = torch.where(blame & (difference.exp() > safety), weight.clamp(SAFE_LOW, 1.0), weight)

    dropped = mask & blame & ((blame & beyond).sum(dim=1, keepdim=True) > 1)
    credit = torch.where(mask & ~dropped, advantage[:, None] * weight, 0.0)
    clipped = {"weight_low": mask & (raw < 1 - clip_low), "weight_high": mask & (raw > 1 + clip_high)}
    return Credit(credit, {"future_kl": future, "weight": weight, **clipped, "dropped": dropped})


def discounted_future(values: Float[Tensor, "B T"], *, discount: float) -> Float[Tensor, "B T"]:
    """The discounted sum of each value and those after it, in log2(T) additions of whole rows.

        future[t] = sum over k >= t of  discount ** (k - t) * values[k]

    After a round with ``reach`` the sum of a token is over the ``2 * reach`` values from it on.

    Args:
        values: One value a token, 0 where there is none.
        discount: Factor a token, in (0, 1].

    Returns:
        One sum a token.
    """
    future, reach = values, 1
    while reach < values.shape[1]:
        later = torch.nn.functional.pad(future[:, reach:], (0, reach))
        future, reach = future + discount**reach * later, 2 * reach
    return future
