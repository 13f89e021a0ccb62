"""The output head without the vocabulary tensor.

Logits [N, V] of N tokens take more memory than the rest of a small model's step, and only a few numbers a token are
wanted from them. So they are made a tile at a time, reduced, and dropped. Products and sums are float32 (float64 for
float64 states) whatever the trunk computes in: gaps between teacher and student are of the order of bfloat16's rounding
error.

- `token_logp` goes over tiles of tokens x vocabulary with a running log-sum-exp, and makes each tile again in its own
  backward pass: memory for one tile, however large N and V are.
- `token_divergence` compares whole distributions, so its tiles are some tokens x all of V, and takes the gradient of
  each while it is there. It can, because a step's loss is the sum of its tokens' under weights known beforehand.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Head(NamedTuple):
    """What turns a state into logits: `(state @ weight.T + bias) / temperature`; weight [V, H], bias [V] or None.

    `compiled`: the work on a tile between its matrix products is one kernel instead of several.
    """

    weight: Tensor
    bias: Tensor | None
    temperature: float
    compiled: bool = False


class Tile(NamedTuple):
    """Tokens and vocabulary entries handled at once."""

    tokens: int
    entries: int


CPU_TILE = Tile(512, 4096)
"""8 MiB of float32 logits, which stay in cache from one operation to the next."""
GPU_TILE = Tile(4096, 1 << 15)
"""512 MiB of float32 logits, enough to keep a GPU busy."""
DIVERGENCE_LOGITS = {"cpu": 9 << 20, "cuda": 1 << 27}
"""Logits of one side of a divergence at once, by device: 36 and 512 MiB in float32.

Tensors of up to 32 MiB may leave glibc with holes that it keeps; larger ones go back to the system at once.
"""


# -- the sampled token ------------------------------------------------------------------------------------------------


def token_logp(head: Head, states: Tensor, target: Tensor, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
    """Log-probability of each target, with its gradient, and entropy of each distribution, without.

    Args:
        head: The output head; gradients reach its weight and bias.
        states: Hidden states [N, H], float32 or float64; gradients reach them.
        target: Token ids [N].
        tile: How much at once; None for what suits the device.

    Returns:
        Log-probabilities [N] and entropies [N], nats.
    """
    tile = tile or (CPU_TILE if states.device.type == "cpu" else GPU_TILE)
    result: tuple[Tensor, Tensor] = _TokenLogp.apply(  # type: ignore[no-untyped-call]
        states, head.weight, head.bias, target, head, tile
    )
    return result


class _TokenLogp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, head: Head, tile: Tile
    ) -> tuple[Tensor, Tensor]:
        reduce = _compiled(_log_sum_and_mean) if head.compiled else _log_sum_and_mean
        log_sum = states.new_full((len(states),), -torch.inf)
        mean = torch.zeros_like(log_sum)
        for here, there in _tiles(len(states), len(weight), tile):
            part_log_sum, part_mean = reduce(_logits(head, states[here], there))
            total = torch.logaddexp(log_sum[here], part_log_sum)
            mean[here] = (log_sum[here] - total).exp() * mean[here] + (part_log_sum - total).exp() * part_mean
            log_sum[here] = total
        chosen = (states * weight.index_select(0, target).to(states.dtype)).sum(-1)
        if bias is not None:
            chosen = chosen + bias.index_select(0, target)
        ctx.save_for_backward(states, weight, bias, target, log_sum)
        ctx.head, ctx.tile = head, tile
        entropy = log_sum - mean
        ctx.mark_non_differentiable(entropy)
        return chosen / head.temperature - log_sum, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, target, log_sum = ctx.saved_tensors
        head, tile = ctx.head._replace(weight=weight, bias=bias), ctx.tile
        probabilities = _compiled(_probabilities) if head.compiled else _probabilities
        upstream = (upstream / head.temperature)[:, None]
        weighted = states * upstream
        to_states = weight.index_select(0, target).to(states.dtype)
        to_weight = to_bias = None
        if ctx.needs_input_grad[1]:
            to_weight = torch.zeros_like(weight, dtype=states.dtype).index_add_(0, target, weighted)
        if ctx.needs_input_grad[2]:
            to_bias = torch.zeros_like(bias).index_add_(0, target, upstream[:, 0])
        for here, there in _tiles(len(states), len(weight), tile):
            probability = probabilities(_logits(head, states[here], there), log_sum[here])
            to_states[here].addmm_(probability, weight[there].to(states.dtype), alpha=-1)
            if to_weight is not None:
                to_weight[there].addmm_(probability.T, weighted[here], alpha=-1)
            if to_bias is not None:
                to_bias[there].addmv_(probability.T, upstream[here, 0], alpha=-1)
        if to_weight is not None:
            to_weight = to_weight.to(weight.dtype)
        return to_states * upstream, to_weight, to_bias, None, None, None


def _tiles(num_tokens: int, num_entries: int, tile: Tile) -> Iterator[tuple[slice, slice]]:
    for token in range(0, num_tokens, tile.tokens):
        for entry in range(0, num_entries, tile.entries):
            yield slice(token, token + tile.tokens), slice(entry, entry + tile.entries)


def _logits(head: Head, states: Tensor, entries: slice = slice(None)) -> Tensor:
    logits = (states / head.temperature) @ head.weight[entries].to(states.dtype).T
    return logits if head.bias is None else logits.add_(head.bias[entries] / head.temperature)


def _log_sum_and_mean(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of each row, and its mean under its own softmax. Overwrites the logits."""
    largest = logits.amax(-1)
    above = logits.sub_(largest[:, None])
    exponential = above.exp()
    total = exponential.sum(-1)
    return largest + total.log(), largest + torch.linalg.vecdot(exponential, above) / total


