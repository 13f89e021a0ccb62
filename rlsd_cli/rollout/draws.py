"""Draws that are a function of what is drawn, and not of when: counters instead of a generator's state.

A row has a key: 64 bits of the hash of the run's seed and step, its prompt and its number among the prompt's samples.
The one uniform that its token at position t needs is a hash of (key, t), and the token is found by inverting the
distribution's cumulative sum. So neither the order of prompts, nor how they are cut into batches, nor what else is
sampled beside them changes a draw.
"""

import hashlib
import json

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlsd_cli.policy.memory_rollout import LOGITS_PER_DRAW
from rlsd_cli.rollout.sampler import Sampling

GOLDEN = 0x9E3779B97F4A7C15
"""What SplitMix64 adds to its state for every number: 2^64 over the golden ratio, odd."""

UNITS = 2.0**40
"""The weight of the likeliest token, in the whole units that weights are counted in when a token is chosen."""

BLOCK = 256
"""Tokens whose weights are first looked at as one."""


def row_key(seed: str, prompt: str, sample: int) -> int:
    """64 bits, as a signed integer, for a prompt's `sample`-th response under a seed."""
    name = json.dumps([seed, prompt, sample]).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)


def uniforms(keys: Tensor, positions: Tensor) -> Tensor:
    """Multiples of 2^-53 in [0, 1), float64, for row keys and token positions (int64, broadcast).

    The number at position t is the (t + 1)-th of SplitMix64 seeded with the key (Steele, Lea and Flood 2014), which
    reaches its t-th number without those before it. Products wrap at 64 bits.
    """
    state = keys + (positions + 1) * _signed(GOLDEN)
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(state ^ _shifted(state, 31), 11).double() * 2.0**-53


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _shifted(value: Tensor, bits: int) -> Tensor:
    """A shift to the right that brings in zeros; torch's own brings in the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row from logits [B, V] and uniforms [B], and its log-probability [B] before top-k and top-p."""
    rows = max(1, LOGITS_PER_DRAW // logits.shape[-1])
    parts = [_draw(*part, sampling) for part in zip(torch.split(logits, rows), torch.split(uniform, rows), strict=True)]
    tokens, logps = zip(*parts, strict=True)
    return torch.cat(tokens), torch.cat(logps)


def _draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    temperature = sampling.temperature or 1.0
    highest = logits.amax(-1, keepdim=True)
    weights = (logits.float() - highest).div_(temperature).exp_()
    total = weights.sum(-1, keepdim=True)
    token = logits.argmax(-1) if sampling.temperature == 0.0 else choose(_truncate(weights, sampling), uniform)
    logp = (logits.gather(-1, token[:, None]).float() - highest) / temperature - total.log()
    return token, logp[:, 0]


def choose(weights: Tensor, uniform: Tensor) -> Tensor:
    """The token [B] at which the cumulative weight passes the uniform [B], for weights [B, V] from 0 to 1.

    Weights are counted in whole units, so that their sums are exact in whatever order a device adds them: the choice
    is always a token of the vocabulary whose weight is not 0. (The target stays below the sum even where that is
    rounded: a uniform is at most 1 - 2^-53.) A weight of less than 2^-40 counts as 0. The block that the token is in
    is found first, which saves the cumulative sum of the whole vocabulary.
    """
    units = (weights * UNITS).long()
    target = (uniform * units.sum(-1)).long()
    if units.shape[-1] <= BLOCK:
        return _invert(units, target)[0]
    blocks = pad(units, (0, -units.shape[-1] % BLOCK)).view(len(units), -1, BLOCK)
    block, rest = _invert(blocks.sum(-1), target)
    token, _ = _invert(blocks[torch.arange(len(block), device=block.device), block], rest)
    return block * BLOCK + token


def _invert(units: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The first index [B] at which the cumulative sum of `units` [B, N] passes `target` [B], and what it had left."""
    below = units.cumsum(-1)
    index = torch.searchsorted(below, target[:, None], right=True)
    rest = target[:, None] - (below - units).gather(-1, index)
    return index[:, 0], rest[:, 0]


def _truncate(weights: Tensor, sampling: Sampling) -> Tensor:
    """Weights with everything outside the top k and the nucleus at 0."""
    if sampling.top_k and sampling.top_k < weights.shape[-1]:
        smallest = weights.topk(sampling.top_k, -1).values[:, -1:]
        weights = weights.masked_fill(weights < smallest, 0.0)
    if sampling.top_p < 1.0:
        ordered, index = weights.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        outside = before >= sampling.top_p * weights.sum(-1, keepdim=True)
        weights = weights.masked_fill(outside.gather(-1, index.argsort(-1)), 0.0)
    return weights
