"""How much each token weighs in a term, from its place or from the teacher's certainty."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def position_weights(mask: Bool[Tensor, "B T"], *, power: float) -> Float[Tensor, "B T"]:
    """Weights that grow along a response and average 1 over it.

        weight = ((t + 1) / n) ** power / mean    for token t of n, from 0

    With ``power`` 0 every weight is 1, exactly.

    Args:
        mask: True at the tokens of a response, from its first on.
        power: 0 or above.

    Returns:
        Weights, 0 outside the mask.

    Source: the idea is PW-OPSD's, arXiv 2605.21606, which does not state its function.
    """
    if power == 0:
        return mask.float()
    place = mask.cumsum(dim=1)
    num_tokens = mask.sum(dim=1, keepdim=True).clamp(min=1)
    weight = torch.where(mask, (place / num_tokens) ** power, 0.0)
    return weight * num_tokens / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)


def certainty_weights(
    entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, sharpness: float
) -> Float[Tensor, "B T"]:
    """Weights that fall with the teacher's entropy and average 1 over all tokens of the mask.

        weight = exp(-sharpness * entropy) / mean(exp(-sharpness * entropy))

    Args:
        entropy: Of the teacher's distribution at each token (nats).
        mask: True at the tokens that count.
        sharpness: The source's beta.

    Returns:
        Weights, 0 outside the mask.

    Source: SRPO, arXiv 2604.02288.
    """
    weight = torch.where(mask, (-sharpness * entropy).exp(), 0.0)
    return weight * mask.sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
