from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.data.sources import load_splits
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.model import load_trainable
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.training.trainer import Trainer


@pytest.fixture(scope="session")
def make_trainer(configure: Callable[..., Config]) -> Iterator[Callable[..., Trainer]]:
    """A trainer on the embedded policy, whose groups have both right and wrong answers from the start."""
    with ExitStack() as pools:

        def make(overrides: dict[str, Any] | None = None, preset: str = "quickstart") -> Trainer:
            config = configure(overrides, preset)
            policy = load_trainable(config)
            sampler = make_sampler(policy, config)
            pool = pools.enter_context(open_pool(config))
            return Trainer(config, policy, sampler, pool, load_splits(config), Interrupts())

        yield make
