"""The teacher: the policy's own weights, live, copied or averaged, reading the privileged view."""

import copy
from typing import Any

import torch

from rlsd_cli.config.schema import TeacherConfig
from rlsd_cli.policy.model import Policy


def frozen_copy(policy: Policy) -> Any:
    """The policy's weights as they are now, without gradients."""
    return copy.deepcopy(policy.model).requires_grad_(False).eval()


class Teacher:
    """The weights a privileged view is scored with.

    `live` is the policy itself; `snapshot` a copy made after the update of every N-th step; `frozen` the initial
    policy; `ema` an exponential moving average. The copies never receive gradients and stay in evaluation mode.
    """

    def __init__(self, policy: Policy, config: TeacherConfig) -> None:
        self.policy = policy
        self.config = config
        self.model: Any = policy.model
        if config.weights != "live":
            self.model = frozen_copy(policy)

    @torch.no_grad()
    def after_update(self, step: int) -> None:
        """Follow the policy once the update of `step` (from 1) is done."""
        pairs = zip(self.model.parameters(), self.policy.model.parameters(), strict=True)
        if self.config.weights == "snapshot" and step % self.config.sync_every == 0:
            for ours, theirs in pairs:
                ours.copy_(theirs)
        elif self.config.weights == "ema":
            for ours, theirs in pairs:
                ours.lerp_(theirs, self.config.ema_rate)

    def state(self) -> dict[str, torch.Tensor] | None:
        """What a checkpoint must keep: weights that are neither the policy's nor the initial ones."""
        return dict(self.model.state_dict()) if self.config.weights in ("snapshot", "ema") else None

    def load_state(self, state: dict[str, torch.Tensor] | None) -> None:
        if state is not None:
            self.model.load_state_dict(state)
