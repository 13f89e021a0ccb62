"""Where the weights of a run lie before there is a trainer."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import distributed as dist

from rlsd_cli.config.schema import Config
from rlsd_cli.policy import head, scoring
from rlsd_cli.policy.compile_check import compile_fault
from rlsd_cli.policy.model import load_trainable
from rlsd_cli.policy.models import Models, make_models
from rlsd_cli.policy.sharding import is_sharded

SPLIT = {"method": "rlsd", "optim.layout": "offloaded", "loss.kl_coef": 0.1}


@pytest.fixture
def placed(configure: Callable[..., Config]) -> Iterator[Callable[..., Models]]:
    def make(overrides: dict[str, Any]) -> Models:
        config = configure(overrides)
        return make_models(load_trainable(config), config)

    yield make
    if dist.is_initialized():
        dist.destroy_process_group()


def test_a_method_has_the_copies_that_it_needs_and_whole_weights_stay_whole(placed: Callable[..., Models]) -> None:
    alone = placed({"method": "rlvr"})
    assert (alone.teacher, alone.teacher_model, alone.reference, alone.sharded) == (None, None, None, [])
    taught = placed({"method": "rlsd", "teacher.weights": "frozen", "loss.kl_coef": 0.1})
    models = [taught.policy.model, taught.teacher_model, taught.reference]
    assert len({id(model) for model in models}) == 3
    assert not any(is_sharded(model) for model in models)


def test_copies_are_split_with_the_policy_and_have_its_weights(placed: Callable[..., Models]) -> None:
    models = placed(SPLIT | {"teacher.weights": "frozen"})
    assert [id(model) for model in models.sharded] == [
        id(model) for model in (models.policy.model, models.teacher_model, models.reference)
    ]
    assert all(is_sharded(model) for model in models.sharded)
    states = [model.state_dict() for model in models.sharded]
    for copied in states[1:]:
        assert all(torch.equal(copied[name].full_tensor(), value.full_tensor()) for name, value in states[0].items())


def test_a_live_teacher_is_the_policy_and_is_split_once(placed: Callable[..., Models]) -> None:
    models = placed({"method": "rlsd", "optim.layout": "offloaded", "teacher.weights": "live"})
    assert models.teacher_model is models.policy.model
    assert len(models.sharded) == 1


@pytest.mark.parametrize(("share", "accepted"), [(0.0, True), (0.03, False)])
def test_compiled_layers_are_checked_on_split_weights_before_there_is_a_trainer(
    placed: Callable[..., Models], monkeypatch: pytest.MonkeyPatch, share: float, accepted: bool
) -> None:
    def changed(layer: Any) -> Any:
        forward = layer.forward
        return lambda states, **options: (1 + share) * forward(states, **options) - share * states

    monkeypatch.setattr(scoring, "_compiled_forward", changed)
    monkeypatch.setattr(head, "_compiled", lambda function: function)
    models = placed(SPLIT)
    fault = compile_fault(models.policy.run_as(compile=True))
    assert (fault is None) == accepted
    assert all(parameter.grad is None for parameter in models.policy.model.parameters())
