"""A packed batch gives what a padded one gives, and models for which it cannot are found out."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3NextConfig,
)

from rlsd_cli.policy.batch import make_batch, trunk_states
from rlsd_cli.policy.probes import can_pack

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
CPU = torch.device("cpu")


def model_of(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**SHAPE), Qwen2Config(**SHAPE), Qwen3Config(**SHAPE), MistralConfig(**SHAPE, sliding_window=None)],
    ids=["llama", "qwen2", "qwen3", "mistral"],
)
def test_states_and_gradients_are_those_of_a_padded_batch(config: PretrainedConfig) -> None:
    model = model_of(config)
    assert can_pack(model, CPU)
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> list[int]:
        return torch.randint(64, (length,), generator=generator).tolist()

    shared, other = draw(9), draw(3)
    prompts = [shared, other, shared, shared, other]
    responses = [draw(length) for length in (1, 5, 40, 12, 30)]
    upstream = torch.randn(sum(map(len, responses)), 32, generator=generator)

    def run(packed: bool) -> list[torch.Tensor]:
        model.zero_grad()
        batch = make_batch(prompts, responses, 0, CPU, packed=packed)
        states = trunk_states(model, batch)[batch.predictors[batch.mask]]
        states.backward(upstream)
        return [states.detach(), *(p.grad.clone() for p in model.model.parameters())]

    usual = model.config._attn_implementation
    for ours, expected in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)
    assert model.config._attn_implementation == usual


GEMMA = {**SHAPE, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 0.01, "layer_types": ["full_attention"] * 2}
HYBRID = {**SHAPE, "linear_num_value_heads": 2, "linear_num_key_heads": 2, "num_experts": 2, "num_experts_per_tok": 1}


@pytest.mark.parametrize(
    "config",
    [MistralConfig(**SHAPE, sliding_window=4096), Gemma2Config(**GEMMA), Qwen3NextConfig(**HYBRID)],
    ids=["a window wider than any test", "capped attention", "linear attention"],
)
def test_models_that_would_compute_something_else_are_not_packed(config: PretrainedConfig) -> None:
    assert not can_pack(model_of(config), CPU)


def test_learned_positions_are_given_and_so_packed_too() -> None:
    assert can_pack(model_of(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2)), CPU)
