"""Scores against a brute-force log-softmax over the whole sequence."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from rlsd_cli.config.schema import Config
from rlsd_cli.config.sections import Layout
from rlsd_cli.core.divergences import reverse_kl
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.probes import head_is_plain
from rlsd_cli.policy.scoring import features, score_divergence, score_tokens

PROMPTS = [[2, 3, 4], [5, 6, 7, 8, 9], [10]]
RESPONSES = [[11, 12, 13, 1], [14, 1], [15, 16, 17, 2, 3, 1]]


@pytest.fixture(scope="module")
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure({"model": "quickstart-untrained"}))


def batch_of(policy: Policy, prompts: list[list[int]], responses: list[list[int]]) -> TokenBatch:
    return policy.batch(prompts, responses)


def brute_force(policy: Policy, prompt: list[int], response: list[int], temperature: float) -> torch.Tensor:
    """Log-probabilities [T, V] of one unpadded sequence, from the model's own logits."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt, *response]])).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 : -1] / temperature, -1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_equal_the_models_own_logits(policy: Policy, temperature: float) -> None:
    batch = batch_of(policy, PROMPTS, RESPONSES)
    scores = score_tokens(policy, batch, batch.mask, temperature)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        logp = brute_force(policy, prompt, response, temperature)
        expected = logp[torch.arange(len(response)), torch.tensor(response)]
        torch.testing.assert_close(scores.logp[row, : len(response)], expected, atol=1e-5, rtol=0)
        entropy = -(logp.exp() * logp).sum(-1)
        torch.testing.assert_close(scores.entropy[row, : len(response)], entropy, atol=1e-4, rtol=0)
        assert scores.logp[row, len(response) :].eq(0).all()


def test_neither_padding_nor_neighbours_change_a_score(policy: Policy) -> None:
    together = batch_of(policy, [*PROMPTS, [2] * 40], [*RESPONSES, [3] * 30])
    all_scores = score_tokens(policy, together, together.mask, 1.0).logp
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        alone = batch_of(policy, [prompt], [response])
        expected = score_tokens(policy, alone, alone.mask, 1.0).logp[0]
        torch.testing.assert_close(all_scores[row, : len(response)], expected, atol=1e-5, rtol=0)


def test_only_the_tokens_asked_for_are_scored(policy: Policy) -> None:
    batch = batch_of(policy, PROMPTS, RESPONSES)
    some = batch.mask.clone()
    some[:, 0] = False
    scores = score_tokens(policy, batch, some, 1.0)
    full = score_tokens(policy, batch, batch.mask, 1.0)
    assert scores.logp[:, 0].eq(0).all()
    torch.testing.assert_close(scores.logp[:, 1:], full.logp[:, 1:])


def test_divergence_equals_brute_force_over_the_whole_vocabulary(policy: Policy) -> None:
    hint = [7, 7, 8]
    views = [hint + prompt for prompt in PROMPTS]
    batch, privileged = batch_of(policy, PROMPTS, RESPONSES), batch_of(policy, views, RESPONSES)
    feature, teacher_feature = (features(policy, policy.model, view, batch.mask) for view in (batch, privileged))
    weight = torch.ones(batch.mask.shape)
    result = score_divergence(policy, batch, weight, 0.8, policy.model, feature, teacher_feature.detach(), reverse_kl)
    for row, response in enumerate(RESPONSES):
        student = brute_force(policy, PROMPTS[row], response, 0.8)
        teacher = brute_force(policy, views[row], response, 0.8)
        expected = (student.exp() * (student - teacher)).sum(-1)
        torch.testing.assert_close(result.loss[row, : len(response)].detach(), expected, atol=1e-5, rtol=1e-4)
        picked = teacher[torch.arange(len(response)), torch.tensor(response)]
        torch.testing.assert_close(result.teacher_logp[row, : len(response)], picked, atol=1e-5, rtol=0)


def test_a_model_that_caps_its_logits_is_scored_by_its_own_forward_pass() -> None:
    torch.manual_seed(0)
    shape = Gemma2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=0.05,
    )
    model = Gemma2ForCausalLM(shape).eval()
    device = torch.device("cpu")
    assert not head_is_plain(model, device)
    capped = Policy(model, None, device, frozenset({1}), 1, 0, 64, Execution(), plain_head=False)
    batch = batch_of(capped, PROMPTS, RESPONSES)
    scores = score_tokens(capped, batch, batch.mask, 1.0)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        expected = brute_force(capped, prompt, response, 1.0)[torch.arange(len(response)), torch.tensor(response)]
        torch.testing.assert_close(scores.logp[row, : len(response)].detach(), expected, atol=1e-5, rtol=0)
    assert scores.entropy[0, 0].item() == pytest.approx(math.log(32), abs=0.01)


@pytest.mark.parametrize(("layout", "kept"), [("whole", True), ("sharded", False)])
def test_autocast_keeps_copies_of_weights_that_are_whole(
    configure: Callable[..., Config], layout: Layout, kept: bool
) -> None:
    policy = replace(load_policy(configure({"dtype": "bfloat16"})), layout=layout)
    with policy.autocast():
        assert torch.is_autocast_cache_enabled() is kept
