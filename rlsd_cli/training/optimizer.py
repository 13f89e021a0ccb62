"""AdamW, with moments in float32 or in 8 bits."""

import logging
from typing import Any

import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.model import Policy


def make_optimizer(policy: Policy, config: Config) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only."""
    optim = config.optim
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
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
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells what it lacks on a CPU, which is not used
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise RlsdError(
            "`optim.state=8bit` needs the package `bitsandbytes`",
            hint="`pip install 'rlsd[optim8]'`",
            exit_code=EXIT_MACHINE,
        ) from error
    return AdamW8bit
