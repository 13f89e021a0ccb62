from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import begin


@pytest.fixture(scope="session")
def make_trainer(configure: Callable[..., Config]) -> Iterator[Callable[..., Trainer]]:
    """A trainer on the embedded policy, whose groups have both right and wrong answers from the start."""
    with ExitStack() as pools:

        def make(overrides: dict[str, Any] | None = None, preset: str = "quickstart") -> Trainer:
            config = configure(overrides, preset)
            return begin(config, pools.enter_context(open_pool(config)))

        yield make
