"""AdamW, with moments in float32 or in 8 bits."""

from typing import Any

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.model import Policy

BLOCK = 256
"""Numbers that share a scale in 8-bit moments."""
PIECE = 1 << 22
"""Numbers that are updated at once where 8-bit moments are unpacked first; a multiple of `BLOCK`."""


def make_optimizer(policy: Policy, config: Config) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only."""
    optim = config.optim
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    settings: dict[str, Any] = {"lr": optim.lr, "betas": (optim.beta1, optim.beta2), "eps": optim.eps}
    if optim.state == "8bit":
        optimizer: torch.optim.Optimizer = adamw_8bit()(groups, **settings)
        return optimizer
    return torch.optim.AdamW(groups, **settings, fused=True)


def adamw_8bit() -> Any:
    """The class; matrices of 4096 numbers or more have their moments in 8 bits, with a scale for every 256.

    Raises:
        RlsdError: (exit 3) it is not installed.
    """
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise RlsdError(
            "`optim.state=8bit` needs the package `bitsandbytes`",
            hint="`pip install 'rlsd[optim8]'`",
            exit_code=EXIT_MACHINE,
        ) from error

    class PiecewiseAdamW8bit(AdamW8bit):  # type: ignore[misc]
        """On a CPU the package unpacks all moments of a matrix at once; blocks are independent, so here only some."""

        def update_step(self, group: Any, p: Tensor, gindex: int, pindex: int) -> None:
            state = self.state[p]
            if p.device.type != "cpu" or state["state1"].dtype != torch.uint8 or p.numel() <= PIECE:
                super().update_step(group, p, gindex, pindex)
                return
            assert p.grad is not None
            for start in range(0, p.numel(), PIECE):
                here, blocks = slice(start, start + PIECE), slice(start // BLOCK, (start + PIECE) // BLOCK)
                piece = p.data.view(-1)[here]
                piece.grad = p.grad.view(-1)[here]
                self.state[piece] = state | {
                    "state1": state["state1"].view(-1)[here],
                    "state2": state["state2"].view(-1)[here],
                    "absmax1": state["absmax1"][blocks],
                    "absmax2": state["absmax2"][blocks],
                }
                super().update_step(group, piece, gindex, pindex)
                del self.state[piece]
            state["step"] += 1

    return PiecewiseAdamW8bit
