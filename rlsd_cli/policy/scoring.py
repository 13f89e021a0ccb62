"""Log-probabilities of given tokens, without ever holding the [B, T, V] tensor.

The trunk runs once; only the hidden states that predict a counted token reach the output head, a slice at a time, and
while gradients are recorded each slice is recomputed in the backward pass instead of being kept. The head and the
log-softmax run in float32: gaps between teacher and student are of the order of bfloat16's rounding error.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.model import Policy

LOGITS_PER_SLICE = 1 << 24
"""Logits in flight at once: 64 MiB in float32."""


class TokenScores(NamedTuple):
    """Per response token, 0 where not counted; float32 [B, T], at the given temperature, in nats.

    logp: log-probability of the token. entropy: of the distribution it was drawn from (no gradient).
    """

    logp: Tensor
    entropy: Tensor


def features(policy: Policy, model: Any, batch: TokenBatch, mask: Tensor) -> Tensor:
    """What the head needs to predict each token counted by `mask` [B, T]: float32 [N, H], in row-major order.

    H is the hidden size, or V for a model whose logits are not its head applied to its last hidden state.
    """
    with policy.autocast():
        if policy.plain_head:
            outputs = model.base_model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        else:
            outputs = model(input_ids=batch.input_ids, use_cache=False).logits
    rows, offsets = mask.nonzero(as_tuple=True)
    chosen: Tensor = outputs[rows, batch.prompt_lengths[rows] - 1 + offsets]
    return chosen.float()


def logits_of(policy: Policy, model: Any, feature: Tensor, temperature: float) -> Tensor:
    """Float32 logits [N, V] of features [N, H], divided by the temperature."""
    logits: Tensor = model.get_output_embeddings()(feature) if policy.plain_head else feature
    return logits / temperature


def by_slices(function: Callable[..., Any], vocabulary: int, *inputs: Tensor) -> list[Any]:
    """`function` over slices of the first axis of `inputs`, sized by the logits they make."""
    size = max(1, LOGITS_PER_SLICE // vocabulary)
    slices = list(zip(*(torch.split(tensor, size) for tensor in inputs), strict=True))
    if torch.is_grad_enabled() and len(slices) > 1:
        return [checkpoint(function, *part, use_reentrant=False) for part in slices]
    return [function(*part) for part in slices]


def scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Values [N] of the tokens counted by `mask` [B, T] back in their places, 0 elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def vocabulary_size(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def score_tokens(policy: Policy, batch: TokenBatch, mask: Tensor, temperature: float, model: Any = None) -> TokenScores:
    """Log-probability and entropy of the response tokens counted by `mask` under `model` (default: the policy's)."""
    model = policy.model if model is None else model

    def score(feature: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits_of(policy, model, feature, temperature)
        log_normaliser = logits.logsumexp(-1)
        logp = logits.gather(-1, target[:, None])[:, 0] - log_normaliser
        with torch.no_grad():
            entropy = log_normaliser - (torch.softmax(logits, -1) * logits).sum(-1)
        return logp, entropy

    feature = features(policy, model, batch, mask)
    parts = by_slices(score, vocabulary_size(model), feature, batch.response_ids[mask])
    logp, entropy = (torch.cat(values) for values in zip(*parts, strict=True))
    return TokenScores(scatter(logp, mask), scatter(entropy, mask))


class Divergence(NamedTuple):
    """Per counted token, 0 elsewhere, [B, T]: the loss; without gradient, the token's log-probability on both sides."""

    loss: Tensor
    student: TokenScores
    teacher_logp: Tensor


def score_divergence(
    policy: Policy,
    batch: TokenBatch,
    mask: Tensor,
    temperature: float,
    teacher_model: Any,
    teacher_feature: Tensor,
    divergence: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Divergence:
    """A divergence between student and teacher at every token counted by `mask`.

    `teacher_feature` [N, H] comes from `features` on the teacher's view and the same responses. `divergence` takes
    student log-probabilities [n, V], the teacher's, and the sampled tokens [n], and gives [n].
    """

    def score(feature: Tensor, other: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        student = torch.log_softmax(logits_of(policy, policy.model, feature, temperature), -1)
        with torch.no_grad():
            teacher = torch.log_softmax(logits_of(policy, teacher_model, other, temperature), -1)
        loss = divergence(student, teacher, target)
        with torch.no_grad():
            entropy = -(student.exp() * student).nan_to_num(0.0).sum(-1)
            sampled = target[:, None]
            return loss, student.detach().gather(-1, sampled)[:, 0], entropy, teacher.gather(-1, sampled)[:, 0]

    feature = features(policy, policy.model, batch, mask)
    parts = by_slices(score, vocabulary_size(policy.model), feature, teacher_feature, batch.response_ids[mask])
    loss, logp, entropy, teacher_logp = (scatter(torch.cat(values), mask) for values in zip(*parts, strict=True))
    return Divergence(loss, TokenScores(logp, entropy), teacher_logp)
