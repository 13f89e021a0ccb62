"""The formulas of advantages, credit, objectives and schedules, for one response or one group at a time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd_cli.config.sections import AdvantageConfig, DistillConfig, LossConfig, OptimConfig


def advantages(groups: Sequence[Sequence[float | None]], settings: AdvantageConfig) -> list[list[float]]:
    """(score - baseline) / (std + eps), of each group; None does not count."""

    def deviation(scores: Sequence[float]) -> float | None:
        return torch.tensor(scores, dtype=torch.float64).std(correction=settings.ddof).item() if scores[1:] else None

    def advantage(score: float | None, scores: list[float]) -> float:
        if score is None:
            return 0.0
        mean = sum(scores) / len(scores)
        others = (sum(scores) - score) / (len(scores) - 1) if scores[1:] else score
        of_all = sum(everyone) / len(everyone)
        baselines = {"mean": mean, "leave_one_out": others, "batch_mean": of_all, "none": 0.0}
        centred = score - baselines[settings.baseline]
        std = {"group_std": deviation(scores), "batch_std": deviation(everyone), "none": None}[settings.scale]
        compared = everyone if settings.baseline == "batch_mean" else scores
        if max(compared) == min(compared) and (settings.baseline != "none" or std == 0):
            return 0.0
        return centred if std is None else centred / (std + settings.eps)

    counted = [[score for score in group if score is not None] for group in groups]
    everyone = [score for group in counted for score in group]
    return [[advantage(score, scores) for score in group] for group, scores in zip(groups, counted, strict=True)]


def falling(index: int, initial: float, decay: int, warmup: int = 0) -> float:
    """Up from 0 over a warm-up, then down to 0; without a decay it stays."""
    if index < warmup:
        return initial * index / warmup
    return initial * max(1 - (index - warmup) / decay, 0) if decay else initial


def overlong(length: int, limit: int, buffer: int) -> float:
    """DAPO (2503.14476, Eq. 13)."""
    if length <= limit - buffer:
        return 0.0
    return (limit - buffer - length) / buffer if length <= limit else -1.0


def learning_rate(step: int, settings: OptimConfig, total: int) -> float:
    """Up to its peak at the last step of the warm-up, then down towards 0 at the step after the last."""
    peak = max(settings.warmup_steps, 1)
    if step < peak:
        return settings.lr * step / peak
    gone = (step - peak) / (total - peak + 1)
    return (
        settings.lr
        * {"constant": 1, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}[settings.schedule]
    )


def credit(advantage: float, gap: Tensor, mix: float, clip: float) -> Tensor:
    """RLSD: the advantage, scaled token by token by what the teacher sees; of the gap turned round, RLRT."""
    weight = (math.copysign(1, advantage) * gap).exp().clamp(1 - clip, 1 + clip)
    return advantage * ((1 - mix) + mix * weight)


def keep_sign(credits: Tensor, advantage: float) -> Tensor:
    """Credits that go to 0 and not beyond; any, without an advantage."""
    if advantage == 0:
        return credits
    return credits.clamp(min=0) if advantage > 0 else credits.clamp(max=0)


def surrogate(logp: Tensor, old: Tensor, credits: Tensor, settings: LossConfig) -> Tensor:
    """The policy-gradient loss of every token of a response."""
    low, high = 1 - settings.clip_low, 1 + settings.clip_high
    ratio = (logp - old).exp()
    if settings.surrogate == "cispo":
        return -ratio.clamp(low, high).detach() * credits * logp
    if settings.surrogate == "gspo":
        ratio = (logp - old).mean().exp().detach() * (logp - logp.detach()).exp()
    loss = -torch.minimum(ratio * credits, ratio.clamp(low, high) * credits)
    if settings.dual_clip is not None:
        loss = torch.where(credits < 0, torch.minimum(loss, -settings.dual_clip * credits), loss)
    return loss


def divergence(student: Tensor, teacher: Tensor, tokens: Tensor, settings: DistillConfig) -> Tensor:
    """Distance from student to teacher at every token, from log-probabilities [T, V]."""
    kind, clip = settings.divergence, settings.token_clip
    if kind == "sampled_token":
        own = student.gather(1, tokens[:, None])[:, 0]
        gap = (teacher.gather(1, tokens[:, None])[:, 0] - own).detach()
        return -(gap if clip is None else gap.clamp(-clip, clip)) * own
    if 0 < settings.top_k < student.shape[1]:
        student, teacher = _restricted(student, teacher, settings)
    if kind == "pointwise_clipped_forward_kl":
        return (teacher.exp() * (teacher - student)).clamp(max=clip).sum(-1)
    beta = settings.beta
    if kind == "jsd" and 0 < beta < 1:
        middle = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
        loss = beta * _kl(teacher, middle) + (1 - beta) * _kl(student, middle)
    else:
        loss = _kl(teacher, student) if kind == "forward_kl" or (kind == "jsd" and beta == 0) else _kl(student, teacher)
    return loss if clip is None else loss * (clip / loss.detach()).clamp(max=1)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """From log-probabilities; what p never says counts nothing."""
    return torch.where(p > -math.inf, p.exp() * (p - q), 0.0).sum(-1)


def _restricted(student: Tensor, teacher: Tensor, settings: DistillConfig) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the entries that one of the two likes best, with the rest as one more entry or shared out
    among them. The rest of a teacher who has chosen is always shared out."""
    by_teacher = settings.top_k_of == "teacher"
    places = (teacher if by_teacher else student).topk(settings.top_k).indices
    kept = torch.zeros_like(student, dtype=torch.bool).scatter(1, places, True)

    def chosen(side: Tensor) -> Tensor:
        return side[kept].view(len(side), -1)

    def rest(side: Tensor) -> Tensor:
        return side[~kept].view(len(side), -1).logsumexp(-1, keepdim=True)

    if not settings.tail:
        return chosen(student).log_softmax(-1), chosen(teacher).log_softmax(-1)
    told = [chosen(teacher), rest(teacher)]
    if by_teacher:
        told = [chosen(teacher).log_softmax(-1), torch.full_like(rest(teacher), -math.inf)]
    return torch.cat([chosen(student), rest(student)], -1), torch.cat(told, -1)


def kl(logp: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """The KL to the reference, estimated at every token."""
    gap = logp - reference
    return {"k1": gap, "k2": gap**2 / 2, "k3": (-gap).exp() + gap - 1}[estimator]


def importance(old: Tensor, sampled: Tensor, settings: LossConfig) -> Tensor | float:
    """The weight of a token's loss between trainer and sampler."""
    low, high = settings.rollout_correction_floor, settings.rollout_correction_cap
    gap = old - sampled
    ratio = (gap.sum() if settings.rollout_correction_level == "sequence" else gap).exp()
    kept = {"none": 1.0, "truncate": ratio.clamp(low, high), "mask": ratio * ((ratio >= low) & (ratio <= high))}
    return kept[settings.rollout_correction]
