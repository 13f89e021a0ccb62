"""The next-token logits of a Llama in float64, from its weights by name, one sequence at a time."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Weights = dict[str, Tensor]


class Shape(NamedTuple):
    """What a Llama's weights do not say themselves."""

    layers: int
    heads: int
    theta: float
    eps: float
    adapter_scale: float


def logits(weights: Weights, ids: Sequence[int], shape: Shape) -> Tensor:
    """Next-token logits [T, V] of a Llama with a tied head; low-rank adapters beside its linear layers count."""

    def linear(name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" in weights:
            return x @ weights[f"{name}.weight"].T
        a, b = weights[f"{name}.lora_A.default.weight"], weights[f"{name}.lora_B.default.weight"]
        return x @ weights[f"{name}.base_layer.weight"].T + shape.adapter_scale * (x @ a.T @ b.T)

    def norm(name: str, x: Tensor) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + shape.eps).rsqrt() * weights[f"{name}.weight"]

    def rotated(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        frequency = shape.theta ** -(torch.arange(first.shape[-1], dtype=torch.float64) / first.shape[-1])
        angle = torch.arange(len(ids), dtype=torch.float64)[:, None] * frequency
        return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)

    def heads(x: Tensor) -> Tensor:
        return x.view(len(ids), shape.heads, -1).transpose(0, 1)

    future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    x = weights["model.embed_tokens.weight"][torch.tensor(ids)]
    for layer in (f"model.layers.{number}" for number in range(shape.layers)):
        h = norm(f"{layer}.input_layernorm", x)
        query, key, value = (heads(linear(f"{layer}.self_attn.{name}_proj", h)) for name in "qkv")
        scores = rotated(query) @ rotated(key).transpose(1, 2) / math.sqrt(query.shape[-1])
        seen = scores.masked_fill(future, -math.inf).softmax(-1) @ value
        x = x + linear(f"{layer}.self_attn.o_proj", seen.transpose(0, 1).reshape(len(ids), -1))
        h = norm(f"{layer}.post_attention_layernorm", x)
        gate, up = (linear(f"{layer}.mlp.{name}_proj", h) for name in ("gate", "up"))
        x = x + linear(f"{layer}.mlp.down_proj", F.silu(gate) * up)
    return norm("model.norm", x) @ weights["model.embed_tokens.weight"].T
