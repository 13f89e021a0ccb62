"""Log-probabilities of given tokens: the trunk once over a batch, then the head on the tokens that count.

Neither [B, T, V] logits nor their gradient ever exist; see `policy.head`.
"""

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from rlsd_cli.policy.batch import TokenBatch, decoder_layers, trunk_states
from rlsd_cli.policy.head import Divergences, Head, Measure, token_divergence, token_logp
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.recompute import recomputed_layers
from rlsd_cli.policy.teacher import visiting


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
    policy.check_fits(batch.longest)
    run = policy.execution
    compiled, recomputed = compiled_layers(model, run.compile), recomputed_layers(model, run.recompute)
    with policy.autocast(), visiting(model, policy.device), compiled, recomputed:
        if policy.plain_head:
            outputs = trunk_states(model, batch)
        else:
            outputs = model(input_ids=batch.input_ids, use_cache=False).logits.flatten(0, 1)
    return embedding(batch.predictors[mask], outputs).float()


@contextlib.contextmanager
def compiled_layers(model: Any, wanted: bool) -> Iterator[None]:
    """Within it each layer runs compiled, if that is wanted; outside, for instance while sampling, as it is."""
    layers = decoder_layers(model) if wanted else []
    for layer in layers:
        layer.forward = _compiled_forward(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@cache
def _compiled_forward(layer: Any) -> Any:
    return torch.compile(layer.forward, dynamic=True)


def scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Values [N] of the tokens counted by `mask` [B, T] back in their places, 0 elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def score_tokens(policy: Policy, batch: TokenBatch, mask: Tensor, temperature: float, model: Any = None) -> TokenScores:
    """Log-probability and entropy of the response tokens counted by `mask` under `model` (default: the policy's)."""
    model = policy.model if model is None else model
    return score_features(policy, model, batch, mask, temperature, features(policy, model, batch, mask))


def score_features(
    policy: Policy, model: Any, batch: TokenBatch, mask: Tensor, temperature: float, feature: Tensor
) -> TokenScores:
    """`score_tokens` from the features of the same batch and mask."""
    target = batch.response_ids[mask]
    if policy.plain_head:
        logp, entropy = token_logp(_head(policy, model, temperature), feature, target)
    else:
        all_logp = torch.log_softmax(feature / temperature, -1)
        logp, entropy = all_logp.gather(-1, target[:, None])[:, 0], _entropy(all_logp.detach())
    return TokenScores(scatter(logp, mask), scatter(entropy, mask))


class Divergence(NamedTuple):
    """Per counted token, 0 elsewhere, [B, T]: the weighted divergence, with its gradient; without one, the scores of
    the student and the teacher's log-probability."""

    loss: Tensor
    student: TokenScores
    teacher_logp: Tensor


def score_divergence(
    policy: Policy,
    batch: TokenBatch,
    weight: Tensor,
    temperature: float,
    teacher_model: Any,
    feature: Tensor,
    teacher_feature: Tensor,
    measure: Measure,
) -> Divergence:
    """A divergence between student and teacher at every token of the batch, times its `weight` [B, T].

    Both features [N, H] come from `features`, each from its own view of the problems and the same responses. Only the
    sum of the losses can be differentiated.
    """
    mask = batch.mask
    target, weights = batch.response_ids[mask], weight[mask]
    if policy.plain_head:
        student, teacher = (_head(policy, model, temperature) for model in (policy.model, teacher_model))
        columns = token_divergence(measure, student, feature, teacher, teacher_feature, target, weights)
    else:
        student_logp, teacher_logp = (
            torch.log_softmax(logits / temperature, -1) for logits in (feature, teacher_feature)
        )
        sampled = [logp.detach().gather(-1, target[:, None])[:, 0] for logp in (student_logp, teacher_logp)]
        loss = measure(student_logp, teacher_logp.detach()) * weights
        columns = Divergences(loss, sampled[0], _entropy(student_logp.detach()), sampled[1])
    loss, logp, entropy, teacher_logp = (scatter(column, mask) for column in columns)
    return Divergence(loss, TokenScores(logp, entropy), teacher_logp)


def _head(policy: Policy, model: Any, temperature: float) -> Head:
    head = model.get_output_embeddings()
    return Head(head.weight, head.bias, temperature, policy.execution.compile)


def _entropy(logp: Tensor) -> Tensor:
    return -(logp.exp() * logp).nan_to_num(0.0).sum(-1)
