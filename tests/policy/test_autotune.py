"""What decides how a policy is run: the config first, then a measurement that is made once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.policy import autotune
from rlsd_cli.policy.autotune import Measured, measure, tune
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.model import Policy, load_policy

AUTO = {"model": "quickstart-untrained", "dtype": "auto", "rollout.dtype": "auto"}


@pytest.fixture
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure(AUTO))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_to(*values: float) -> None:
        monkeypatch.setattr(autotune, "remembered", lambda _: Measured(values[0], values[1], int(values[2])))

    return set_to


def test_what_is_left_open_follows_the_measurement(
    configure: Callable[..., Config], policy: Policy, measured: Callable[..., None]
) -> None:
    config = configure(AUTO | {"optim.tokens_per_microbatch": 77})
    measured(2.0, 3.0, 512)
    assert tune(policy, config) == Execution("bfloat16", "bfloat16", "packed", False, 77)
    measured(1.1, 3.0, 512)
    assert tune(policy, config) == Execution("float32", "bfloat16", "packed", False, 77)
    measured(1.1, 1.1, 512)
    assert tune(policy, config)[:2] == ("float32", "float32")


def test_the_config_has_the_last_word(configure: Callable[..., Config], measured: Callable[..., None]) -> None:
    measured(9.0, 9.0, 512)
    fixed = {"dtype": "float32", "rollout.dtype": "float32", "attention": "padded", "compile": "on"}
    config = configure(AUTO | fixed | {"optim.tokens_per_microbatch": 64, "optim.recompute": 0.5})
    assert tune(load_policy(config), config) == Execution("float32", "float32", "padded", True, 64, 0.5)


def test_a_measurement_is_made_once_for_a_machine_and_model(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RLSD_HOME", str(tmp_path))
    made: list[Policy] = []

    def counting(measured: Policy) -> Measured:
        made.append(measured)
        return Measured(1.0, 2.0, 512)

    monkeypatch.setattr(autotune, "measure", counting)
    (tmp_path / "measured.json").write_text("{")  # cut off by a full disk, say
    assert autotune.remembered(policy) == autotune.remembered(policy) == Measured(1.0, 2.0, 512)
    assert len(made) == 1
    autotune.remembered(policy.run_as(attention="padded"))
    assert len(made) == 2
    assert len(json.loads((tmp_path / "measured.json").read_text())) == 2


def test_measuring_leaves_the_model_as_it_was(policy: Policy) -> None:
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    found = measure(policy, seconds=0.2)
    assert found.bfloat16_speedup > 0
    assert found.bfloat16_sampling_speedup > 0
    assert found.tokens_per_microbatch in autotune.SIZES["cpu"]
    assert policy.model.config.num_hidden_layers == 4
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())
