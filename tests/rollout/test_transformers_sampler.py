"""The sampler against `generate` and against the scorer."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.batch import make_batch
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.sampler import Rollout, Sampling
from rlsd_cli.rollout.transformers import TransformersSampler, draw

PROMPTS = [[18, 5, 3, 12, 7, 14, 17], [18, 4, 12, 9, 9, 14, 17], [18, 2, 2, 12, 3, 13, 4, 4, 14, 17], [17]]


@pytest.fixture(scope="module")
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure({"model": "quickstart-untrained"}))


def test_greedy_equals_generate_on_each_prompt_alone(policy: Policy) -> None:
    rollouts = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 1, Sampling(12, temperature=0.0), "seed")
    for prompt, rollout in zip(PROMPTS, rollouts, strict=True):
        expected = policy.model.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, pad_token_id=policy.pad_id
        )[0, len(prompt) :].tolist()
        assert rollout.token_ids == expected


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_log_probabilities_equal_the_scorers(policy: Policy, temperature: float) -> None:
    rollouts = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 5, Sampling(30, temperature), "seed")
    prompts = [prompt for prompt in PROMPTS for _ in range(5)]
    batch = make_batch(prompts, [rollout.token_ids for rollout in rollouts], policy.pad_id, policy.device)
    scores = score_tokens(policy, batch, batch.mask, temperature).logp
    for rollout, row in zip(rollouts, scores, strict=True):
        expected = row[: len(rollout.token_ids)]
        torch.testing.assert_close(torch.tensor(rollout.sampled_logp), expected, atol=2e-5, rtol=0)


def test_a_response_ends_with_its_first_end_token_and_keeps_it(policy: Policy) -> None:
    (eos,) = policy.eos_ids
    rollouts = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 16, Sampling(60), "seed")
    ended = [rollout for rollout in rollouts if not rollout.truncated]
    cut = [rollout for rollout in rollouts if rollout.truncated]
    assert ended
    assert cut
    assert all(r.token_ids[-1] == eos and eos not in r.token_ids[:-1] for r in ended)
    assert all(len(r.token_ids) == 60 and eos not in r.token_ids for r in cut)


def test_padding_with_the_end_token_changes_nothing(policy: Policy) -> None:
    """Models such as SmolLM2 pad with their end token; only sampled end tokens may end a response."""
    (eos,) = policy.eos_ids
    same = replace(policy, pad_id=eos)
    sampling = Sampling(40)
    expected = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 4, sampling, "seed")
    assert TransformersSampler(same, "auto", 64).sample(PROMPTS, 4, sampling, "seed") == expected


def test_a_response_that_ends_at_the_limit_is_not_truncated(policy: Policy) -> None:
    first = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 16, Sampling(60), "seed")
    limit = min(len(rollout.token_ids) for rollout in first if not rollout.truncated)
    again = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 16, Sampling(limit), "seed")
    assert any(not rollout.truncated and len(rollout.token_ids) == limit for rollout in again)


def test_rollouts_are_a_function_of_the_seed(policy: Policy) -> None:
    sampler = TransformersSampler(policy, "auto", 64)
    first = sampler.sample(PROMPTS, 3, Sampling(20), "a")
    assert sampler.sample(PROMPTS, 3, Sampling(20), "a") == first
    assert sampler.sample(PROMPTS, 3, Sampling(20), "b") != first


@pytest.mark.parametrize("batch_size", [2, 8, 64])
def test_every_rollout_is_told_of_once_when_it_ends_and_is_the_one_returned(policy: Policy, batch_size: int) -> None:
    """Streaming changes neither what is drawn nor its place."""
    sampler, sampling = TransformersSampler(policy, "auto", batch_size), Sampling(30)
    told: list[tuple[int, Rollout]] = []
    rollouts = sampler.sample(PROMPTS, 4, sampling, "seed", finished=lambda *what: told.append(what))
    assert rollouts == sampler.sample(PROMPTS, 4, sampling, "seed")
    assert len(told) == len(rollouts) == 16
    assert dict(told) == dict(enumerate(rollouts))
    assert {rollout.truncated for rollout in rollouts} == {True, False}


def test_rollouts_are_told_of_in_the_order_they_end_while_others_go_on(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, forward = TransformersSampler(policy, "auto", 64), policy.model.forward
    drawn = 0

    def counting(*arguments: object, **options: object) -> object:
        nonlocal drawn
        drawn += 1
        return forward(*arguments, **options)

    monkeypatch.setattr(policy.model, "forward", counting)
    when: list[tuple[int, int]] = []
    sampler.sample(PROMPTS, 4, Sampling(30), "seed", lambda _, rollout: when.append((drawn, len(rollout.token_ids))))
    assert len({tokens for _, tokens in when}) > 3
    assert all(tokens == passes for passes, tokens in when)


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: values, and sizes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.name()
        masked = name in ("aten::index.Tensor", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masked or name in ("aten::nonzero", "aten::_local_scalar_dense"):
            self.count[name] += 1
        return function(*args, **(kwargs or {}))


def test_tokens_are_read_from_the_device_only_where_a_row_ends(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rows that go on is all a token waits for."""
    sampler, forward = (
        TransformersSampler(replace(policy, eos_ids=frozenset([10**6])), "auto", 64),
        policy.model.forward,
    )

    def uncounted(*arguments: object, **options: object) -> object:
        with _disable_current_modes():
            return forward(*arguments, **options)

    monkeypatch.setattr(policy.model, "forward", uncounted)
    tolist = torch.Tensor.tolist
    found = []
    for tokens in (8, 16):
        with Waits() as waits, monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "tolist", lambda self: waits.count.update(["tolist"]) or tolist(self))
            sampler.sample(PROMPTS, 2, Sampling(tokens), "seed", finished=lambda *_: None)
        found.append(waits.count)
    assert found[1] - found[0] == {"aten::nonzero": 8}


