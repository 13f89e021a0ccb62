"""Compiled layers are used where they compute what plain ones do, and each is compiled for all batches at once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from rlsd_cli.config.schema import Config
from rlsd_cli.policy import head, scoring
from rlsd_cli.policy.batch import make_batch
from rlsd_cli.policy.compile_check import compile_fault, example_batch, recompilation_limits
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.scoring import features, score_tokens

Layer = Callable[..., torch.Tensor]


@pytest.fixture
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure({"dtype": "float32"}))


@pytest.fixture
def compiled_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Layer], Layer]], None]:
    """What stands for compiled layers: a function of a layer's forward."""

    def use(change: Callable[[Layer], Layer]) -> None:
        monkeypatch.setattr(scoring, "_compiled_forward", lambda layer: change(layer.forward))
        monkeypatch.setattr(head, "_compiled", lambda function: function)

    return use


def test_layers_that_do_not_compile_run_as_they_are(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(scoring, "_compiled_forward", broken)
    assert compile_fault(policy.run_as(compile=True)) == "compiling failed (RuntimeError: no compiler)"
    assert "forward" not in vars(policy.model.base_model.layers[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("share", "accepted"), [(0.0, True), (0.03, False)])
def test_layers_that_score_otherwise_are_not_used_in_any_type(
    policy: Policy, compiled_as: Callable[..., None], dtype: str, share: float, accepted: bool
) -> None:
    """A share of 0.03 moves scores by less than what two kernels of bfloat16 may differ by at a single token."""
    policy = policy.run_as(dtype=dtype)
    compiled_as(lambda forward: lambda states, **options: (1 + share) * forward(states, **options) - share * states)
    fault = compile_fault(policy)
    assert (fault is None) == accepted
    assert accepted or "the scores of compiled layers differ" in str(fault)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_with_other_gradients_are_not_used(policy: Policy, compiled_as: Callable[..., None], dtype: str) -> None:
    def lossy(forward: Layer) -> Layer:
        def run(states: torch.Tensor, **options: Any) -> torch.Tensor:
            after = forward(states, **options)
            return after + 0.2 * (after - after.detach())

        return run

    policy = policy.run_as(dtype=dtype)
    compiled_as(lossy)
    assert "the gradients of compiled layers differ" in str(compile_fault(policy))
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_the_batch_that_is_tried_has_several_buckets(policy: Policy) -> None:
    rows = example_batch(policy).rows
    assert rows is not None
    assert len(rows.buckets) >= 5


def test_a_model_of_little_room_is_tried_on_what_fits(policy: Policy) -> None:
    assert example_batch(replace(policy, context_length=40)).longest <= 40


def batch_of(policy: Policy, lengths: list[int]) -> Any:
    prompts = [[1, 2, 3]] * len(lengths)
    return make_batch(prompts, [[4] * length for length in lengths], 0, policy.device, packed=True)


def test_a_layer_is_compiled_once_for_batches_of_any_number_of_buckets(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards on the number would compile each anew, and give up after the eighth."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    policy = replace(policy.run_as(compile=True), context_length=4096)
    frames, said = list[int](), list[str]()
    with recompilation_limits(said.append):
        for num_buckets in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 1):
            batch = batch_of(policy, [round(1.3**place * 100) for place in range(num_buckets)])
            assert batch.rows is not None
            assert len(batch.rows.buckets) == num_buckets
            features(policy, policy.model, batch, batch.mask)
            frames.append(counters["frames"]["total"])
    torch._dynamo.reset()
    assert frames[0] > 0
    assert frames[1:] == [frames[1]] * 11
    assert said == []


def test_a_limit_of_recompilations_that_is_hit_is_said() -> None:
    said: list[str] = []

    @partial(torch.compile, backend="eager", dynamic=False)
    def twice(states: torch.Tensor) -> torch.Tensor:
        return states * 2

    with recompilation_limits(said.append), torch._dynamo.config.patch(recompile_limit=2):
        for width in range(1, 6):
            twice(torch.ones(width))
    torch._dynamo.reset()
    assert len(said) == 1
    assert "torch.compile stopped at 2 versions of 'twice'" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_layers_give_the_same_scores_and_gradients(policy: Policy, dtype: str) -> None:
    policy = policy.run_as(dtype=dtype)
    assert compile_fault(policy) is None
    if dtype != "float32":
        return
    batch = example_batch(policy)

    def run(policy: Policy) -> list[torch.Tensor]:
        policy.model.zero_grad()
        logp = score_tokens(policy, batch, batch.mask, 1.0).logp
        logp.sum().backward()  # type: ignore[no-untyped-call]
        return [logp.detach(), *(p.grad.clone() for p in policy.model.parameters() if p.grad is not None)]

    plain = run(policy)
    for compiled, expected in zip(run(policy.run_as(compile=True)), plain, strict=True):
        torch.testing.assert_close(compiled, expected, atol=1e-3, rtol=1e-3)
