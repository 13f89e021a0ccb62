"""Layers that are computed again: the same numbers, less that is kept."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.batch import decoder_layers, make_batch
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.recompute import chosen, recomputed_layers
from rlsd_cli.policy.scoring import score_tokens

PROMPTS, RESPONSES = [[2, 3, 4], [2, 3, 4], [5, 6]], [[7, 8, 9, 1], [7, 1], [8, 8, 8, 8, 1]]


def scored(policy: Policy, *, packed: bool) -> tuple[torch.Tensor, dict[str, Any], int]:
    """The loss of a batch, its gradients, and how many numbers were kept for the backward pass."""
    batch = make_batch(PROMPTS, RESPONSES, 0, policy.device, packed=packed)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        loss = score_tokens(policy, batch, batch.mask, 1.0).logp.sum()
    policy.model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {name: value.grad.clone() for name, value in policy.model.named_parameters()}, sum(kept)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_loss_and_its_gradients_stay_the_same_bit_for_bit(
    configure: Callable[..., Config], packed: bool, dtype: str
) -> None:
    policies = [load_policy(configure({"optim.recompute": share, "dtype": dtype})) for share in (0.0, 0.5, 1.0)]
    (loss, gradients, all_kept), *others = (scored(policy, packed=packed) for policy in policies)
    assert [policy.execution.recompute for policy in policies] == [0.0, 0.5, 1.0]
    for its_loss, its_gradients, _ in others:
        assert torch.equal(loss, its_loss)
        assert all(torch.equal(value, its_gradients[name]) for name, value in gradients.items())
    assert all_kept > others[0][2] > others[1][2]


def test_layers_run_as_they_did_afterwards_and_never_in_training_mode(configure: Callable[..., Config]) -> None:
    model = load_policy(configure()).model
    layers = decoder_layers(model)
    layers[1].forward = own = layers[1].forward
    ids = torch.tensor([[2, 3, 4]])
    modes: set[bool] = set()
    handles = [part.register_forward_pre_hook(lambda part, _: modes.add(part.training)) for part in model.modules()]
    with recomputed_layers(model, 1.0):
        assert "forward" in vars(layers[0])
        model(input_ids=ids).logits.sum().backward()
    assert modes == {False}
    assert "forward" not in vars(layers[0])
    assert vars(layers[1])["forward"] is own
    with torch.no_grad(), recomputed_layers(model, 1.0):
        assert "forward" not in vars(layers[0])
    del handles


def test_the_chosen_layers_are_spread_evenly() -> None:
    assert chosen(6, 0.0) == []
    assert chosen(6, 0.5) == [1, 3, 5]
    assert chosen(30, 0.1) == [9, 19, 29]
    assert chosen(4, 1.0) == [0, 1, 2, 3]
