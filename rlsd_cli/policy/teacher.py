"""The teacher: the policy's own weights, live, copied or averaged, reading the privileged view."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rlsd_cli.config.sections import TeacherConfig
from rlsd_cli.policy.adapter import has_adapter
from rlsd_cli.policy.model import Policy, copy_modules
from rlsd_cli.policy.sharding import is_sharded


def frozen_copy(policy: Policy, *, away: bool = False) -> Any:
    """The policy's weights as they are now, without gradients. Weights that are not trained are not copied, unless
    they are going to be split: then each copy is.

    `away`: in main memory, but for the output head, which the loss may need long after the model has read.
    """
    shared = policy.layout == "whole"
    apart = {id(each): each for each in policy.model.parameters() if shared and not each.requires_grad}
    if away:
        head = {id(parameter) for parameter in policy.model.get_output_embeddings().parameters()}
        apart |= {
            id(parameter): nn.Parameter(parameter.detach().to("cpu", copy=True), requires_grad=False)
            for parameter in policy.model.parameters()
            if id(parameter) not in head | apart.keys()
        }
    return copy_modules(policy.model, apart).requires_grad_(False).eval()


def initial_copy(policy: Policy, *, away: bool = False) -> Any:
    """The policy as it is before its first update: a copy, or its model with the adapter switched off."""
    model = frozen_copy(policy, away=away)
    if has_adapter(model):
        model.disable_adapters()
    return model


@contextlib.contextmanager
def visiting(model: Any, device: torch.device) -> Iterator[None]:
    """Within it all weights of a model are on `device`; those that lie elsewhere are replaced by copies there.

    Those of a sharded model come by themselves.
    """
    away = [
        (module, name, parameter)
        for module in ([] if is_sharded(model) else model.modules())
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.device.type != device.type
    ]
    visitors = {parameter: nn.Parameter(parameter.to(device), requires_grad=False) for _, _, parameter in away}
    for module, name, parameter in away:
        setattr(module, name, visitors[parameter])
    try:
        yield
    finally:
        for module, name, parameter in away:
            setattr(module, name, parameter)


class Teacher:
    """The weights a privileged view is scored with.

    `live` is the policy itself; `snapshot` a copy made after the update of every N-th step; `frozen` the initial
    policy; `ema` an exponential moving average. The copies never receive gradients and stay in evaluation mode. With
    `device=cpu` they lie in main memory, and whoever reads with them lets them visit the policy's device.
    """

    def __init__(self, policy: Policy, config: TeacherConfig) -> None:
        self.policy = policy
        self.config = config
        self.model: Any = policy.model
        if config.weights != "live":
            copied = initial_copy if config.weights == "frozen" else frozen_copy
            self.model = copied(policy, away=config.device == "cpu")

    @torch.no_grad()
    def after_update(self, step: int) -> None:
        """Follow the policy once the update of `step` (from 1) is done."""
        both = zip(self.model.parameters(), self.policy.model.parameters(), strict=True)
        pairs = [(ours, theirs) for ours, theirs in both if theirs.requires_grad]
        if self.config.weights == "snapshot" and step % self.config.sync_every == 0:
            for ours, theirs in pairs:
                ours.copy_(theirs)
        elif self.config.weights == "ema":
            for ours, theirs in pairs:
                ours.lerp_(theirs.to(ours.device), self.config.ema_rate)

    def state(self) -> dict[str, torch.Tensor] | None:
        """What a checkpoint must keep: weights that are neither the policy's nor the initial ones."""
        if self.config.weights not in ("snapshot", "ema"):
            return None
        return {name: value for name, value in self.model.state_dict().items() if name not in self._shared}

    def load_state(self, state: dict[str, torch.Tensor] | None) -> None:
        if state is not None:
            found = self.model.load_state_dict(state, strict=False)
            if found.unexpected_keys or set(found.missing_keys) != self._shared:
                raise AssertionError("the state is that of another teacher")

    @property
    def _shared(self) -> set[str]:
        """Names of the weights that are the policy's own, which are not trained."""
        held = self.policy.model.state_dict(keep_vars=True)
        return {name for name, value in held.items() if isinstance(value, nn.Parameter) and not value.requires_grad}