def _probabilities(logits: Tensor, log_sum: Tensor) -> Tensor:
    """Overwrites the logits."""
    return logits.sub_(log_sum[:, None]).exp_()


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


# -- the whole distribution -------------------------------------------------------------------------------------------


class Divergences(NamedTuple):
    """Of each token, [N]: the weighted divergence, which carries the gradient; and without one, of the student entropy
    and log-probability, of the teacher log-probability of the sampled token."""

    loss: Tensor
    logp: Tensor
    entropy: Tensor
    teacher_logp: Tensor


Measure = Callable[[Tensor, Tensor], Tensor]
"""Log-probabilities [n, V] of student and teacher -> divergences [n]."""


def token_divergence(
    measure: Measure,
    student: Head,
    states: Tensor,
    teacher: Head,
    teacher_states: Tensor,
    target: Tensor,
    weights: Tensor,
    tokens_at_once: int | None = None,
) -> Divergences:
    """`weights` times a divergence between two distributions over the vocabulary, at each of N tokens.

    Args:
        measure: The divergence.
        student: The student's head; gradients reach its weight and bias.
        states: The student's hidden states [N, H]; gradients reach them.
        teacher: The teacher's head, a constant.
        teacher_states: The teacher's hidden states [N, H], a constant.
        target: Sampled token ids [N].
        weights: What each token's divergence is multiplied with [N].
        tokens_at_once: Tokens in a tile; None for what suits the device.

    Returns:
        `Divergences`. Only the sum of `loss`, times any factor, can be differentiated: gradients are taken in the
        forward pass, and backward raises RuntimeError if tokens come back with different ones.
    """
    size = tokens_at_once or max(1, DIVERGENCE_LOGITS[states.device.type] // len(student.weight))
    recorded = torch.is_grad_enabled()
    columns: tuple[Tensor, ...] = _TokenDivergence.apply(  # type: ignore[no-untyped-call]
        states, student.weight, student.bias, measure, student, teacher, teacher_states, target, weights, size, recorded
    )
    return Divergences(*columns)


class _TokenDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        measure: Measure,
        student: Head,
        teacher: Head,
        teacher_states: Tensor,
        target: Tensor,
        weights: Tensor,
        size: int,
        recorded: bool,
    ) -> tuple[Tensor, ...]:
        wanted = recorded and any(ctx.needs_input_grad)
        trains_weight, trains_bias = (wanted and needed for needed in ctx.needs_input_grad[1:3])
        to_states = torch.empty_like(states) if wanted else None
        to_weight = torch.zeros_like(weight, dtype=states.dtype) if trains_weight else None
        to_bias = torch.zeros_like(bias) if bias is not None and trains_bias else None
        columns: list[tuple[Tensor, ...]] = []
        for start in range(0, len(states), size):
            here = slice(start, start + size)
            sampled = target[here, None]
            teacher_logp = torch.log_softmax(_logits(teacher, teacher_states[here]), -1)
            logits = _logits(student, states[here])
            with torch.set_grad_enabled(wanted):
                logits.requires_grad_(wanted)
                logp = torch.log_softmax(logits, -1)
                loss = measure(logp, teacher_logp) * weights[here]
            if to_states is not None:
                (gradient,) = torch.autograd.grad(loss, logits, torch.ones_like(loss))
                gradient.div_(student.temperature)
                to_states[here] = gradient @ weight.to(states.dtype)
                if to_weight is not None:
                    to_weight.addmm_(gradient.T, states[here])
                if to_bias is not None:
                    to_bias += gradient.sum(0)
            logp = logp.detach()
            entropy = -torch.linalg.vecdot(logp.exp(), logp.clamp(min=torch.finfo(logp.dtype).min))
            columns.append(
                (loss.detach(), logp.gather(-1, sampled)[:, 0], entropy, teacher_logp.gather(-1, sampled)[:, 0])
            )
        loss, *constants = (torch.cat(column) for column in zip(*columns, strict=True))
        if wanted:
            ctx.save_for_backward(to_states, to_weight, to_bias)
        ctx.mark_non_differentiable(*constants)
        return loss, *constants

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        factor = upstream[0]
        if not torch.equal(upstream, factor.expand_as(upstream)):
            raise RuntimeError("token divergences are differentiated as a sum: weigh them through `weights`")
        gradients = [None if part is None else part * factor for part in ctx.saved_tensors]
        return (*gradients, *[None] * 8)
