"""What a plan follows from: the config first, then a measurement that is made once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.policy import head, scoring
from rlsd_cli.policy import plan as plans
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.plan import Measured, Plan, compile_fault, follow, make_plan, measure
from rlsd_cli.policy.scoring import score_tokens

AUTO = {"model": "quickstart-untrained", "dtype": "auto", "rollout.dtype": "auto"}


@pytest.fixture
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure(AUTO))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_to(*values: float) -> None:
        monkeypatch.setattr(plans, "remembered", lambda _: Measured(values[0], values[1], int(values[2])))

    return set_to


def test_what_is_left_open_follows_the_measurement(
    configure: Callable[..., Config], policy: Policy, measured: Callable[..., None]
) -> None:
    config = configure(AUTO | {"optim.tokens_per_microbatch": 77})
    measured(2.0, 3.0, 512)
    assert make_plan(policy, config) == Plan("bfloat16", "bfloat16", "packed", False, 77)
    measured(1.1, 3.0, 512)
    assert make_plan(policy, config) == Plan("float32", "bfloat16", "packed", False, 77)
    measured(1.1, 1.1, 512)
    assert make_plan(policy, config)[:2] == ("float32", "float32")


def test_the_config_has_the_last_word(
    configure: Callable[..., Config], policy: Policy, measured: Callable[..., None]
) -> None:
    measured(9.0, 9.0, 512)
    fixed = {"dtype": "float32", "rollout.dtype": "float32", "attention": "padded", "compile": "on"}
    config = configure(AUTO | fixed | {"optim.tokens_per_microbatch": 64})
    assert make_plan(policy, config) == Plan("float32", "float32", "padded", True, 64)


def test_a_measurement_is_made_once_for_a_machine_and_model(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RLSD_HOME", str(tmp_path))
    made: list[Policy] = []

    def counting(measured: Policy) -> Measured:
        made.append(measured)
        return Measured(1.0, 2.0, 512)

    monkeypatch.setattr(plans, "measure", counting)
    (tmp_path / "measured.json").write_text("{")  # cut off by a full disk, say
    assert plans.remembered(policy) == plans.remembered(policy) == Measured(1.0, 2.0, 512)
    assert len(made) == 1
    policy.packs = False
    plans.remembered(policy)
    assert len(made) == 2
    assert len(json.loads((tmp_path / "measured.json").read_text())) == 2


def test_measuring_leaves_the_model_as_it_was(policy: Policy) -> None:
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    found = measure(policy, seconds=0.2)
    assert found.bfloat16_speedup > 0
    assert found.bfloat16_sampling_speedup > 0
    assert found.tokens_per_microbatch in plans.SIZES["cpu"]
    assert policy.model.config.num_hidden_layers == 4
    assert policy.compute_dtype == torch.float32
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())


def test_layers_that_do_not_compile_run_as_they_are(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(scoring, "_compiled_forward", broken)
    follow(policy, Plan("float32", "float32", "packed", True, 64))
    assert policy.compiled
    assert compile_fault(policy) == "compiling failed (RuntimeError: no compiler)"
    assert "forward" not in vars(policy.model.base_model.layers[0])


def test_compiled_layers_that_compute_something_else_are_not_used(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(layer: Any) -> Any:
        forward = layer.forward
        return lambda *states, **options: 2 * forward(*states, **options)

    monkeypatch.setattr(scoring, "_compiled_forward", doubled)
    monkeypatch.setattr(head, "_compiled", lambda function: function)
    fault = compile_fault(policy)
    assert fault is not None
    assert "differ" in fault


@pytest.mark.slow
def test_compiled_layers_give_the_same_scores_and_gradients(policy: Policy) -> None:
    assert compile_fault(policy) is None
    batch = plans._example(policy, 256)

    def run() -> list[torch.Tensor]:
        policy.model.zero_grad()
        logp = score_tokens(policy, batch, batch.mask, 1.0).logp
        logp.sum().backward()  # type: ignore[no-untyped-call]
        return [logp.detach(), *(p.grad.clone() for p in policy.model.parameters() if p.grad is not None)]

    plain = run()
    policy.compiled = True
    for compiled, expected in zip(run(), plain, strict=True):
        torch.testing.assert_close(compiled, expected, atol=1e-3, rtol=1e-3)
