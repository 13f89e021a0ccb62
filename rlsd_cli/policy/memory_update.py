"""Memory of an update: gradients, activations, and what the output head makes.

Activations are counted as autograd keeps them for a decoder with RMS norms, rotary positions and a gated layer (Llama,
Qwen, Mistral and their like); other decoders differ from it by some tens of percent.
"""

from math import ceil
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.memory_parts import FLOAT16, FLOAT32, MB, WIDTH, Component, Setting
from rlsd_cli.policy.memory_weights import fewer_parameters, gradient_bytes, sharding
from rlsd_cli.policy.shape import ModelShape

FRAGMENTATION = {"cpu": 0.25, "cuda": 0.0}
"""Share of what updates make and free in turn that the allocator loses between tensors.

After a single micro-batch the moments, which come then, fill what is lost; those of an adapter are too small for that.
"""
HEAD_TILE = {"cpu": 8 * MB, "cuda": 512 * MB}
DIVERGENCE_TILE = {"cpu": 36 * MB, "cuda": 512 * MB}
"""Logits that the output head makes at a time, see `policy.head`: of sampled tokens, of whole distributions."""
HEAD_TILES, DIVERGENCE_TILES, MIXTURE_TILES = 2, 10, 18
"""How many tensors of that size there are at once, for sampled tokens, divergences, and those with a mixture."""
UNPACKED = 8
"""Float32 tensors of a matrix's size that a CPU makes to update it from 8-bit moments."""


class Batch(NamedTuple):
    """The largest micro-batch.

    tokens: tokens that the trunk reads.
    row_tokens: tokens in the rows of attention.
    scored: tokens whose log-probability is computed.
    """

    tokens: int
    row_tokens: int
    scored: int


