"""Memory of a rollout: keys and values of the responses decoded at a time, and the logits they are drawn from."""

from math import ceil
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.memory_parts import FLOAT32, INT64, WIDTH, Component, Phase, Setting
from rlsd_cli.policy.shape import ModelShape

TOKENS_PER_PREFILL = 4096
"""Prompt tokens, padding included, that a sampler reads at once; a longer prompt is read alone."""
LOGITS_PER_DRAW = 1 << 22
"""Logits that a sampler turns into tokens at once."""
BYTES_PER_DRAW = FLOAT32 + 2 * INT64
"""Bytes that each of them needs besides: a weight, the whole units it is counted in, a copy of these in blocks."""
TOKENS_PER_GROWTH = 16
"""Buffers of a sampler have a multiple of so many tokens: kernels are made for a shape, and shapes should recur."""
VLLM_CACHE = 2**30
"""Keys and values of a vLLM engine on a CPU, see `rollout.vllm`."""


def rollout_parts(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """The parts of a rollout of training or of evaluation, whichever takes more."""
    if config.rollout.servers:
        return ()
    phase: Phase = "always" if setting.device == "cpu" else "rollout"
    if config.rollout.engine == "vllm":
        engine = WIDTH[setting.sampling_dtype] * shape.num_parameters + (VLLM_CACHE if setting.device == "cpu" else 0)
        depends = f"vLLM: weights in {setting.sampling_dtype}, and its cache (on a GPU: `rollout.gpu_share`)"
        return (Component("engine", engine, phase, depends, "`rollout.engine=transformers`"),)
    batch = _largest_batch(config, setting)
    width, num_layers = WIDTH[setting.sampling_dtype], shape.num_layers + 1  # a layer is there twice while it grows
    prefill = min(max(TOKENS_PER_PREFILL, setting.prompt_tokens), batch.prompts * setting.prompt_tokens)
    drawn = min(batch.rows, max(1, LOGITS_PER_DRAW // shape.vocabulary))
    work = max(
        shape.vocabulary * (batch.rows * width + drawn * BYTES_PER_DRAW),
        prefill * (3 * shape.intermediate + 4 * shape.hidden) * width,
    )
    return (
        Component(
            "keys and values",
            batch.cached_tokens * 2 * shape.keys * width * num_layers,
            phase,
            f"{batch.rows} responses of {batch.tokens} tokens at a time, prompts of {setting.prompt_tokens}",
            "lower `rollout.batch_size`",
            fixed=False,
        ),
        Component(
            "sampling",
            work,
            phase,
            f"logits of {batch.rows} tokens, or {prefill:,} prompt tokens at once",
            "lower `rollout.batch_size`",
            fixed=False,
        ),
    )


class _DecodingBatch(NamedTuple):
    """Responses that are decoded at a time.

    rows: how many there are.
    prompts: how many prompts are held for them.
    tokens: tokens of each at its limit.
    cached_tokens: tokens whose keys and values are held in the end.
    """

    rows: int
    prompts: int
    tokens: int
    cached_tokens: int


def _largest_batch(config: Config, setting: Setting) -> _DecodingBatch:
    evaluation, new_tokens = config.evaluation, config.rollout.max_new_tokens
    evaluated = evaluation.problems * evaluation.samples
    batches = [_batch(evaluated, evaluation.samples, evaluation.max_new_tokens or new_tokens, config, setting)]
    if config.recipe.responses == "policy":
        batches.append(_batch(config.rollouts_per_step, config.group_size, new_tokens, config, setting))
    return max(batches, key=lambda batch: batch.cached_tokens)


def _batch(total: int, samples: int, tokens: int, config: Config, setting: Setting) -> _DecodingBatch:
    """As many of `total` responses, `samples` to a prompt, as are decoded at a time, all at their limit.

    A prompt is held once; but once a response for a model that shares none, which as a rule cannot be packed either.
    """
    rows = min(config.rollout.batch_size, total)
    shares = setting.packed or config.attention == "padded"
    prompts = ceil(rows / samples) if shares else rows
    own, prompt = (ceil(each / TOKENS_PER_GROWTH) * TOKENS_PER_GROWTH for each in (tokens, setting.prompt_tokens))
    return _DecodingBatch(rows, prompts, tokens, rows * own + prompts * prompt)
