"""A real vLLM engine, beside the trainer and as a server: `make test-vllm`."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.batch import make_batch
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.canary import Weights
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Completion, Sampling
from rlsd_cli.rollout.vllm_servers import ServerSampler, _Client, _read, _write
from tests.rollout.vllm_server import Server, served

pytestmark = pytest.mark.vllm

PROMPTS = [[18, 5, 3, 12, 7, 14, 17], [18, 4, 12, 9, 9, 14, 17], [18, 2, 2, 12, 3, 13, 4, 4, 14, 17] * 3]
KEYS = ["a", "b", "c"]
GREEDY = Sampling(30, temperature=0.0)
SETTINGS = {"rollout.engine": "vllm", "rollout.batch_size": 16}


@pytest.fixture(scope="module")
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure(SETTINGS))


@pytest.fixture(scope="module")
def server(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(policy, tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="module", params=["here", "server"])
def sampler(policy: Policy, configure: Callable[..., Config], request: pytest.FixtureRequest) -> Iterator[Any]:
    elsewhere = request.param == "server"
    places = {"rollout.servers": [request.getfixturevalue("server").url]} if elsewhere else {}
    made: Any = make_sampler(policy, configure(SETTINGS | places))
    made.update_weights()
    yield made
    made.close()


@pytest.fixture(scope="module")
def remote(policy: Policy, server: Server, configure: Callable[..., Config]) -> Iterator[ServerSampler]:
    """The sampler of the server alone."""
    made = ServerSampler(policy, configure(SETTINGS | {"rollout.servers": [server.url]}), World())
    yield made
    made.close()


@pytest.fixture(autouse=True)
def weights_come_back(policy: Policy, request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does to them."""
    named = {"sampler", "remote"} & set(request.fixturenames)
    if not named:
        yield
        return
    sampler = request.getfixturevalue(named.pop())
    if isinstance(sampler, ServerSampler):
        sampler.update_weights()
    before = [parameter.detach().clone() for parameter in policy.model.parameters()]
    yield
    with torch.no_grad():
        for parameter, value in zip(policy.model.parameters(), before, strict=True):
            parameter.copy_(value)
    sampler.restarted = False
    sampler.update_weights()


def tokens(rollouts: list[Completion]) -> list[list[int]]:
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
    plain = TransformersSampler(policy, 16)

    def greedy(one: Any) -> list[list[int]]:
        return tokens(one.sample(PROMPTS, KEYS, 1, GREEDY, "seed"))

    before = greedy(sampler)
    assert before == greedy(plain)
    shake(policy)
    sampler.update_weights()
    assert greedy(sampler) == greedy(plain) != before
    assert sampler.mismatch.mean <= sampler.mismatch.largest < 1e-3


@pytest.mark.parametrize("stale", ["layers.2.mlp.down_proj", "embed_tokens", "layers.0.self_attn.q_proj"])
def test_a_weight_that_stays_behind_stops_the_run_and_is_named(
    stale: str, policy: Policy, sampler: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    shake(policy)

    def spoiled(weights: Weights) -> Weights:
        return ((name, old[name] if stale in name else value) for name, value in weights)

    if isinstance(sampler, ServerSampler):
        load = _Client.load

        async def load_spoiled(client: _Client, url: str, folder: str) -> None:
            monkeypatch.undo()
            _write(spoiled(_read(Path(folder))), torch.float32, tmp_path)
            await load(client, url, str(tmp_path))

        monkeypatch.setattr(_Client, "load", load_spoiled)
    else:
        sent = sampler._weights
        monkeypatch.setattr(sampler, "_weights", lambda: spoiled(sent()))
    group = ".".join(stale.split(".")[:2]) if stale.startswith("layers") else stale
    with pytest.raises(RlsdError, match=rf"does not sample from the policy's weights.*`{group}`") as caught:
        sampler.update_weights()
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("sampler", ["here"], indirect=True)
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


@pytest.mark.parametrize("sampler", ["here"], indirect=True)
def test_an_engine_in_the_trainers_process_group_is_not_started_again(
    sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead() -> Any:
        raise RuntimeError("engine core died")

    engine = sampler.engine
    monkeypatch.setattr(sampler, "alone", False)
    with monkeypatch.context() as patch:
        patch.setattr(engine.llm_engine, "step", dead)
        with pytest.raises(RlsdError, match=r"vLLM failed: RuntimeError: engine core died") as caught:
            sampler.sample(PROMPTS, KEYS, 1, Sampling(5), "seed")
    assert caught.value.exit_code == 3
    assert sampler.engine is engine
    sampler.close()
    sampler.engine = sampler._start()


def draw(sampler: Any, heard: Callable[[int, Completion], None] | None = None) -> list[list[int]]:
    return tokens(sampler.sample(PROMPTS, KEYS, 8, Sampling(20), "seed", heard))


def test_a_server_that_is_started_again_is_given_the_weights_and_asked_again(
    policy: Policy, remote: ServerSampler, server: Server
) -> None:
    shake(policy)
    remote.update_weights()
    expected = draw(remote)
    heard: list[int] = []

    def cut(place: int, _: Completion) -> None:
        heard.append(place)
        if len(heard) == 1:
            server.stop()
            server.start()

    assert draw(remote, cut) == expected
    assert sorted(heard) == list(range(24))


def test_a_server_that_hangs_ends_the_run(
    remote: ServerSampler, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "settings", remote.settings.model_copy(update={"server_timeout": 2.0}))
    stopped = time.monotonic()
    try:
        with pytest.raises(RlsdError, match=rf"{server.url} has not answered for 2 s") as caught:
            draw(remote, lambda *_: os.killpg(server.process.pid, signal.SIGSTOP))
        assert time.monotonic() - stopped < 20
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    assert caught.value.exit_code == 3


def test_a_server_that_another_run_uses_is_noticed(
    policy: Policy, remote: ServerSampler, server: Server, configure: Callable[..., Config]
) -> None:
    other = ServerSampler(policy, configure(SETTINGS | {"rollout.servers": [server.url]}), World())

    def barge_in(place: int, _: Completion) -> None:
        if place == 0:
            with ThreadPoolExecutor() as elsewhere:
                elsewhere.submit(other.update_weights).result()

    with pytest.raises(RlsdError, match="no longer has this run's weights") as caught:
        draw(remote, barge_in)
    assert caught.value.exit_code == 4
    with pytest.raises(RlsdError, match="no longer has this run's weights"):
        draw(remote)
    draw(other)
    other.close()


def test_a_server_that_cannot_do_its_part_is_refused(
    policy: Policy, configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(policy, tmp_path, logprobs_mode="raw_logprobs") as raw:
        sampler = ServerSampler(policy, configure(SETTINGS | {"rollout.servers": [raw.url]}), World())
        with pytest.raises(RlsdError, match="tells `raw_logprobs`") as caught:
            sampler.update_weights()
        assert caught.value.exit_code == 3
        monkeypatch.setattr(_Client, "dtype", lambda *_: asyncio.sleep(0, "float32"))
        load = _Client.load
        monkeypatch.setattr(_Client, "load", lambda client, url, _: load(client, url, str(tmp_path / "unseen")))
        with pytest.raises(RlsdError, match="refuses /collective_rpc") as caught:
            sampler.update_weights()
        assert caught.value.exit_code == 3
        assert "rollout.weights_folder" in (caught.value.hint or "")
