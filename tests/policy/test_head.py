"""The tiled head against the computation it stands for, in float64, gradients included."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlsd_cli.core.divergences import clip_token_loss, forward_kl, generalized_jsd, reverse_kl, top_k_with_tail
from rlsd_cli.policy.head import Head, Tile, token_divergence, token_logp

N, H, V = 11, 6, 37
TEMPERATURE = 0.7


def leaf(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


class Parts:
    """States, weight, bias, targets and weights of tokens, the same every time."""

    def __init__(self, *, bias: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.states, self.weight = leaf(generator, N, H), leaf(generator, V, H)
        self.bias = leaf(generator, V) if bias else None
        self.target = torch.randint(V, (N,), generator=generator)
        self.upstream = torch.randn(N, generator=generator, dtype=torch.float64)
        self.head = Head(self.weight, self.bias, TEMPERATURE)

    def naive_logp(self) -> Tensor:
        logits = self.states @ self.weight.T
        return torch.log_softmax((logits if self.bias is None else logits + self.bias) / TEMPERATURE, -1)

    def gradients(self, loss: Tensor) -> list[Tensor]:
        leaves = [part for part in (self.states, self.weight, self.bias) if part is not None]
        return list(torch.autograd.grad(loss, leaves))


def assert_equal(ours: list[Tensor], naive: list[Tensor]) -> None:
    for one, other in zip(ours, naive, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tile", [Tile(4, 10), Tile(3, 1000), Tile(1000, 5), None])
def test_log_probabilities_entropies_and_gradients_are_those_of_the_whole_tensor(tile: Tile | None, bias: bool) -> None:
    parts = Parts(bias=bias)
    logp, entropy = token_logp(parts.head, parts.states, parts.target, tile)
    naive = parts.naive_logp()
    sampled = naive[torch.arange(N), parts.target]
    assert_equal([logp, entropy], [sampled, -(naive.exp() * naive).sum(-1)])
    assert not entropy.requires_grad
    assert_equal(parts.gradients((logp * parts.upstream).sum()), parts.gradients((sampled * parts.upstream).sum()))


def test_logits_far_apart_neither_overflow_nor_lose_the_likeliest() -> None:
    states, weight = torch.tensor([[1.0]]), torch.tensor([[1e4], [0.0], [-1e4]])
    logp, entropy = token_logp(Head(weight, None, 1.0), states, torch.tensor([0]), Tile(1, 1))
    assert logp.item() == 0.0
    assert entropy.item() == 0.0


def clipped(student: Tensor, teacher: Tensor) -> Tensor:
    return clip_token_loss(forward_kl(student, teacher), 1.0)


def jsd(student: Tensor, teacher: Tensor) -> Tensor:
    return generalized_jsd(student, teacher, beta=0.3)


def top_three(student: Tensor, teacher: Tensor) -> Tensor:
    return reverse_kl(*top_k_with_tail(student, teacher, k=3))


@pytest.mark.parametrize("measure", [forward_kl, reverse_kl, jsd, top_three, clipped])
@pytest.mark.parametrize("size", [1, 4, None])
@pytest.mark.parametrize("bias", [False, True])
def test_divergences_and_gradients_are_those_of_the_whole_tensors(
    measure: Callable[[Tensor, Tensor], Tensor], size: int | None, bias: bool
) -> None:
    parts, generator = Parts(bias=bias), torch.Generator().manual_seed(1)
    other = Head(leaf(generator, V, H).detach(), None, TEMPERATURE)
    teacher_states = leaf(generator, N, H).detach()
    result = token_divergence(
        measure, parts.head, parts.states, other, teacher_states, parts.target, parts.upstream, size
    )
    student = parts.naive_logp()
    teacher = torch.log_softmax(teacher_states @ other.weight.T / TEMPERATURE, -1)
    loss = measure(student, teacher) * parts.upstream
    pick = torch.arange(N), parts.target
    assert_equal(
        [result.loss, result.logp, result.entropy, result.teacher_logp],
        [loss, student[pick], -(student.exp() * student).sum(-1), teacher[pick]],
    )
    assert_equal(parts.gradients(result.loss.sum() * 3), parts.gradients(loss.sum() * 3))


def test_divergences_can_only_be_summed() -> None:
    parts = Parts(bias=False)
    states = parts.states.detach()
    result = token_divergence(reverse_kl, parts.head, parts.states, parts.head, states, parts.target, parts.upstream)
    with pytest.raises(RuntimeError, match="differentiated as a sum"):
        (result.loss * parts.upstream).sum().backward()


@pytest.mark.parametrize("kind", ["logp", "divergence"])
def test_a_head_that_is_not_trained_takes_no_gradient_and_passes_the_same_one_on(kind: str) -> None:
    def gradient(parts: Parts) -> Tensor:
        if kind == "logp":
            loss = (token_logp(parts.head, parts.states, parts.target, Tile(4, 10))[0] * parts.upstream).sum()
        else:
            other = parts.states.detach().roll(1, 0)
            loss = token_divergence(
                reverse_kl, parts.head, parts.states, parts.head, other, parts.target, parts.upstream, 4
            ).loss.sum()
        loss.backward()
        assert parts.states.grad is not None
        return parts.states.grad

    trained, frozen = Parts(bias=True), Parts(bias=True)
    for part in (frozen.weight, frozen.bias):
        assert part is not None
        part.requires_grad_(False)
    assert torch.equal(gradient(trained), gradient(frozen))
    assert trained.weight.grad is not None
    assert frozen.weight.grad is None


@pytest.mark.slow
def test_compiled_tiles_agree() -> None:
    parts = Parts(bias=True)
    plain = token_logp(parts.head, parts.states, parts.target, Tile(4, 10))
    compiled = token_logp(parts.head._replace(compiled=True), parts.states, parts.target, Tile(4, 10))
    assert_equal(list(compiled), list(plain))
    upstream = parts.upstream
    assert_equal(parts.gradients((compiled[0] * upstream).sum()), parts.gradients((plain[0] * upstream).sum()))
