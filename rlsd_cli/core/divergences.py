"""How far the student's next-token distribution is from the teacher's.

Inputs are log-probabilities over the vocabulary (natural log, float32), the teacher's a constant: it is detached here.
A term of zero probability contributes 0. There is no mask: the caller drops the positions that do not count.
"""

import math
from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlsd_cli.core.ratios import log_ratio


def forward_kl(
    student_logp: Float[Tensor, "*batch V"], teacher_logp: Float[Tensor, "*batch V"]
) -> Float[Tensor, "*batch"]:
    """KL(teacher || student): mass-covering; its gradient on the student's logits is ``student - teacher``.

        loss = sum(teacher * (teacher_logp - student_logp))

    Args:
        student_logp: Log-probabilities over the vocabulary (nats); carries the gradient.
        teacher_logp: The same for the teacher.

    Returns:
        Divergence (nats); infinite where the student excludes what the teacher allows.

    Source: OPSD, arXiv 2601.18734.
    """
    return _kl_terms(teacher_logp.detach(), student_logp).sum(dim=-1)


def reverse_kl(
    student_logp: Float[Tensor, "*batch V"], teacher_logp: Float[Tensor, "*batch V"]
) -> Float[Tensor, "*batch"]:
    """KL(student || teacher): mode-seeking.

        loss = sum(student * (student_logp - teacher_logp))

    Args:
        student_logp: Log-probabilities over the vocabulary (nats); carries the gradient.
        teacher_logp: The same for the teacher.

    Returns:
        Divergence (nats); infinite where the teacher excludes what the student allows.

    Source: SDPO, arXiv 2601.20802.
    """
    return _kl_terms(student_logp, teacher_logp.detach()).sum(dim=-1)


