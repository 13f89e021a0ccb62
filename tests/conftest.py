"""Configs for tests, made the way the command line makes them."""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, target_layer
from rlsd_cli.config.schema import Config

QUICK = {"prompts_per_step": 4, "samples_per_prompt": 4, "evaluation.problems": 8, "steps": 2}


@pytest.fixture(scope="session")
def configure() -> Callable[..., Config]:
    """`configure(**overrides)`: the quickstart preset, small, with dotted keys on top."""

    def make(overrides: dict[str, Any] | None = None, preset: str = "quickstart") -> Config:
        return merge([target_layer(preset)[1]], Layer(COMMAND_LINE, QUICK | (overrides or {}))).config

    return make
