"""Sampling with the training model itself.

Each prompt is prefilled once and its cache repeated for the group; rows that have ended leave the batch. Prompts are
padded on the left, so every row's next token is in the same column; positions count from the first real token.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.sampler import Finished, Rollout, Sampling


class TransformersSampler:
    """Decodes with the policy's weights, or with a copy of them in another type that `sync` refreshes."""

    def __init__(self, policy: Policy, dtype: str, batch_size: int) -> None:
        wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": policy.compute_dtype}[dtype]
        self.policy = policy
        self.batch_size = batch_size
        self.shares_weights = wanted == torch.float32
        self.model = policy.model
        if not self.shares_weights:  # parameters only: the buffers of rotary embeddings need float32
            self.model = copy.deepcopy(policy.model).requires_grad_(False).eval()
            for parameter in self.model.parameters():
                parameter.data = parameter.data.to(wanted)

    @torch.no_grad()
    def sync(self) -> None:
        if not self.shares_weights:
            for ours, theirs in zip(self.model.parameters(), self.policy.model.parameters(), strict=True):
                ours.copy_(theirs)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        seed: str,
        finished: Finished | None = None,
    ) -> list[Rollout]:
        generator = torch.Generator(self.policy.device)
        generator.manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 1)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        per_call = max(1, self.batch_size // samples_per_prompt)
        rollouts: dict[int, Rollout] = {}
        for start in range(0, len(order), per_call):
            chosen = order[start : start + per_call]
            parts = self._decode([prompts[index] for index in chosen], samples_per_prompt, sampling, generator)
            for row, rollout in parts:
                place = chosen[row // samples_per_prompt] * samples_per_prompt + row % samples_per_prompt
                rollouts[place] = rollout
                if finished:
                    finished(place, rollout)
        return [rollouts[place] for place in range(len(rollouts))]

    @torch.no_grad()
    def _decode(
        self, prompts: Sequence[Sequence[int]], samples_per_prompt: int, sampling: Sampling, generator: torch.Generator
    ) -> Iterator[tuple[int, Rollout]]:
        """Row and rollout, as rows end. Tokens are read from the device only then."""
        device, pad_id = self.policy.device, self.policy.pad_id
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        seen = torch.arange(longest, device=device) >= (longest - lengths)[:, None]
        cache = DynamicCache(config=self.model.config)
        logits = self.model(
            input_ids=ids,
            attention_mask=seen.long(),
            position_ids=(seen.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]

        rows = len(prompts) * samples_per_prompt
        cache.batch_repeat_interleave(samples_per_prompt)
        logits = logits.repeat_interleave(samples_per_prompt, 0)
        positions = lengths.repeat_interleave(samples_per_prompt)
        attention = torch.ones(rows, longest + sampling.max_new_tokens, dtype=torch.long, device=device)
        attention[:, :longest] = seen.repeat_interleave(samples_per_prompt, 0)

        eos_ids = torch.tensor(sorted(self.policy.eos_ids), device=device)
        tokens = torch.full((rows, sampling.max_new_tokens), pad_id, device=device)
        logps = torch.zeros(rows, sampling.max_new_tokens, device=device)
        alive = torch.arange(rows, device=device)
        for step in range(sampling.max_new_tokens):
            token, logp = draw(logits.float(), sampling, generator)
            tokens[alive, step], logps[alive, step] = token, logp
            stops = torch.isin(token, eos_ids)
            going = (~stops).nonzero()[:, 0]
            if len(going) < len(alive):
                yield from _read(alive[stops], tokens[:, : step + 1], logps, truncated=False)
                cache.batch_select_indices(going)
                alive, token, positions, attention = alive[going], token[going], positions[going], attention[going]
            if not len(alive) or step + 1 == sampling.max_new_tokens:
                break
            logits = self.model(
                input_ids=token[:, None],
                attention_mask=attention[:, : longest + step + 1],
                position_ids=positions[:, None],
                past_key_values=cache,
            ).logits[:, -1]
            positions = positions + 1
        yield from _read(alive, tokens, logps, truncated=True)


def _read(rows: Tensor, tokens: Tensor, logps: Tensor, *, truncated: bool) -> Iterator[tuple[int, Rollout]]:
    """The rollouts of some rows, which have come to the end of `tokens`."""
    values = rows.tolist(), tokens[rows].tolist(), logps[rows, : tokens.shape[1]].tolist()
    for row, token_ids, sampled_logp in zip(*values, strict=True):
        yield row, Rollout(token_ids, sampled_logp, truncated)


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One token a row from logits [B, V], and its log-probability [B] before top-k and top-p."""
    logp = torch.log_softmax(logits / (sampling.temperature or 1.0), -1)
    if sampling.temperature == 0.0:
        token = logp.argmax(-1)
    else:
        token = torch.multinomial(_truncate(logp, sampling).exp(), 1, generator=generator)[:, 0]
    return token, logp.gather(-1, token[:, None])[:, 0]


def _truncate(logp: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities with everything outside the top k and the nucleus at -inf."""
    if sampling.top_k and sampling.top_k < logp.shape[-1]:
        smallest = logp.topk(sampling.top_k, -1).values[:, -1:]
        logp = logp.masked_fill(logp < smallest, -torch.inf).log_softmax(-1)
    if sampling.top_p < 1.0:
        ordered, index = logp.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        logp = logp.masked_fill((before >= sampling.top_p).gather(-1, index.argsort(-1)), -torch.inf)
    return logp