def largest_batch(config: Config, setting: Setting) -> Batch:
    """The most a micro-batch can hold: its budget, or all of an update, and one whole response at least."""
    prompt, response, group = setting.prompt_tokens, config.rollout.max_new_tokens, config.group_size
    num_groups = ceil(config.prompts_per_step / config.optim.updates_per_batch)
    budget = setting.tokens_per_microbatch
    if not setting.packed:
        num_rows = min(num_groups * group, max(1, budget // (prompt + response)))
        return Batch(num_rows * (prompt + response), num_rows * (prompt + response), num_rows * response)
    whole = prompt + group * response
    rows = min(num_groups, budget / whole) * group if budget >= whole else max(1.0, (budget - prompt) / response)
    tokens = min(num_groups * whole, max(budget, prompt + response))
    return Batch(tokens, int(rows * (prompt + response)), int(rows * response))


def has_several_batches(config: Config, setting: Setting) -> bool:
    """True where an update has more than one micro-batch.

    In a single one gradients come as activations go, so that both are there together only from the second one on.
    """
    prompts = 1 if setting.packed else config.group_size
    group = prompts * setting.prompt_tokens + config.group_size * config.rollout.max_new_tokens
    return ceil(config.prompts_per_step / config.optim.updates_per_batch) * group > setting.tokens_per_microbatch


def update_parts(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """The parts that are there while gradients are computed or weights are updated."""
    batch = largest_batch(config, setting)
    activations = _activation_bytes(config, shape, batch, setting)
    states = 4 * batch.scored * shape.hidden * FLOAT32
    made_in_turn = gradient_bytes(config, shape, setting) + activations + states
    fragmented = has_several_batches(config, setting) or config.adapter.rank
    recomputed = f", {count} of them computed again" if (count := _num_recomputed(config, shape)) else ""
    budget = "lower `optim.tokens_per_microbatch`"
    return (
        *_weight_sized_parts(config, shape, setting),
        Component(
            "activations",
            activations,
            "update",
            f"{batch.tokens:,} tokens in {shape.num_layers} layers{recomputed}",
            f"{budget} or raise `optim.recompute`",
            fixed=False,
        ),
        Component(
            "head",
            states + _head_gradient_bytes(config, shape, setting) + _tile_bytes(config, shape, batch, setting),
            "update",
            f"tiles of logits, {batch.scored:,} states, gradients of {shape.vocabulary:,} entries before they add up",
            budget,
            fixed=False,
        ),
        Component(
            "fragmentation",
            int(FRAGMENTATION[setting.device] * made_in_turn) if fragmented else 0,
            "update",
            "lost between tensors that are made and freed in turn",
            budget,
            fixed=False,
        ),
        Component(
            "moments unpacked",
            UNPACKED * FLOAT32 * shape.head if config.optim.state == "8bit" and setting.device == "cpu" else 0,
            "step",
            "float32 values of the largest matrix",
            "`optim.state=float32`",
            fixed=False,
        ),
    )


def _weight_sized_parts(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """The parts that do not depend on the micro-batch: gradients, and weights gathered or in the compute type."""
    placed, num_recomputed = sharding(config, setting), _num_recomputed(config, shape)
    copied = 1.0  # share of the layers: gathered ones are dropped with the activations that are computed again
    if placed.gathered:
        copied = (shape.num_layers - num_recomputed + (1 if num_recomputed else 0)) / shape.num_layers
    return (
        Component(
            "gathered",
            _gathered_bytes(config, shape) if placed.gathered else 0,
            "update",
            "two layers and the head",
            fewer_parameters(config),
        ),
        Component(
            "gradients",
            gradient_bytes(config, shape, setting),
            "training" if has_several_batches(config, setting) else "step",
            f"one for each trained parameter{placed.where}",
            fewer_parameters(config),
        ),
        Component(
            "compute copy",
            0 if setting.dtype == "float32" else int(WIDTH[setting.dtype] * shape.trunk * copied),
            "update",
            f"layers in {setting.dtype} while a batch is read",
            "`dtype=float32`" if copied == 1.0 else "raise `optim.recompute`",
        ),
    )


def _gathered_bytes(config: Config, shape: ModelShape) -> int:
    """Weights of the layer at work, of the next one, and of what is outside the layers; gradients of one layer and of
    the head, where all weights are trained."""
    layer, outside = shape.trunk // shape.num_layers, shape.num_parameters - shape.trunk
    gradients = 0 if config.adapter.rank else layer + outside
    return FLOAT32 * (2 * layer + outside + gradients)


def _num_recomputed(config: Config, shape: ModelShape) -> int:
    return round(config.optim.recompute * shape.num_layers)


def _activation_bytes(config: Config, shape: ModelShape, batch: Batch, setting: Setting) -> int:
    """What all layers keep for the backward pass, and what the layer at work makes besides."""
    num_recomputed, layer = _num_recomputed(config, shape), layer_bytes(shape, batch, setting)
    kept = (shape.num_layers - num_recomputed) * layer
    if num_recomputed:
        kept += 2 * layer + num_recomputed * FLOAT32 * shape.hidden * batch.tokens
    return kept + batch.tokens * (2 * shape.intermediate + 4 * shape.hidden) * FLOAT32


def layer_bytes(shape: ModelShape, batch: Batch, setting: Setting) -> int:
    """What one layer keeps for its backward pass.

    A token: its state and the normalised one before attention and before the gated layer; what goes into each
    product, which autocast keeps once a product in its type; the gate, its activation, the other branch and their
    product. A token of a row: query, key, value, the attended value, and a log-sum a head. Where rows are packed, the
    attended value is there a second time, a token.
    """
    hidden, attended = shape.hidden, shape.queries if setting.packed else 0
    row_token = 2 * shape.queries + 2 * shape.keys
    if setting.dtype == "float32":
        token = FLOAT32 * (6 * hidden + attended + 4 * shape.intermediate + 2)
    else:
        token = FLOAT32 * (4 * hidden + 2) + FLOAT16 * (5 * hidden + attended + 4 * shape.intermediate)
    row_bytes = WIDTH[setting.dtype] * row_token + FLOAT32 * shape.num_heads
    return token * batch.tokens + row_bytes * batch.row_tokens


def _head_gradient_bytes(config: Config, shape: ModelShape, setting: Setting) -> int:
    """The gradient of the head's weights, before it is added to that of an embedding with the same weights."""
    if config.adapter.rank:
        return 0
    return FLOAT32 * shape.head * (2 if shape.tied and has_several_batches(config, setting) else 1)


def _tile_bytes(config: Config, shape: ModelShape, batch: Batch, setting: Setting) -> int:
    logits, kind = FLOAT32 * shape.vocabulary * batch.scored, config.distill.divergence
    if not config.recipe.distilled or kind == "sampled_token":
        return HEAD_TILES * min(HEAD_TILE[setting.device], logits)
    tiles = MIXTURE_TILES if kind == "jsd" else DIVERGENCE_TILES
    return tiles * min(DIVERGENCE_TILE[setting.device], logits)
