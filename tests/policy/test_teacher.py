from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config, TeacherConfig
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.teacher import Teacher, visiting


@pytest.fixture
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure({"model": "quickstart-untrained"}))


def weight(model: torch.nn.Module) -> torch.Tensor:
    return next(model.parameters()).detach().clone()


def move(policy: Policy) -> None:
    """An update, as far as a teacher can tell."""
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(1.0)


def test_live_weights_are_the_policys_own(policy: Policy) -> None:
    teacher = Teacher(policy, TeacherConfig(weights="live"))
    assert teacher.model is policy.model
    assert teacher.state() is None


def test_a_snapshot_follows_after_the_update_of_every_nth_step(policy: Policy) -> None:
    teacher = Teacher(policy, TeacherConfig(weights="snapshot", sync_every=2))
    start = weight(policy.model)
    move(policy)
    teacher.after_update(1)
    torch.testing.assert_close(weight(teacher.model), start)
    move(policy)
    teacher.after_update(2)
    torch.testing.assert_close(weight(teacher.model), start + 2)
    move(policy)
    teacher.after_update(3)
    torch.testing.assert_close(weight(teacher.model), start + 2)


def test_frozen_weights_stay_the_initial_ones(policy: Policy) -> None:
    teacher = Teacher(policy, TeacherConfig(weights="frozen"))
    start = weight(policy.model)
    for step in range(1, 30):
        move(policy)
        teacher.after_update(step)
    torch.testing.assert_close(weight(teacher.model), start)


def test_an_average_moves_by_its_rate(policy: Policy) -> None:
    teacher = Teacher(policy, TeacherConfig(weights="ema", ema_rate=0.25))
    start = weight(policy.model)
    move(policy)
    teacher.after_update(1)
    torch.testing.assert_close(weight(teacher.model), start + 0.25)


def test_the_state_of_a_snapshot_comes_back(policy: Policy) -> None:
    teacher = Teacher(policy, TeacherConfig(weights="snapshot"))
    state = {name: value.clone() for name, value in (teacher.state() or {}).items()}
    move(policy)
    other = Teacher(policy, TeacherConfig(weights="snapshot"))
    other.load_state(state)
    torch.testing.assert_close(weight(other.model), weight(teacher.model))


def test_no_copy_takes_gradients(policy: Policy) -> None:
    teacher = Teacher(policy, TeacherConfig(weights="frozen"))
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert all(parameter.requires_grad for parameter in policy.model.parameters())


def test_a_copy_in_main_memory_lies_there_but_for_its_output_head(policy: Policy, monkeypatch: Any) -> None:
    """There is no GPU here: a copy is told by where `to` was asked to bring it."""
    moved: list[torch.Size] = []
    plain = torch.Tensor.to

    def to(tensor: torch.Tensor, *where: Any, **options: Any) -> torch.Tensor:
        if where == ("cpu",):
            moved.append(tensor.shape)
        return plain(tensor, *where, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    teacher = Teacher(policy, TeacherConfig(weights="snapshot", sync_every=1, device="cpu"))
    head = policy.model.get_output_embeddings().weight
    assert len(moved) == len(list(policy.model.parameters())) - 1
    assert head.shape not in moved
    ours, theirs = (dict(model.named_parameters()) for model in (teacher.model, policy.model))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert not {value.data_ptr() for value in ours.values()} & {value.data_ptr() for value in theirs.values()}
    move(policy)
    teacher.after_update(1)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_weights_that_lie_elsewhere_visit_a_device_and_are_home_again(policy: Policy) -> None:
    model, meta = Teacher(policy, TeacherConfig(weights="frozen", device="cpu")).model, torch.device("meta")
    weights = list(model.parameters())
    with visiting(model, meta), visiting(model, meta):
        assert {parameter.device for parameter in model.parameters()} == {meta}
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert all(now is before for now, before in zip(model.parameters(), weights, strict=True))
    with visiting(model, policy.device):
        assert all(now is before for now, before in zip(model.parameters(), weights, strict=True))
