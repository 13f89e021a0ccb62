"""A trainer in float64, written from the formulas alone: whole logits, one response at a time, nothing shared.

It is given what was drawn (`Response`s, in the order of the step) and a config, and works out everything else by itself
from a copy of the initial weights, step after step: so a fault anywhere in the trainer's wiring shows as a difference.
"""

import math
import re
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from tests.oracle.formulas import (
    advantages,
    credit,
    divergence,
    importance,
    is_reweighted,
    kl,
    learning_rate,
    mix_at,
    overlong,
    surrogate,
)
from tests.oracle.llama import Shape, Weights, logits


class Response(NamedTuple):
    """A response as it was drawn; `score` None: without verdict; `thought`: tokens up to the last closing think tag;
    `text` without special tokens."""

    prompt: list[int]
    tokens: list[int]
    sampled_logp: list[float] | None
    truncated: bool
    score: float | None
    privileged: list[int]
    thought: int
    text: str = ""


class Update(NamedTuple):
    """An optimiser step: its loss, the size of its terms, the norm before clipping, what was applied, the weights."""

    loss: float
    size: float
    norm: float
    gradients: Weights
    weights: Weights


class Oracle:
    """Policy, teacher, reference and AdamW of one run, in float64."""

    def __init__(self, config: Config, weights: Weights, trained: Sequence[str], shape: Shape) -> None:
        self.config, self.shape, self.trained = config, shape, trained
        self.policy = {name: value.detach().double().clone() for name, value in weights.items()}
        self.initial = self.teacher = self._copy()
        self.moments = {name: [torch.zeros_like(self.policy[name]) for _ in range(2)] for name in trained}
        self.num_updates = 0
        self.temperature = 1.0 if config.method == "sft" else config.rollout.temperature

    def step(self, step: int, responses: Sequence[Response]) -> list[Update]:
        """The optimiser steps on one batch."""
        config, teacher = self.config, self.config.teacher
        judged = list(zip(responses, self._advantages(responses), strict=True))
        groups = [judged[i : i + config.group_size] for i in range(0, len(judged), config.group_size)]
        dead = [i for i, group in enumerate(groups) if not any(advantage for _, advantage in group)]
        replaced = dead[: len(groups) - config.prompts_per_step]
        groups = [group for i, group in enumerate(groups) if i not in replaced]
        self.before, mix = self._copy(), mix_at(step, config.credit) if config.method in ("rlsd", "rlrt") else 0.0
        rate, num = learning_rate(step, config.optim, config.steps), config.optim.updates_per_batch
        cuts = [round(len(groups) * i / num) for i in range(num + 1)]
        shares = [list(chain.from_iterable(groups[low:high])) for low, high in pairwise(cuts)]
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

    def _counts(self, response: Response) -> bool:
        config = self.config
        if config.method == "sft":
            return len(response.tokens) <= config.rollout.max_new_tokens
        reached = self._fits(response) if config.method == "opsd" else response.score is not None
        return reached and not (response.truncated and config.rollout.truncated == "mask")

    def _fits(self, response: Response) -> bool:
        return len(response.privileged) <= (self.config.teacher.max_prompt_tokens or math.inf)

    def _advantages(self, responses: Sequence[Response]) -> list[float]:
        if self.config.method not in ("rlvr", "rlsd", "rlrt"):
            return [1.0] * len(responses)
        scores = [self._score(response) if self._counts(response) else None for response in responses]
        size = self.config.group_size
        groups = advantages([scores[i : i + size] for i in range(0, len(scores), size)], self.config.advantage)
        return [advantage for group in groups for advantage in group]

    def _score(self, response: Response) -> float:
        reward, limit = self.config.reward, self.config.rollout.max_new_tokens
        parts = {
            "answer": 0.0 if response.truncated else response.score or 0.0,
            "format": float(re.fullmatch(reward.format_pattern or "", response.text) is not None),
            "overlong": overlong(len(response.tokens), limit, reward.overlong_buffer or limit // 5),
        }
        return math.fsum(weight * parts[name] for name, weight in reward.parts.items())

    def _update(self, share: list[tuple[Response, float]], mix: float, rate: float) -> Update:
        counted = [(response, advantage) for response, advantage in share if self._counts(response)]
        trained = [one for one in counted if one[1] != 0 or self.config.loss.kl_coef > 0]
        for name in self.trained:
            self.policy[name] = self.policy[name].detach().requires_grad_()
        total = terms = 0.0
        for response, advantage in trained:
            sequences, length = len(counted), len(response.tokens)
            denominator = {
                "sequence_mean": sequences * length,
                "token_mean": sum(len(other.tokens) for other, _ in counted),
                "constant": sequences * self.config.rollout.max_new_tokens,
            }[self.config.loss.reduction]
            losses = self._token_losses(response, advantage, mix) / denominator
            losses.sum().backward()
            total, terms = total + losses.sum().item(), terms + losses.abs().sum().item()
        return Update(total, terms, *self._adamw(rate) if trained else (0.0, {}), self._copy())

    def _token_losses(self, response: Response, advantage: float, mix: float) -> Tensor:
        config, tokens = self.config, torch.tensor(response.tokens)
        several = config.optim.updates_per_batch > 1
        live = config.teacher.weights == "live"

        def read(weights: Weights, prompt: list[int]) -> Tensor:
            with torch.no_grad():
                return self.logp(weights, prompt, response.tokens)

        def own(table: Tensor) -> Tensor:
            return table.gather(1, tokens[:, None])[:, 0]

        student = self.logp(self.policy, response.prompt, response.tokens)
        logp = own(student)
        old = own(read(self.before, response.prompt)) if several else logp.detach()
        if config.method == "sft":
            loss = -logp
        elif config.method == "opsd":
            teacher = self.policy if live else self.teacher  # whole distributions, which are read at every update
            loss = divergence(student, read(teacher, response.privileged), tokens, config.distill)
        else:
            credits = torch.full_like(logp, advantage).detach()
            if mix > 0 and self._fits(response) and is_reweighted(advantage, config.credit):
                read_by = self.before if live else self.teacher
                gap = own(read(read_by, response.privileged)) - (old if live else logp.detach())
                weighed = credit(advantage, -gap if config.method == "rlrt" else gap, mix, config.credit.clip)
                thought = config.method == "rlsd" and config.credit.tokens == "thought"
                end = response.thought if thought else len(tokens)
                credits = torch.cat([weighed[:end], credits[end:]])
            sampled = torch.tensor(response.sampled_logp, dtype=torch.float64)
            loss = surrogate(logp, old, credits, config.loss) * importance(old, sampled, config.loss)
        if config.loss.kl_coef:
            reference = own(read(self.initial, response.prompt))
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
