"""A real vLLM engine beside the trainer: `make test-vllm`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.batch import make_batch
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.sampler import Rollout, Sampling
from rlsd_cli.rollout.transformers import TransformersSampler

pytestmark = pytest.mark.vllm

PROMPTS = [[18, 5, 3, 12, 7, 14, 17], [18, 4, 12, 9, 9, 14, 17], [18, 2, 2, 12, 3, 13, 4, 4, 14, 17] * 3]
KEYS = ["a", "b", "c"]
GREEDY = Sampling(30, temperature=0.0)
SETTINGS = {"rollout.engine": "vllm", "rollout.batch_size": 16}


@pytest.fixture(scope="module")
def config(configure: Callable[..., Config]) -> Config:
    return configure(SETTINGS)


@pytest.fixture(scope="module")
def policy(config: Config) -> Policy:
    return load_policy(config)


@pytest.fixture(scope="module")
def sampler(policy: Policy, config: Config) -> Iterator[Any]:
    made: Any = make_sampler(policy, config)
    made.sync()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def weights_come_back(policy: Policy, sampler: Any) -> Iterator[None]:
    """Whatever a test does to them."""
    before = [parameter.detach().clone() for parameter in policy.model.parameters()]
    yield
    with torch.no_grad():
        for parameter, value in zip(policy.model.parameters(), before, strict=True):
            parameter.copy_(value)
    sampler.restarted = False
    sampler.sync()


def tokens(rollouts: list[Rollout]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]


@torch.no_grad()
def shake(policy: Policy, amount: float = 0.05) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.model.parameters():
        parameter.add_(amount * torch.randn(parameter.shape, generator=generator))


def test_responses_have_the_trainers_log_probabilities_and_end_as_they_should(policy: Policy, sampler: Any) -> None:
    heard: list[int] = []
    rollouts = sampler.sample(PROMPTS, KEYS, 4, Sampling(20), "seed", lambda place, _: heard.append(place))
    assert sorted(heard) == list(range(12))
    batch = make_batch([p for p in PROMPTS for _ in range(4)], tokens(rollouts), 0, policy.device, packed=True)
    with torch.no_grad():
        expected = score_tokens(policy, batch, batch.mask, 1.0).logp[batch.mask]
    sampled = torch.tensor([logp for rollout in rollouts for logp in rollout.sampled_logp])
    torch.testing.assert_close(sampled, expected, atol=1e-3, rtol=0)
    for rollout in rollouts:
        ended = rollout.token_ids[-1] in policy.eos_ids
        assert rollout.truncated == (not ended)
        assert ended or len(rollout.token_ids) == 20
        assert not policy.eos_ids & set(rollout.token_ids[:-1])


def test_log_probabilities_are_those_at_the_sampling_temperature(policy: Policy, sampler: Any) -> None:
    (rollout,) = sampler.sample(PROMPTS[:1], KEYS[:1], 1, Sampling(8, temperature=0.5), "seed")
    batch = make_batch(PROMPTS[:1], [rollout.token_ids], 0, policy.device)
    with torch.no_grad():
        expected = score_tokens(policy, batch, batch.mask, 0.5).logp[batch.mask]
    torch.testing.assert_close(torch.tensor(rollout.sampled_logp), expected, atol=1e-3, rtol=0)


def test_a_draw_depends_on_its_seed_prompt_and_number_alone(sampler: Any) -> None:
    whole = tokens(sampler.sample(PROMPTS, KEYS, 4, Sampling(20), "seed"))
    assert tokens(sampler.sample(PROMPTS[1:2], KEYS[1:2], 4, Sampling(20), "seed")) == whole[4:8]
    assert tokens(sampler.sample(PROMPTS, KEYS, 4, Sampling(20), "other")) != whole
    assert len({tuple(ids) for ids in whole[:4]}) > 1


def test_an_update_is_in_the_next_rollout(policy: Policy, sampler: Any) -> None:
    plain = TransformersSampler(policy, "float32", 16)

    def greedy(one: Any) -> list[list[int]]:
        return tokens(one.sample(PROMPTS, KEYS, 1, GREEDY, "seed"))

    before = greedy(sampler)
    assert before == greedy(plain)
    shake(policy)
    sampler.sync()
    assert greedy(sampler) == greedy(plain) != before
    assert sampler.mismatch.mean <= sampler.mismatch.largest < 1e-3


@pytest.mark.parametrize("stale", ["layers.2.mlp.down_proj", "embed_tokens", "layers.0.self_attn.q_proj"])
def test_a_weight_that_stays_behind_stops_the_run_and_is_named(
    stale: str, policy: Policy, sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    shake(policy)
    sent = sampler._weights

    def spoiled() -> Iterator[tuple[str, torch.Tensor]]:
        return ((name, old[name] if stale in name else value) for name, value in sent())

    monkeypatch.setattr(sampler, "_weights", spoiled)
    group = ".".join(stale.split(".")[:2]) if stale.startswith("layers") else stale
    with pytest.raises(RlsdError, match=rf"vLLM does not sample from the policy's weights.*`{group}`") as caught:
        sampler.sync()
    assert caught.value.exit_code == 1


def test_an_engine_that_fails_is_started_again_once(sampler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tokens(sampler.sample(PROMPTS, KEYS, 4, Sampling(20), "seed"))
    step = sampler.engine.llm_engine.step
    calls = 0

    def fails_once() -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise RuntimeError("engine core died")
        return step()

    monkeypatch.setattr(sampler.engine.llm_engine, "step", fails_once)
    heard: list[int] = []
    rollouts = sampler.sample(PROMPTS, KEYS, 4, Sampling(20), "seed", lambda place, _: heard.append(place))
    assert tokens(rollouts) == expected
    assert sorted(heard) == list(range(12))

    def dead() -> Any:
        raise RuntimeError("engine core died")

    monkeypatch.setattr(sampler.engine.llm_engine, "step", dead)
    with pytest.raises(RlsdError, match=r"vLLM failed, and again .* engine core died") as caught:
        sampler.sample(PROMPTS, KEYS, 1, Sampling(5), "seed")
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    sampler.close()
    sampler.engine = sampler._start()
