"""Runs to look at: two methods with two seeds each, trained for two steps."""

import os
from pathlib import Path

import pytest

from tests.forked import rlsd

SHORT = [
    *("data=arithmetic:count=400", "steps=2", "prompts_per_step=2", "optim.lr=1e-3"),
    *("evaluation.problems=20", "evaluation.every=1"),
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `runs` lies."""
    folder = tmp_path_factory.mktemp("trained")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RLSD_")}
    for mode in ("rlvr", "rlsd"):
        for seed in (0, 1):
            done = rlsd("train", "--mode", mode, f"seed={seed}", *SHORT, cwd=folder, environment=environment)
            assert done.returncode == 0, done.stderr
    return folder
