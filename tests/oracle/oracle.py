"""A trainer in float64, written from the formulas alone: whole logits, one response at a time, nothing shared.

It is given what was drawn (`Rollout`s, in the order of the step) and a config, and works out everything else by itself
from a copy of the initial weights, step after step: so a fault anywhere in the trainer's wiring shows as a difference.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import AdvantageConfig, Config, CreditConfig, DistillConfig, LossConfig, OptimConfig
from tests.oracle.llama import Shape, Weights, logits


class Rollout(NamedTuple):
    """A response as it was drawn; `score` None: without verdict; `thought`: tokens up to the last closing think tag."""

    prompt: list[int]
    tokens: list[int]
    sampled_logp: list[float] | None
    truncated: bool
    score: float | None
    privileged: list[int]
    thought: int


class Update(NamedTuple):
    """One optimiser step: its loss and the size of its terms, the norm before clipping, what was applied, the weights."""

    loss: float
    size: float
    norm: float
    gradients: Weights
    weights: Weights


# -- formulas ---------------------------------------------------------------------------------------------------------


def advantages(groups: Sequence[Sequence[float | None]], settings: AdvantageConfig) -> list[list[float]]:
    """(score - baseline) / (std + eps), of each group; None does not count."""

    def deviation(scores: Sequence[float]) -> float | None:
        return torch.tensor(scores, dtype=torch.float64).std(correction=settings.ddof).item() if scores[1:] else None

    def advantage(score: float | None, scores: list[float]) -> float:
        if score is None:
            return 0.0
        mean = sum(scores) / len(scores)
        others = (sum(scores) - score) / (len(scores) - 1) if scores[1:] else score
        centred = score - {"mean": mean, "leave_one_out": others, "none": 0.0}[settings.baseline]
        std = {"group_std": deviation(scores), "batch_std": deviation(everyone), "none": None}[settings.scale]
        if max(scores) == min(scores) and (settings.baseline != "none" or std == 0):
            return 0.0
        return centred if std is None else centred / (std + settings.eps)

    counted = [[score for score in group if score is not None] for group in groups]
    everyone = [score for group in counted for score in group]
    return [[advantage(score, scores) for score in group] for group, scores in zip(groups, counted, strict=True)]


def mix_at(step: int, settings: CreditConfig) -> float:
    """Lambda at a step."""
    index, warmup, decay = step - 1 + settings.mix_first_index, settings.mix_warmup_steps, settings.mix_decay_steps
    if index < warmup:
        return settings.mix * index / warmup
    return settings.mix * max(1 - (index - warmup) / decay, 0) if decay else settings.mix


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
    """RLSD: the advantage, scaled token by token by what the teacher sees."""
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


# -- the trainer ------------------------------------------------------------------------------------------------------


class Oracle:
    """Policy, teacher, reference and AdamW of one run, in float64."""

    def __init__(self, config: Config, weights: Weights, trained: Sequence[str], shape: Shape) -> None:
        self.config, self.shape, self.trained = config, shape, trained
        self.policy = {name: value.detach().double().clone() for name, value in weights.items()}
        self.initial = self.teacher = self._copy()
        self.moments = {name: [torch.zeros_like(self.policy[name]) for _ in range(2)] for name in trained}
        self.num_updates = 0
        self.temperature = 1.0 if config.method == "sft" else config.rollout.temperature

    def step(self, step: int, rollouts: Sequence[Rollout]) -> list[Update]:
        """The optimiser steps on one batch."""
        config, teacher = self.config, self.config.teacher
        judged = list(zip(rollouts, self._advantages(rollouts), strict=True))
        groups = [judged[i : i + config.group_size] for i in range(0, len(judged), config.group_size)]
        dead = [i for i, group in enumerate(groups) if not any(advantage for _, advantage in group)]
        replaced = dead[: len(groups) - config.prompts_per_step]
        groups = [group for i, group in enumerate(groups) if i not in replaced]
        self.before, mix = self._copy(), mix_at(step, config.credit) if config.method == "rlsd" else 0.0
        rate, num = learning_rate(step, config.optim, config.steps), config.optim.updates_per_batch
        cuts = [round(len(groups) * i / num) for i in range(num + 1)]
        shares = [sum(groups[low:high], []) for low, high in zip(cuts, cuts[1:], strict=False)]
        updates = [self._update(share, mix, rate) for share in shares]
        if teacher.weights == "snapshot" and step % teacher.sync_every == 0:
            self.teacher = self._copy()
        if teacher.weights == "ema":
            self.teacher = {n: t + teacher.ema_rate * (self.policy[n].detach() - t) for n, t in self.teacher.items()}
        return updates

    def logp(self, weights: Weights, prompt: list[int], tokens: list[int], temperature: float | None = None) -> Tensor:
        """Log-probabilities [T, V] at each token of a response."""
        found = logits(weights, prompt + tokens, self.shape)[len(prompt) - 1 : -1]
        return (found / (temperature or self.temperature)).log_softmax(-1)

    def _copy(self) -> Weights:
        return {name: value.detach().clone() for name, value in self.policy.items()}

    def _counts(self, rollout: Rollout) -> bool:
        config = self.config
        if config.method == "sft":
            return len(rollout.tokens) <= config.rollout.max_new_tokens
        reached = self._fits(rollout) if config.method == "opsd" else rollout.score is not None
        return reached and not (rollout.truncated and config.rollout.truncated == "mask")

    def _fits(self, rollout: Rollout) -> bool:
        return len(rollout.privileged) <= (self.config.teacher.max_prompt_tokens or math.inf)

    def _advantages(self, rollouts: Sequence[Rollout]) -> list[float]:
        if self.config.method not in ("rlvr", "rlsd"):
            return [1.0] * len(rollouts)
        scores = [(0.0 if r.truncated else r.score) if self._counts(r) else None for r in rollouts]
        size = self.config.group_size
        groups = advantages([scores[i : i + size] for i in range(0, len(scores), size)], self.config.advantage)
        return [advantage for group in groups for advantage in group]

    def _update(self, share: list[tuple[Rollout, float]], mix: float, rate: float) -> Update:
        counted = [(rollout, advantage) for rollout, advantage in share if self._counts(rollout)]
        trained = [one for one in counted if one[1] != 0 or self.config.loss.kl_coef > 0]
        for name in self.trained:
            self.policy[name] = self.policy[name].detach().requires_grad_()
        total = terms = 0.0
        for rollout, advantage in trained:
            sequences, length = len(counted), len(rollout.tokens)
            denominator = {
                "sequence_mean": sequences * length,
                "token_mean": sum(len(other.tokens) for other, _ in counted),
                "constant": sequences * self.config.rollout.max_new_tokens,
            }[self.config.loss.reduction]
            losses = self._token_losses(rollout, advantage, mix) / denominator
            losses.sum().backward()
            total, terms = total + losses.sum().item(), terms + losses.abs().sum().item()
        return Update(total, terms, *self._adamw(rate) if trained else (0.0, {}), self._copy())

    def _token_losses(self, rollout: Rollout, advantage: float, mix: float) -> Tensor:
        config, tokens = self.config, torch.tensor(rollout.tokens)
        several = config.optim.updates_per_batch > 1
        live = config.teacher.weights == "live"

        def read(weights: Weights, prompt: list[int]) -> Tensor:
            with torch.no_grad():
                return self.logp(weights, prompt, rollout.tokens)

        def own(table: Tensor) -> Tensor:
            return table.gather(1, tokens[:, None])[:, 0]

        student = self.logp(self.policy, rollout.prompt, rollout.tokens)
        logp = own(student)
        old = own(read(self.before, rollout.prompt)) if several else logp.detach()
        teacher = self.before if live else self.teacher
        if config.method == "sft":
            loss = -logp
        elif config.method == "opsd":
            loss = divergence(student, read(teacher, rollout.privileged), tokens, config.distill)
        else:
            credits = torch.full_like(logp, advantage).detach()
            reweighted = mix > 0 and self._fits(rollout) and (config.credit.rollouts == "all" or advantage < 0)
            if reweighted and advantage:
                gap = own(read(teacher, rollout.privileged)) - (old if live else logp.detach())
                weighed = credit(advantage, gap, mix, config.credit.clip)
                end = rollout.thought if config.credit.tokens == "thought" else len(tokens)
                credits = torch.cat([weighed[:end], credits[end:]])
            sampled = torch.tensor(rollout.sampled_logp, dtype=torch.float64)
            loss = surrogate(logp, old, credits, config.loss) * importance(old, sampled, config.loss)
        if config.loss.kl_coef:
            reference = own(read(self.initial, rollout.prompt))
            loss = loss + config.loss.kl_coef * kl(logp, reference, config.loss.kl_estimator)
        return loss

    def _adamw(self, rate: float) -> tuple[float, Weights]:
        """One step of AdamW on clipped gradients: the norm before clipping, and the gradients after it."""
        optim = self.config.optim
        self.num_updates += 1
        found: dict[str, Any] = {name: self.policy[name].grad for name in self.trained}
        norm = math.sqrt(sum(gradient.pow(2).sum().item() for gradient in found.values()))
        gradients = {name: gradient * min(1, optim.max_grad_norm / (norm or 1)) for name, gradient in found.items()}
        for name, gradient in gradients.items():
            first, second = self.moments[name]
            first.mul_(optim.beta1).add_((1 - optim.beta1) * gradient)
            second.mul_(optim.beta2).add_((1 - optim.beta2) * gradient**2)
            mean = first / (1 - optim.beta1**self.num_updates)
            root = (second / (1 - optim.beta2**self.num_updates)).sqrt()
            weight = self.policy[name].detach()
            decay = optim.weight_decay * weight if weight.ndim >= 2 else 0.0
            self.policy[name] = weight - rate * (mean / (root + optim.eps) + decay)
        return norm, gradients
