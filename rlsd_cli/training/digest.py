"""A short name for weights, so that two runs can be told apart or found equal to the last bit."""

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from rlsd_cli.distributed.world import World


def weights_digest(model: Any, world: World) -> str:
    """Sixteen hex digits of the weights that are trained: of the sums of their bits, tensor by tensor.

    Sums of whole numbers do not depend on their order, so that weights that are split among processes have the digest
    that they have whole. All processes call this.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = torch.stack([_sum_of_bits(parameter.detach()) for parameter in trained]).tolist()
    if any(isinstance(parameter, DTensor) for parameter in trained):
        sums = [sum(each) for each in zip(*world.all_gather(sums), strict=True)]
    wrapped = [number % 2**32 for number in sums]
    return hashlib.sha256(repr(wrapped).encode()).hexdigest()[:16]


def _sum_of_bits(weights: Tensor) -> Tensor:
    """The sum of this process's part of a tensor, its bits read as whole numbers; it wraps at 32 bits."""
    local = weights.to_local() if isinstance(weights, DTensor) else weights
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[local.element_size()]
    return local.contiguous().view(whole).sum(dtype=torch.int32)
