"""Sampling with transformers: the training model's own weights, or a copy of them in another type."""

from collections.abc import Sequence

import torch

from rlsd_cli import console
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.probes import fault_of
from rlsd_cli.policy.sharding import full_tensor, reshard
from rlsd_cli.rollout.batching import Row, decode
from rlsd_cli.rollout.decoders import PrefixDecoder
from rlsd_cli.rollout.draws import row_key
from rlsd_cli.rollout.probes import choose_decoder, twin
from rlsd_cli.rollout.sampler import Completion, Finished, Sampling


class TransformersSampler:
    """Decodes with the policy's weights, or with a copy of them in another type that `update_weights` refreshes.

    The modules around them are a copy in either case, so that sampling can have an attention function of its own.
    """

    def __init__(self, policy: Policy, batch_size: int) -> None:
        wanted = policy.sampling_dtype
        self.policy = policy
        self.batch_size = batch_size
        self.decoder = choose_decoder(policy)
        self._hold(wanted)
        if wanted != torch.float32 and (fault := fault_of(self.model)):
            kind = policy.model.config.model_type
            console.warning(
                f"`{kind}` does not run with all weights in {str(wanted)[6:]} ({fault}): sampling is in float32"
            )
            self._hold(torch.float32)
        if self.decoder.attention:
            self.model.set_attn_implementation(self.decoder.attention)

    @property
    def shares_prefixes(self) -> bool:
        """True where all rows of a prompt read one copy of its keys and values."""
        return self.decoder is PrefixDecoder

    def _hold(self, dtype: torch.dtype) -> None:
        self.shares_weights = dtype == torch.float32 and self.policy.layout == "whole"
        self.model = twin(self.policy.model, dtype, apart=not self.shares_weights).to(self.policy.device)

    @torch.no_grad()
    def update_weights(self) -> None:
        if not self.shares_weights:
            reshard(self.policy.model)
            for ours, theirs in zip(self.model.parameters(), self.policy.model.parameters(), strict=True):
                if theirs.requires_grad:
                    ours.copy_(full_tensor(theirs.detach()))

    def sleep(self) -> None:
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
        limits: Sequence[int] | None = None,
    ) -> list[Completion]:
        limits = limits or [sampling.max_new_tokens] * len(prompts)
        rows = [
            Row(prompt * samples_per_prompt + sample, prompt, row_key(seed, keys[prompt], sample), limits[prompt])
            for prompt in sorted(range(len(prompts)), key=lambda prompt: -len(prompts[prompt]))
            for sample in range(samples_per_prompt)
        ]
        policy = self.policy
        policy.check_fits(max((len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)), default=0))
        decoder = self.decoder(self.model, prompts, policy.pad_id, policy.device)
        rollouts: dict[int, Completion] = {}
        for place, rollout in decode(decoder, prompts, rows, sampling, policy.eos_ids, self.batch_size, policy.device):
            rollouts[place] = rollout
            if finished:
                finished(place, rollout)
        return [rollouts[place] for place in range(len(rows))]
