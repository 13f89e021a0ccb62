"""Responses through a model in micro-batches, in as many passes as every process makes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.world import World
from rlsd_cli.policy.batch import TokenBatch, TokenIds, micro_batches
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.ragged import unpad
from rlsd_cli.policy.scoring import score_tokens


class Scored(NamedTuple):
    """Log-probability and entropy of each token of a response (nats), [n] on the CPU."""

    logp: Tensor
    entropy: Tensor


class Passes:
    """Cuts responses into micro-batches, and scores them."""

    def __init__(self, policy: Policy, config: Config, world: World) -> None:
        self.policy = policy
        self.temperature = config.temperature
        self.world = world

    def cut(self, prompts: Sequence[TokenIds], responses: Sequence[TokenIds]) -> list[list[int]]:
        """Places in micro-batches, see `policy.batch.micro_batches`."""
        run = self.policy.execution
        return micro_batches(prompts, responses, run.tokens_per_microbatch, packed=run.packed)

    def tokens(self, prompts: Sequence[TokenIds], responses: Sequence[TokenIds]) -> TokenBatch:
        """Responses after prompts as the model reads them; without any, something for a pass that nobody needs."""
        if not responses:
            prompts = responses = [[self.policy.pad_id]]
        return self.policy.batch(prompts, responses)

    def idle(self, own: int) -> list[list[int]]:
        """Empty micro-batches, as many as others have left: passes of a sharded model all processes make together."""
        if self.policy.layout == "whole":
            return []
        return [[]] * (max(self.world.all_gather(own)) - own)

    @torch.no_grad()
    def score(
        self, prompts: Sequence[TokenIds], responses: Sequence[TokenIds], cuts: Sequence[list[int]], model: Any
    ) -> dict[int, Scored]:
        """Score responses after their prompts under `model`, those in `cuts`, by place."""
        scored: dict[int, Scored] = {}
        for places in [*cuts, *self.idle(len(cuts))]:
            ids = self.tokens([prompts[place] for place in places], [responses[place] for place in places])
            scores = score_tokens(self.policy, ids, ids.mask, self.temperature, model)
            if places:
                lengths = [len(responses[place]) for place in places]
                columns = map(Scored, rows(scores.logp, lengths), rows(scores.entropy, lengths))
                scored |= zip(places, columns, strict=True)
        return scored


def rows(values: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """The rows of a tensor [B, T] on the CPU, each as long as its response."""
    return unpad(values.cpu(), lengths).rows()
