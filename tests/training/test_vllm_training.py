"""Whole steps with a real vLLM engine: `make test-vllm`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.data.sources import load_splits
from rlsd_cli.evaluation.grade import open_pool
from rlsd_cli.policy.model import Policy, load_trainable
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.sampler import Sampling
from rlsd_cli.rollout.transformers import TransformersSampler
from rlsd_cli.training.interrupts import Interrupts
from rlsd_cli.training.trainer import Trainer

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
        made[-1].sync()
        return policy, made[-1]

    yield make
    made[-1].close()


def test_an_adapter_is_sampled_merged(configure: Callable[..., Config], begin: Any) -> None:
    policy, sampler = begin(configure(SETTINGS | {"adapter.rank": 4}))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
    sampler.sync()
    plain = TransformersSampler(policy, "float32", 16)
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
        trainer = Trainer(config, policy, sampler, pool, load_splits(config), Interrupts())
        for number in (1, 2):
            metrics, _ = trainer.step(number)
            assert metrics["trained_tokens"] > 0
            assert metrics["sampler_mismatch_abs_mean"] < 1e-4
        assert trainer.evaluate().summary["n"] > 0