def generalized_jsd(
    student_logp: Float[Tensor, "*batch V"], teacher_logp: Float[Tensor, "*batch V"], *, beta: float
) -> Float[Tensor, "*batch"]:
    """Jensen-Shannon divergence, weighted by ``beta``.

        mixture = beta * teacher + (1 - beta) * student
        loss    = beta * KL(teacher || mixture) + (1 - beta) * KL(student || mixture)

    At the two ends, where this formula is 0, it means the limit of ``loss / (beta * (1 - beta))``: ``forward_kl`` at
    ``beta=0`` and ``reverse_kl`` at ``beta=1``.

    Args:
        student_logp: Log-probabilities over the vocabulary (nats); carries the gradient.
        teacher_logp: The same for the teacher.
        beta: The teacher's share of the mixture, in [0, 1].

    Returns:
        Divergence (nats); at most log 2 for ``beta=0.5``.

    Raises:
        ValueError: ``beta`` is out of range.

    Source: GKD, arXiv 2306.13649, in the convention of OPSD, arXiv 2601.18734.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must lie in [0, 1], not {beta}")
    if beta == 0:
        return forward_kl(student_logp, teacher_logp)
    if beta == 1:
        return reverse_kl(student_logp, teacher_logp)

    teacher_logp = teacher_logp.detach()
    finite = teacher_logp.clamp(min=torch.finfo(teacher_logp.dtype).min / 2)
    mixture_logp = torch.logaddexp(finite + math.log(beta), student_logp + math.log1p(-beta))
    terms = beta * _kl_terms(teacher_logp, mixture_logp) + (1 - beta) * _kl_terms(student_logp, mixture_logp)
    return terms.sum(dim=-1)


def top_k_with_tail(
    student_logp: Float[Tensor, "*batch V"], teacher_logp: Float[Tensor, "*batch V"], *, k: int, tail: bool = True
) -> tuple[Float[Tensor, "*batch K"], Float[Tensor, "*batch K"]]:
    """Both distributions on the student's ``k`` likeliest tokens, the rest pooled into one entry.

        support   = top_k(student_logp)
        tail_logp = logsumexp(logp[not support])

    The tail is summed from what is in it: 1 minus the mass inside would cancel in float32 where the tail is small. It
    has probability 0 where the support is the whole vocabulary. Without the tail both are renormalised on the support:
    ``logp[support] - logsumexp(logp[support])``.

    Args:
        student_logp: Log-probabilities over the vocabulary (nats); carries the gradient.
        teacher_logp: The same for the teacher.
        k: Size of the support, at most V.
        tail: Whether the remaining mass becomes a last entry.

    Returns:
        Student's and teacher's log-probabilities, ``[..., k + 1]`` with the tail and ``[..., k]`` without.

    Source: SDPO, arXiv 2601.20802, top-k distillation with tail.
    """
    student_top, support = student_logp.topk(k, dim=-1)
    teacher_logp = teacher_logp.detach()
    teacher_top = teacher_logp.gather(-1, support)
    if not tail:
        return _renormalised(student_top), _renormalised(teacher_top)
    return (
        torch.cat([student_top, _outside(student_logp, support)], dim=-1),
        torch.cat([teacher_top, _outside(teacher_logp, support)], dim=-1),
    )


def teacher_top_k(
    student_logp: Float[Tensor, "*batch V"], teacher_logp: Float[Tensor, "*batch V"], *, k: int, tail: bool = True
) -> tuple[Float[Tensor, "*batch K"], Float[Tensor, "*batch K"]]:
    """Both distributions on the teacher's ``k`` likeliest tokens, the teacher's renormalised there.

        support = top_k(teacher_logp)
        teacher = teacher_logp[support] - logsumexp(teacher_logp[support])

    With the tail, the student's mass outside the support is a last entry, which the teacher gives probability 0: then
    the JSD with ``beta=0.5`` has exactly ``log(2) / 2`` times that mass from outside, since the mixture there is half
    of the student. (The paper's text has ``log(2)`` times it, which its own weights of 1/2 contradict.) Without the
    tail the student is renormalised on the support, too.

    Args:
        student_logp: Log-probabilities over the vocabulary (nats); carries the gradient.
        teacher_logp: The same for the teacher.
        k: Size of the support, at most V.
        tail: Whether the student's remaining mass becomes a last entry.

    Returns:
        Student's and teacher's log-probabilities, ``[..., k + 1]`` with the tail and ``[..., k]`` without.

    Source: HDPO, arXiv 2603.23871.
    """
    teacher_top, support = teacher_logp.detach().topk(k, dim=-1)
    teacher_top, student_top = _renormalised(teacher_top), student_logp.gather(-1, support)
    if not tail:
        return _renormalised(student_top), teacher_top
    nothing = torch.full_like(teacher_top[..., :1], torch.finfo(teacher_top.dtype).min / 2)
    return (
        torch.cat([student_top, _outside(student_logp, support)], dim=-1),
        torch.cat([teacher_top, nothing], dim=-1),
    )


def sampled_token_loss(
    student_logp_token: Float[Tensor, "*batch"],
    teacher_logp_token: Float[Tensor, "*batch"],
    *,
    kappa: float | None = None,
) -> Float[Tensor, "*batch"]:
    """Policy gradient of the reverse KL from the sampled token alone.

        gap  = sg(teacher_logp_token - student_logp_token)
        loss = -clip(gap, -kappa, kappa) * student_logp_token

    Its value means nothing; its gradient, in expectation over the student's tokens and without ``kappa``, is that of
    ``reverse_kl``. The clip bounds each token's gradient and keeps its direction.

    Args:
        student_logp_token: Log-probability of the sampled token (nats); carries the gradient.
        teacher_logp_token: The same under the teacher.
        kappa: Largest size of a gap that counts (nats), above 0; None for no bound.

    Returns:
        Loss of each token.

    Source: OPSD, arXiv 2601.18734; SDPO, arXiv 2601.20802.
    """
    gap = (teacher_logp_token - student_logp_token).detach()
    if kappa is not None:
        gap = gap.clamp(-kappa, kappa)
    return -gap * student_logp_token


def clip_token_loss(token_loss: Float[Tensor, "*batch"], kappa: float) -> Float[Tensor, "*batch"]:
    """Bounds each token's divergence and keeps the direction of its gradient.

        loss = sg(min(1, kappa / token_loss)) * token_loss

    Args:
        token_loss: Divergence of each token, not negative.
        kappa: Largest value, above 0.

    Returns:
        ``min(token_loss, kappa)``, with the gradient scaled by the same factor and not cut.
    """
    scale = torch.where(token_loss > kappa, kappa / token_loss, 1.0).detach()
    return scale * token_loss


def pointwise_clipped_forward_kl(
    student_logp: Float[Tensor, "*batch V"], teacher_logp: Float[Tensor, "*batch V"], *, kappa: float
) -> Float[Tensor, "*batch"]:
    """OPSD's clip of every vocabulary entry, kept to reproduce it: **it reverses gradients**.

        loss = sum(min(teacher * (teacher_logp - student_logp), kappa))

    The clip is one-sided and comes before the sum, so the loss can be negative. With ``U`` the entries that are not
    clipped, the gradient on logit ``v`` is ``student[v] * sum(teacher[U]) - teacher[v] * (v in U)``: a clipped entry,
    the very one the teacher wants raised, is pushed down. ``clip_token_loss`` of ``forward_kl`` has no such effect.

    Args:
        student_logp: Log-probabilities over the vocabulary (nats); carries the gradient.
        teacher_logp: The same for the teacher.
        kappa: Largest contribution of one entry (nats).

    Returns:
        Clipped divergence (nats), of either sign.

    Source: OPSD, arXiv 2601.18734, official code; the reversal: OASIS, arXiv 2609.37915, Proposition 2.
    """
    return _kl_terms(teacher_logp.detach(), student_logp).clamp(max=kappa).sum(dim=-1)


def kl_estimate(
    logp: Float[Tensor, "B T"],
    reference_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    kind: Literal["k1", "k2", "k3"],
) -> Float[Tensor, "B T"]:
    """KL(policy || reference) estimated at tokens that the policy sampled.

        log_ratio = logp - reference_logp
        k1 = log_ratio                          unbiased, of either sign
        k2 = log_ratio ** 2 / 2                 biased, not negative, gradient of the KL
        k3 = exp(-log_ratio) + log_ratio - 1    unbiased, not negative

    The log-ratio is held to ±20.

    Args:
        logp: Log-probability of each sampled token under the policy (nats).
        reference_logp: The same under the reference.
        mask: True at the tokens that count.
        kind: Which estimator.

    Returns:
        Estimate of each token (nats), 0 outside the mask.

    Source: J. Schulman, "Approximating KL Divergence" (2020); k3 in GRPO, arXiv 2402.03300, Eq. 4.
    """
    difference, _ = log_ratio(logp, reference_logp, mask)
    match kind:
        case "k1":
            return difference
        case "k2":
            return difference.square() / 2
        case "k3":
            return torch.expm1(-difference) + difference
        case _:
            assert_never(kind)


def _kl_terms(p_logp: Float[Tensor, "*batch V"], q_logp: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
    p = p_logp.exp()
    return p * torch.where(p > 0, p_logp - q_logp, 0.0)


def _outside(logp: Float[Tensor, "*batch V"], support: Int[Tensor, "*batch k"]) -> Float[Tensor, "*batch 1"]:
    """Logarithm of the mass outside the support; where there is none, a finite number whose exponential is 0."""
    nothing = torch.finfo(logp.dtype).min / 2
    return logp.scatter(-1, support, nothing).clamp(min=nothing).logsumexp(dim=-1, keepdim=True)


def _renormalised(top_logp: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k"]:
    return top_logp - top_logp.logsumexp(dim=-1, keepdim=True)
