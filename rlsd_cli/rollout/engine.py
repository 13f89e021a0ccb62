"""Which engine samples."""

from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.world import World
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Sampler


def make_sampler(policy: Policy, config: Config, world: World | None = None) -> Sampler:
    """The sampler that the config asks for; it has the policy's weights once it is told to `update_weights`.

    Raises:
        RlsdError: (exit 3) its package is not installed.
    """
    if config.rollout.servers:
        from rlsd_cli.rollout.vllm_servers import ServerSampler

        return ServerSampler(policy, config, world or World())
    if config.rollout.engine == "vllm":
        from rlsd_cli.rollout.vllm_sampler import VllmSampler

        return VllmSampler(policy, config)
    return TransformersSampler(policy, config.rollout.batch_size)
