"""Weights that are split among processes, and gathered a layer at a time where they are used (FSDP2, Zhao et al. 2023).

Each process holds a share of every weight, of its gradient and of its moments. A pass through a layer gathers its
weights from all, so all have to make the same passes in the same order. What lies outside the layers (embedding, norm
and output head) is gathered by the first pass and stays so until the backward pass, or `reshard`.

`offload`: the shares are in main memory, where the optimiser works, and visit the device a layer at a time.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from rlsd_cli.policy.batch import TRUNK, decoder_layers, trunk_of


def shard(model: Any, device: torch.device, *, offload: bool) -> None:
    """Split a whole model in main memory; its shares go to `device`, or with `offload` stay where they are.

    Gradients add up over processes. Parameters are other objects afterwards.
    """
    mesh = _mesh(device.type)
    policy = CPUOffloadPolicy(pin_memory=device.type == "cuda") if offload else OffloadPolicy()
    setattr(model, TRUNK, trunk_of(model).forward)
    for part in (*decoder_layers(model), model):
        fully_shard(part, mesh=mesh, offload_policy=policy)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(model, TRUNK)


def _mesh(device_type: str) -> DeviceMesh:
    """All processes of the run; a run of one process becomes a group of one."""
    if not dist.is_initialized():
        dist.init_process_group(
            store=dist.HashStore(),  # type: ignore[attr-defined]
            rank=0,
            world_size=1,
        )
    return init_device_mesh(device_type, (dist.get_world_size(),))


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def reshard(model: Any) -> None:
    """Let go of what a pass without gradient has left gathered: parameters are shards again."""
    if isinstance(model, FSDPModule):
        model.reshard()


def full_tensor(value: Tensor) -> Tensor:
    """Gather a tensor of which each process may have a shard; all processes call it together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def full_state(model: nn.Module) -> dict[str, Any]:
    """Gather all weights of a sharded model into main memory, by name; in the first process only."""
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_full_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Take this process's shards of weights that each process has in full; those not named stay as they are."""
    set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True, strict=False))
