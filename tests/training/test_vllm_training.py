"""Whole steps and whole runs with a real vLLM engine: `make test-vllm`."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import select
from rlsd_cli.data.sources import load_splits
from rlsd_cli.distributed.world import World
from rlsd_cli.evaluation.evaluate import evaluate_together
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.model import Policy, load_policy, load_trainable
from rlsd_cli.policy.models import place
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Sampling
from rlsd_cli.training.trainer import make_trainer
from tests.rollout.vllm_server import Server, served

pytestmark = pytest.mark.vllm

PROMPTS = [[18, 5, 3, 12, 7, 14, 17], [18, 4, 12, 9, 9, 14, 17]]
SETTINGS = {"rollout.engine": "vllm", "rollout.batch_size": 16, "optim.lr": 1e-4}


@pytest.fixture
def begin() -> Iterator[Callable[[Config], tuple[Policy, Any]]]:
    """A policy and its engine, which is closed after the test: a process can have one at a time."""
    made: list[Any] = []

    def make(config: Config) -> tuple[Policy, Any]:
        policy = load_trainable(config)
        made.append(make_sampler(policy, config))
        made[-1].update_weights()
        return policy, made[-1]

    yield make
    made[-1].close()


def test_an_adapter_is_sampled_merged(configure: Callable[..., Config], begin: Any) -> None:
    policy, sampler = begin(configure(SETTINGS | {"adapter.rank": 4}))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
    sampler.update_weights()
    plain = TransformersSampler(policy, 16)
    greedy = Sampling(30, temperature=0.0)
    mine, theirs = (one.sample(PROMPTS, ["a", "b"], 1, greedy, "seed") for one in (sampler, plain))
    assert [rollout.token_ids for rollout in mine] == [rollout.token_ids for rollout in theirs]


@pytest.mark.parametrize(
    ("method", "layout"), [("rlvr", "whole"), ("rlsd", "whole"), ("opsd", "whole"), ("rlsd", "offloaded")]
)
def test_every_method_trains(configure: Callable[..., Config], begin: Any, method: str, layout: str) -> None:
    config = configure(SETTINGS | {"method": method, "optim.layout": layout})
    policy, sampler = begin(config)
    with open_pool(config) as pool:
        splits = load_splits(config)
        trainer = make_trainer(config, place(policy, config), sampler, pool, splits, Interrupts())
        for number in (1, 2):
            metrics, _ = trainer.step(number)
            assert metrics["trained_tokens"] > 0
            assert metrics["sampler_mismatch_abs_mean"] < 1e-4
        held_out = select(splits.held_out, config.evaluation.problems)
        assert evaluate_together(policy, sampler, held_out, config, pool, World()).summary["n"] > 0


@pytest.fixture(scope="module")
def server(configure: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(load_policy(configure()), tmp_path_factory.mktemp("served")) as started:
        yield started


def arguments(server: Server, root: Path, *more: str) -> list[str]:
    """Of a short run with the server; the same one wherever that is."""
    settings = [
        "prompts_per_step=4",
        "samples_per_prompt=4",
        "steps=4",
        "evaluation.problems=8",
        "evaluation.every=0",
        "checkpoint.every=1",
        "rollout.engine=vllm",
        f'rollout.servers=["{server.url}"]',
        "rollout.server_timeout=10",
    ]
    return ["-m", "rlsd_cli", "--root", str(root), "train", "--mode", "rlsd", *settings, *more]


def numbers(root: Path) -> list[tuple[float, ...]]:
    """What the steps of the only run came to."""
    (file,) = root.glob("quickstart-*/metrics.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [(row["step"], row["reward_mean"], row["loss"], row["grad_norm"]) for row in rows]


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, ...]]:
    root = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([sys.executable, *arguments(server, root)], check=True)
    return numbers(root)


def test_a_run_whose_server_is_cut_stops_and_goes_on_with_another(
    server: Server, undisturbed: list[tuple[float, ...]], tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    with subprocess.Popen([sys.executable, *arguments(server, root)], stderr=subprocess.PIPE, text=True) as run:
        while not list(root.glob("quickstart-*/checkpoints/000002")):
            assert run.poll() is None
            time.sleep(0.02)
        server.stop()
        stopped = time.monotonic()
        _, said = run.communicate()
        assert run.returncode == 3
        assert "has not answered for 10 s" in said
        assert time.monotonic() - stopped < 60
    another = Server(shutil.copytree(server.folder, tmp_path / "another"))
    another.start()
    try:
        another.wait()
        subprocess.run([sys.executable, *arguments(another, root)], check=True)
    finally:
        another.stop()
        server.start()
        server.wait()
    torch.testing.assert_close(numbers(root), undisturbed, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("layout", ["whole", "sharded"])
@pytest.mark.parametrize("where", ["server", "here"])
def test_several_processes_come_to_the_same(
    server: Server, undisturbed: list[tuple[float, ...]], tmp_path: Path, where: str, layout: str
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    more = [f"optim.layout={layout}", *(["rollout.servers=[]"] if where == "here" else [])]
    subprocess.run([*launch, *arguments(server, tmp_path, *more)], check=True)
    torch.testing.assert_close(numbers(tmp_path), undisturbed, atol=1e-4, rtol=1e-3)
