"""The models of a run, each with its weights where the layout wants them."""

from typing import Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.sharding import shard
from rlsd_cli.policy.teacher import Teacher, initial_copy


class Models(NamedTuple):
    """What is trained, and the weights beside it; None where the method needs none.

    teacher: what reads the privileged view, and how it follows the policy
    reference: the initial policy, where a KL to it is kept or it reads
    """

    policy: Policy
    teacher: Teacher | None = None
    reference: Any = None

    @property
    def teacher_model(self) -> Any:
        """The weights that read the privileged view."""
        return self.teacher and self.teacher.model

    @property
    def sharded(self) -> list[Any]:
        """The distinct models whose weights are split among processes."""
        split = [] if self.policy.layout == "whole" else [self.policy.model, self.teacher_model, self.reference]
        return list({id(model): model for model in split if model is not None}.values())


def make_models(policy: Policy, config: Config) -> Models:
    """Copy teacher and reference from a policy whose weights are still whole, then split all that the layout splits."""
    models = Models(
        policy=policy,
        teacher=Teacher(policy, config.teacher) if config.uses_teacher else None,
        reference=initial_copy(policy) if config.needs_initial else None,
    )
    for model in models.sharded:
        shard(model, policy.device, offload=policy.layout == "offloaded")
    return models
