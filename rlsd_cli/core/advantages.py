"""Scores by group -> one advantage a rollout.

===================  ===========================================================
baseline             what is subtracted
===================  ===========================================================
``mean``             the mean of the group's valid scores
``leave_one_out``    the mean of the *other* valid scores of the group
``batch_mean``       the mean of the batch's valid scores
``none``             nothing
===================  ===========================================================

===================  ===========================================================
scale                what that is divided by
===================  ===========================================================
``group_std``        the standard deviation of the group's valid scores
``batch_std``        that of the batch's valid scores
``none``             nothing
===================  ===========================================================

===================  ===========================================================
method               setting
===================  ===========================================================
GRPO, RLSD Eq. 1     ``mean``, ``group_std``
Dr. GRPO             ``mean``, ``none``
RLOO                 ``leave_one_out``, ``none``
REINFORCE            ``none``, ``none``
REINFORCE++          ``batch_mean``, ``batch_std``; with a baseline ``mean``, ``batch_std``
===================  ===========================================================
"""

from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Baseline = Literal["mean", "leave_one_out", "batch_mean", "none"]
Scale = Literal["group_std", "batch_std", "none"]


def group_advantages(
    scores: Float[Tensor, "P G"],
    valid: Bool[Tensor, "P G"],
    *,
    baseline: Baseline = "mean",
    scale: Scale = "group_std",
    ddof: int = 1,
    eps: float = 1e-6,
) -> Float[Tensor, "P G"]:
    """How much better each rollout scored than its siblings.

        advantage = (score - baseline) / (std + eps)

    ``ddof=1`` is the unbiased estimate of the deviation, ``ddof=0`` the population's.

    Degenerate cases have exact answers, never NaN:

    - An invalid sample (verifier error, masked truncation) enters neither baseline nor std and gets 0.
    - A group whose valid scores are all equal gets 0 under ``mean`` and ``leave_one_out``, to the last bit.
    - A spread of zero over at least two samples says nothing about them: the scaled advantage is 0.
    - Fewer than two samples have no spread: they are not scaled, so under ``none`` a lone sample keeps its score.

    Args:
        scores: Verifier scores, finite where valid; P prompts, G samples a prompt.
        valid: True where the score counts.
        baseline: What is subtracted.
        scale: What it is divided by.
        ddof: Samples taken off the count in the std.
        eps: Added to the std.

    Returns:
        Advantages in the scores' unit, or in standard deviations when scaled.

    Source: GRPO, arXiv 2402.03300; Dr. GRPO, arXiv 2503.20783; RLOO, arXiv 2402.14740; REINFORCE++, arXiv 2501.03262;
    RLSD, arXiv 2604.03128, Eq. 1.
    """
    advantage = _centred(scores, valid, baseline)

    match scale:
        case "group_std":
            advantage = advantage / _spread(scores, valid, ddof=ddof, eps=eps)
        case "batch_std":
            advantage = advantage / _spread(scores.reshape(1, -1), valid.reshape(1, -1), ddof=ddof, eps=eps)
        case "none":
            pass
        case _:
            assert_never(scale)

    return torch.where(valid, advantage, 0.0)


def _centred(scores: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"], baseline: Baseline) -> Float[Tensor, "P G"]:
    """Scores less their baseline."""
    if baseline == "none":
        return scores
    if baseline == "batch_mean":
        above = _above_lowest(scores.reshape(1, -1), valid.reshape(1, -1)).reshape_as(scores)
        return above - above.sum() / valid.sum().clamp(min=1)
    above_lowest = _above_lowest(scores, valid)
    num_valid = valid.sum(dim=1, keepdim=True)
    total = above_lowest.sum(dim=1, keepdim=True)
    if baseline == "mean":
        return above_lowest - total / num_valid.clamp(min=1)
    return above_lowest - (total - above_lowest) / (num_valid - 1).clamp(min=1)


def _above_lowest(scores: Float[Tensor, "R N"], valid: Bool[Tensor, "R N"]) -> Float[Tensor, "R N"]:
    """Scores measured from the row's lowest valid one: equal scores become exact zeros before any mean can round."""
    lowest = torch.where(valid, scores, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(valid, scores - lowest, 0.0)


def _spread(scores: Float[Tensor, "R N"], valid: Bool[Tensor, "R N"], *, ddof: int, eps: float) -> Float[Tensor, "R 1"]:
    """``std + eps`` by row; infinite where the std is 0, and 1 where fewer than two samples are valid."""
    above_lowest = _above_lowest(scores, valid)
    num_valid = valid.sum(dim=1, keepdim=True)
    mean = above_lowest.sum(dim=1, keepdim=True) / num_valid.clamp(min=1)
    squares = torch.where(valid, above_lowest - mean, 0.0).square()
    std = (squares.sum(dim=1, keepdim=True) / (num_valid - ddof).clamp(min=1)).sqrt()
    spread = torch.where(std > 0, std + eps, torch.inf)
    return torch.where(num_valid < 2, 1.0, spread)