def test_batches_do_not_mix_up_prompts(policy: Policy) -> None:
    """Greedy responses belong to their prompts however few are decoded at a time."""
    whole = TransformersSampler(policy, "auto", 64).sample(PROMPTS, 2, Sampling(12, 0.0), "seed")
    cut = TransformersSampler(policy, "auto", 2).sample(PROMPTS, 2, Sampling(12, 0.0), "seed")
    assert [r.token_ids for r in cut] == [r.token_ids for r in whole]


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(20_000, 1)
    token, logp = draw(logits, Sampling(1, temperature=2.0), torch.Generator().manual_seed(0))
    expected = torch.softmax(torch.tensor([1.0, 0.5, 0.0, -0.5]), -1)
    torch.testing.assert_close(torch.bincount(token, minlength=4) / 20_000, expected, atol=0.015, rtol=0)
    torch.testing.assert_close(logp, expected.log()[token])


def test_top_k_and_top_p_restrict_the_support_and_report_whole_probabilities() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(500, 1)
    whole = torch.log_softmax(logits[0], -1)
    for sampling, allowed in (
        (Sampling(1, top_k=2), {0, 1}),
        (Sampling(1, top_p=0.6), {0}),
        (Sampling(1, top_p=0.7), {0, 1}),
    ):
        token, logp = draw(logits, sampling, torch.Generator().manual_seed(0))
        assert set(token.tolist()) == allowed
        torch.testing.assert_close(logp, whole[token])


def test_a_copy_in_another_type_follows_the_policy(configure: Callable[..., Config]) -> None:
    policy = load_policy(configure({"model": "quickstart-untrained"}))
    sampler = TransformersSampler(policy, "bfloat16", 64)
    assert sampler.model.dtype == torch.bfloat16
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(2.0)
    sampler.sync()
    for ours, theirs in zip(sampler.model.parameters(), policy.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.bfloat16())


def test_a_copy_in_another_type_keeps_its_positions_in_float32(configure: Callable[..., Config]) -> None:
    sampler = TransformersSampler(load_policy(configure({"model": "quickstart-untrained"})), "bfloat16", 64)
    assert {buffer.dtype for buffer in sampler.model.buffers() if buffer.is_floating_point()} == {torch.float32}
