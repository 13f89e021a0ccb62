"""The optimiser's choices: what they save, that a run follows the usual one, and that it continues exactly."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.training.checkpoint import Trained, load_checkpoint, save_checkpoint
from rlsd_cli.training.optimizer import make_optimizer

Configure = Callable[..., Config]
Begin = Callable[[str], tuple[Policy, torch.optim.Optimizer]]
IDS = torch.arange(2, 18)[None]


@pytest.fixture
def begin(configure: Configure) -> Begin:
    """A policy and the optimiser of a config, from the same weights each time."""

    def make(state: str) -> tuple[Policy, torch.optim.Optimizer]:
        config = configure({"optim.state": state, "optim.lr": 1e-3, "model": "quickstart-untrained"})
        policy = load_policy(config)
        return policy, make_optimizer(policy, config)

    return make


def train(policy: Policy, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = policy.model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def test_moments_in_8_bits_take_a_quarter_and_the_loss_follows(
    begin: Begin,
) -> None:
    losses, taken = {}, {}
    for state in ("float32", "8bit"):
        policy, optimizer = begin(state)
        losses[state] = train(policy, optimizer, 20)
        taken[state] = state_bytes(optimizer)
    num_parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    assert taken["float32"] == pytest.approx(8 * num_parameters, rel=0.01)
    assert taken["8bit"] == pytest.approx(2 * num_parameters, rel=0.03)
    assert losses["8bit"][-1] < losses["8bit"][0] / 2
    assert losses["8bit"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["8bit"] != losses["float32"]


@pytest.mark.parametrize("state", ["float32", "8bit"])
def test_a_checkpoint_continues_exactly(state: str, begin: Begin, tmp_path: Path) -> None:
    policy, optimizer = begin(state)
    train(policy, optimizer, 3)
    folder = save_checkpoint(tmp_path, 3, Trained(policy, optimizer, None), keep=1)
    other, its_optimizer = begin(state)
    assert load_checkpoint(folder, Trained(other, its_optimizer, None)) == 3
    assert train(other, its_optimizer, 3) == train(policy, optimizer, 3)
    pairs = zip(policy.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_weights_are_updated_by_adam_with_decay_on_matrices_alone(
    begin: Begin,
) -> None:
    policy, optimizer = begin("float32")
    before = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    policy.model(input_ids=IDS, labels=IDS).loss.backward()
    gradients = {name: value.grad.clone() for name, value in policy.model.named_parameters()}
    optimizer.step()
    for name, value in policy.model.named_parameters():
        decay = 1 - 1e-3 * 0.01 if value.ndim > 1 else 1.0
        moved = before[name] * decay - 1e-3 * gradients[name] / (gradients[name].abs() + 1e-8)
        torch.testing.assert_close(value.detach(), moved, atol=1e-6, rtol=1e-4)


def test_a_missing_package_is_named_with_its_extra(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(RlsdError, match="needs the package `bitsandbytes`") as caught:
        begin("8bit")
    assert caught.value.exit_code == 3
    assert caught.value.hint == "`pip install 'rlsd[optim8]'`"
