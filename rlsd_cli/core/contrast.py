"""Credit from the contrast of two readings of the same response: after what is right, and after what is wrong."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlsd_cli.core.evidence import Credit


def mixture_logp(logp: Float[Tensor, "B K T"], shown: Bool[Tensor, "B K T"]) -> Float[Tensor, "B T"]:
    """Log-probability under the even mixture of the readings that there are.

        mixture_logp = logsumexp(logp[shown]) - log(number shown)

    Args:
        logp: Log-probability of each sampled token after each of K texts (nats).
        shown: True where there was a text.

    Returns:
        The mixture's log-probability; 0 where nothing was shown.

    Source: RLCSD, arXiv 2606.11709.
    """
    count = shown.sum(dim=1)
    total = torch.where(shown, logp, -torch.inf).logsumexp(dim=1)
    return torch.where(count > 0, total - count.clamp(min=1).log(), 0.0)


def mean_logp(logp: Float[Tensor, "B K T"], shown: Bool[Tensor, "B K T"]) -> Float[Tensor, "B T"]:
    """Mean log-probability over the readings that there are; 0 where nothing was shown.

    Args:
        logp: Log-probability of each sampled token after each of K texts (nats).
        shown: True where there was a text.

    Source: CREDIT, arXiv 2605.11613: the part of a gap that any hint would cause.
    """
    return torch.where(shown, logp, 0.0).sum(dim=1) / shown.sum(dim=1).clamp(min=1)


def keep_sign(value: Float[Tensor, "B T"], advantage: Float[Tensor, " B"]) -> Float[Tensor, "B T"]:
    """A credit that may fall to 0 and not beyond: ``max(value, 0)`` where the advantage is positive, ``min(value, 0)``
    where it is negative. Rows with advantage 0 are as they were."""
    base = advantage[:, None]
    bounded = torch.where(base > 0, value.clamp(min=0), value.clamp(max=0))
    return torch.where(base == 0, value, bounded)


class Residual(NamedTuple):
    """What the contrast adds to the advantage of each token.

    Attributes:
        value: The addition; 0 where one of the readings is lacking.
        selected: True where it is large enough to count.
    """

    value: Float[Tensor, "B T"]
    selected: Bool[Tensor, "B T"]


def contrast_residual(
    correct_logp: Float[Tensor, "B T"],
    wrong_logp: Float[Tensor, "B T"],
    shown: Bool[Tensor, "B T"],
    *,
    temperature: float,
    scale: float,
    limit: float,
    threshold: float,
) -> Residual:
    """How much more a response looks like right ones than like wrong ones, token by token.

        evidence = correct_logp - wrong_logp
        value    = clip(scale * tanh(evidence / temperature), -limit, limit)
        selected = |value| > threshold

    Args:
        correct_logp: Log-probability of each token after a correct response (nats).
        wrong_logp: The same after wrong ones, see ``mixture_logp``.
        shown: True where there were both.
        temperature: The source's tau (nats); small ones leave only the sign.
        scale: The source's beta times lambda.
        limit: Largest value.
        threshold: The source's delta.

    Returns:
        ``Residual``.

    Source: RLCSD, arXiv 2606.11709.
    """
    evidence = torch.where(shown, correct_logp - wrong_logp, 0.0).detach()
    value = (scale * torch.tanh(evidence / temperature)).clamp(-limit, limit)
    return Residual(value, shown & (value.abs() > threshold))


def added_credit(
    advantage: Float[Tensor, " B"],
    evidence: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    weight: float,
    clip: float,
) -> Credit:
    """The advantage plus a bounded evidence, which cannot turn its sign.

        credit = keep_sign(advantage + weight * clip(evidence, -clip, clip))

    A row with advantage 0 gets the evidence alone, so that groups in which all fail teach something.

    Args:
        advantage: One advantage a rollout.
        evidence: Of each token (nats).
        mask: True at the tokens that count.
        weight: The source's kappa.
        clip: The source's epsilon (nats).

    Returns:
        ``Credit`` with the diagnostic ``evidence``, after the clip.

    Source: SIPO, arXiv 2609.36742, additive form.
    """
    bounded = evidence.clamp(-clip, clip).detach()
    credit = keep_sign(advantage[:, None] + weight * bounded, advantage)
    return Credit(torch.where(mask, credit, 0.0), {"evidence": bounded})


def up_to_first_below(gap: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, threshold: float) -> Bool[Tensor, "B T"]:
    """True at the tokens up to and including the first whose gap is below ``-threshold``; all, where there is none.

    Args:
        gap: Teacher less student (nats).
        mask: True at the tokens that count.
        threshold: How far below 0 a gap is a disagreement (nats).
    """
    below = (mask & (gap < -threshold)).long()
    return mask & (below.cumsum(dim=1) - below == 0)
