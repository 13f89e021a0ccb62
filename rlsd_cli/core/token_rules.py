"""How much each token weighs in a term, from its place or from the teacher's certainty."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def position_weights(mask: Bool[Tensor, "B T"], *, floor: float, centre: float, width: float) -> Float[Tensor, "B T"]:
    """Weights that rise along a response, from a floor to 1.

        place  = (t + 0.5) / n    for token t of n, from 0
        weight = floor + (1 - floor) * sigmoid((place - centre) / width)

    With ``floor`` 1 every weight is 1, exactly.

    Args:
        mask: True at the tokens of a response, from its first on.
        floor: Smallest weight, 0 to 1.
        centre: Relative position at which the weight is halfway.
        width: How slowly it rises, above 0.

    Returns:
        Weights, 0 outside the mask.

    Source: PW-OPSD, arXiv 2605.21606, released code, with 0.25, 0.3 and 0.1.
    """
    if floor == 1:
        return mask.float()
    num_tokens = mask.sum(dim=1, keepdim=True).clamp(min=1)
    place = (mask.cumsum(dim=1) - 0.5) / num_tokens
    return torch.where(mask, floor + (1 - floor) * torch.sigmoid((place - centre) / width), 0.0)


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
