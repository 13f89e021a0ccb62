"""One loss a token -> one loss a step, with a denominator that has a name."""

from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Reduction = Literal["sequence_mean", "token_mean", "constant"]


def token_weights(
    mask: Bool[Tensor, "B T"],
    reduction: Reduction,
    *,
    max_tokens: int | None = None,
    num_sequences: int | None = None,
) -> Float[Tensor, "B T"]:
    """The weight of each token in the step's loss, ``sum(token_loss * weights)``.

    ===================  ===================================  ==================================================
    reduction            weight of a counted token            what it means
    ===================  ===================================  ==================================================
    ``sequence_mean``    1 / (num_sequences * num_tokens[i])  mean over sequences of their token means (GRPO)
    ``token_mean``       1 / sum(num_tokens)                  every token counts the same (DAPO)
    ``constant``         1 / (num_sequences * max_tokens)     no length enters (Dr. GRPO)
    ===================  ===================================  ==================================================

    ``num_tokens[i]`` counts the True in row i of the mask. Weights are computed once, on the whole batch, so every way
    of cutting it into micro-batches sums to the same loss. Token losses are expected to be 0 outside the mask, since a
    NaN stays NaN under a weight of 0.

    Args:
        mask: True at the tokens that count.
        reduction: Which denominator.
        max_tokens: Length that ``constant`` divides by.
        num_sequences: Sequences to divide by; None for those with at least one counted token.

    Returns:
        Weights in float32, 0 outside the mask, all 0 for an empty one.

    Raises:
        ValueError: ``constant`` without ``max_tokens``.

    Source: GRPO, arXiv 2402.03300, Eq. 3; DAPO, arXiv 2503.14476; Dr. GRPO, arXiv 2503.20783.
    """
    num_tokens = mask.sum(dim=1, keepdim=True)
    counted = (num_tokens > 0).sum() if num_sequences is None else torch.full_like(num_tokens, num_sequences)
    match reduction:
        case "sequence_mean":
            denominator = counted * num_tokens
        case "token_mean":
            denominator = num_tokens.sum()
        case "constant":
            if max_tokens is None:
                raise ValueError("the constant reduction needs max_tokens")
            denominator = counted * max_tokens
        case _:
            assert_never(reduction)
    return torch.where(mask, 1.0 / denominator, 0.0)
