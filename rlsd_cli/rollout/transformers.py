"""Sampling with transformers: the training model's own weights, or a copy of them in another type."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.sharding import settle, whole
from rlsd_cli.rollout.attention import NAME
from rlsd_cli.rollout.batching import Row, decode
from rlsd_cli.rollout.decoders import Decoder, PrefixDecoder, WaveDecoder
from rlsd_cli.rollout.draws import row_key
from rlsd_cli.rollout.sampler import Finished, Rollout, Sampling

NEUTRAL = frozenset(("cache_position", "dropout", "output_attentions", "position_ids", "use_cache"))
"""What models tell their attention function that changes nothing while sampling."""


class TransformersSampler:
    """Decodes with the policy's weights, or with a copy of them in another type that `sync` refreshes.

    The modules around them are a copy in either case, so that sampling can have an attention function of its own.
    """

    def __init__(self, policy: Policy, dtype: str, batch_size: int) -> None:
        wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": policy.sampling_dtype}[dtype]
        self.policy = policy
        self.batch_size = batch_size
        self.shares_weights = wanted == torch.float32 and policy.layout == "whole"
        self.model = twin(policy.model, wanted, apart=not self.shares_weights).to(policy.device)
        self.shares_prefixes = shares_prefixes(policy.model, policy.pad_id)
        if self.shares_prefixes:
            self.model.set_attn_implementation(NAME)

    @torch.no_grad()
    def sync(self) -> None:
        if not self.shares_weights:
            settle(self.policy.model)
            for ours, theirs in zip(self.model.parameters(), self.policy.model.parameters(), strict=True):
                if theirs.requires_grad:
                    ours.copy_(whole(theirs.detach()))

    def rest(self) -> None:
        """Weights and modules are the policy's, or few beside it: nothing is put away."""

    def close(self) -> None:
        """Nothing is held that the policy does not hold, too."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        samples_per_prompt: int,
        sampling: Sampling,
        seed: str,
        finished: Finished | None = None,
    ) -> list[Rollout]:
        rows = [
            Row(prompt * samples_per_prompt + sample, prompt, row_key(seed, keys[prompt], sample))
            for prompt in sorted(range(len(prompts)), key=lambda prompt: -len(prompts[prompt]))
            for sample in range(samples_per_prompt)
        ]
        policy, kind = self.policy, PrefixDecoder if self.shares_prefixes else WaveDecoder
        decoder: Decoder = kind(self.model, prompts, policy.pad_id, policy.device)
        rollouts: dict[int, Rollout] = {}
        for place, rollout in decode(decoder, prompts, rows, sampling, policy.eos_ids, self.batch_size, policy.device):
            rollouts[place] = rollout
            if finished:
                finished(place, rollout)
        return [rollouts[place] for place in range(len(rows))]


def twin(model: Any, dtype: torch.dtype, *, apart: bool = False) -> Any:
    """A copy of a model's modules around its parameters, or around a copy of them, in another type or `apart`.

    Buffers stay as they are: those of rotary embeddings need float32.
    """
    memo = {
        id(parameter): parameter
        if parameter.dtype == dtype and not apart
        else nn.Parameter(parameter.detach().to(dtype, copy=True), requires_grad=False)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, memo).eval()


@torch.no_grad()
def shares_prefixes(model: Any, pad_id: int) -> bool:
    """Whether a `PrefixDecoder` finds the logits that a float32 model finds on whole sequences: two rows of a prompt of
    three tokens, and one of a prompt of two.

    Not so where a layer keeps something else than all keys and values (a sliding window, a recurrent state), where its
    attention is more than a masked softmax (a soft cap, sinks), or where it calls no attention function.
    """
    if not model._supports_attention_backend:
        return False
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        return False
    tried, device = twin(model, torch.float32), model.device
    tried.set_attn_implementation(NAME)
    ids = torch.arange(18, device=device).view(3, 6) % model.get_input_embeddings().num_embeddings
    ids[1, :3] = ids[0, :3]
    rows, ends = torch.arange(3, device=device), torch.tensor([2, 2, 1], device=device)
    decoder = PrefixDecoder(tried, [ids[0, :3].tolist(), ids[2, :2].tolist()], pad_id, device)
    decoder.add([0, 0, 1])
    steps = [decoder.step(ids[rows, ends + age], torch.full_like(ends, age)) for age in range(3)]
    logits = model(input_ids=ids, use_cache=False).logits
    expected = logits[rows[:, None], ends[:, None] + torch.arange(3, device=device)]
    return decoder.asked <= NEUTRAL and torch.allclose(torch.stack(steps, 1), expected, atol=1e-4, rtol=1e-4)
