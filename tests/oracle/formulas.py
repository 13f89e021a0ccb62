"""The formulas of advantages, credit, objectives and schedules, for one response or one group at a time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd_cli.config.sections import AdvantageConfig, DistillConfig, LossConfig, OptimConfig
from rlsd_cli.methods import rlrt, rlsd


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


def mix_at(step: int, settings: rlsd.Settings | rlrt.Settings) -> float:
    """Lambda at a step."""
    if isinstance(settings, rlrt.Settings):
        return settings.mix
    index, warmup, decay = step - 1 + settings.mix_first_index, settings.mix_warmup_steps, settings.mix_decay_steps
    if index < warmup:
        return settings.mix * index / warmup
    return settings.mix * max(1 - (index - warmup) / decay, 0) if decay else settings.mix


def is_reweighted(advantage: float, settings: rlsd.Settings | rlrt.Settings) -> bool:
    """True where the teacher has a say: RLRT asks it about correct responses, and those of the oracle all are."""
    if isinstance(settings, rlrt.Settings):
        return advantage > 0
    return advantage < 0 or (advantage > 0 and settings.rollouts == "all")


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
        kept = torch.zeros_like(student, dtype=torch.bool).scatter(1, student.topk(settings.top_k).indices, True)
        student, teacher = (_restricted(side, kept, settings) for side in (student, teacher))
    forward = teacher.exp() * (teacher - student)
    if kind == "pointwise_clipped_forward_kl":
        return forward.clamp(max=clip).sum(-1)
    reverse, beta = student.exp() * (student - teacher), settings.beta
    if kind == "jsd" and 0 < beta < 1:
        middle = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
        loss = (beta * teacher.exp() * (teacher - middle) + (1 - beta) * student.exp() * (student - middle)).sum(-1)
    else:
        loss = (forward if kind == "forward_kl" or (kind == "jsd" and beta == 0) else reverse).sum(-1)
    return loss if clip is None else loss * (clip / loss.detach()).clamp(max=1)


def _restricted(side: Tensor, kept: Tensor, settings: DistillConfig) -> Tensor:
    """Log-probabilities of the kept entries, with the rest as one more entry or shared out among them."""
    chosen = side[kept].view(len(side), -1)
    if not settings.tail:
        return chosen.log_softmax(-1)
    return torch.cat([chosen, side[~kept].view(len(side), -1).logsumexp(-1, keepdim=True)], -1)


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
