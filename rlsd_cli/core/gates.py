"""Credit from the gap between teacher and student through a gate: soft, one-sided, or with a dead zone."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlsd_cli.core.evidence import Credit


def softplus_credit(
    advantage: Float[Tensor, " B"], gap: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, weight: float
) -> Credit:
    """Takes from a token's advantage the more, the more the teacher expected it.

        credit = advantage - weight * (softplus(gap) - log(2)) / 2

    With ``weight`` or ``gap`` 0 it is the advantage.

    Args:
        advantage: One advantage a rollout.
        gap: Teacher less student (nats).
        mask: True at the tokens that count.
        weight: The source's lambda.

    Returns:
        ``Credit``; it may have another sign than the advantage.

    Source: AntiSD, arXiv 2605.11609.
    """
    taken = (torch.nn.functional.softplus(gap) - math.log(2)) / 2
    credit = advantage[:, None] - weight * torch.where(gap == 0, 0.0, taken).detach()
    return Credit(torch.where(mask, credit, 0.0), {})


def dead_zone_credit(
    advantage: Float[Tensor, " B"],
    gap: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    gain: float,
    blame: float,
    dead_zone: float,
    limit: float = 5.0,
) -> Credit:
    """Raises the credit of tokens whose gap agrees with the verdict, beyond a dead zone.

        bounded = clip(gap, -limit, limit)
        credit  = advantage * (1 + gain * max(bounded - dead_zone, 0))      where advantage >= 0
        credit  = advantage * (1 + blame * max(-bounded - dead_zone, 0))    where advantage < 0

    Args:
        advantage: One advantage a rollout.
        gap: Teacher less student (nats).
        mask: True at the tokens that count.
        gain: The source's lambda.
        blame: The source's gamma.
        dead_zone: The source's tau (nats).
        limit: Largest gap (nats).

    Returns:
        ``Credit``, of the sign of the advantage and never smaller, with the diagnostic ``weight``.

    Source: AMR-SD, arXiv 2605.18529.
    """
    base, bounded = advantage[:, None], gap.clamp(-limit, limit).detach()
    up, down = gain * (bounded - dead_zone).clamp(min=0), blame * (-bounded - dead_zone).clamp(min=0)
    weight = 1 + torch.where(base >= 0, up, down)
    return Credit(torch.where(mask, base * weight, 0.0), {"weight": weight})


def gate_credit(gap: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, sharpness: float) -> Credit:
    """A credit above 0 for every token, the larger the more the teacher agrees.

        credit = sigmoid(sharpness * gap)

    Its policy gradient is that of ``sg(gate) * (teacher_logp - student_logp)``, the reverse KL at the sampled token
    through a gate.

    Args:
        gap: Teacher less student (nats).
        mask: True at the tokens that count.
        sharpness: The source's beta.

    Returns:
        ``Credit`` with the diagnostic ``gate``.

    Source: SDAR, arXiv 2605.15155.
    """
    gate = torch.sigmoid(sharpness * gap.detach())
    return Credit(torch.where(mask, gate, 0.0), {"gate": gate})


def one_sided_gap(gap: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, correct: bool) -> Credit:
    """The gap as credit where it agrees with the verdict, and 0 where it does not.

        credit = max(gap, 0)    of a correct response
        credit = min(gap, 0)    of a wrong one

    Args:
        gap: Teacher less student (nats).
        mask: True at the tokens that count.
        correct: Whether the responses are correct.

    Returns:
        ``Credit`` with the diagnostic ``agrees``.

    Source: OPDVR, arXiv 2608.24696.
    """
    gap = gap.detach()
    agrees = gap > 0 if correct else gap < 0
    return Credit(torch.where(mask & agrees, gap, 0.0), {"agrees": agrees})
