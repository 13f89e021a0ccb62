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
from tests.oracle.cases import Case, Models, Response, Term
from tests.oracle.formulas import advantages, learning_rate, overlong
from tests.oracle.llama import Shape, Weights
from tests.oracle.signals import SIGNALS

UNSCORED = ("opsd", "sdpo", "sft")
"""Methods that learn from all responses, whether there is a verdict or not."""


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
        self.config, self.trained = config, trained
        initial = {name: value.detach().double().clone() for name, value in weights.items()}
        self.models = Models(config, shape, {**initial}, initial, initial, initial)
        self.moments = {name: [torch.zeros_like(initial[name]) for _ in range(2)] for name in trained}
        self.num_updates = 0

    def step(self, step: int, groups: Sequence[Sequence[Response]]) -> list[Update]:
        """The optimiser steps on one batch."""
        config, models, teacher = self.config, self.models, self.config.teacher
        models.before = self._copy()
        cases = self._judged(step, groups)
        dead = [place for place, group in enumerate(cases) if not any(case.advantage for case in group)]
        replaced = dead[: len(cases) - config.prompts_per_step]
        cases = [group for place, group in enumerate(cases) if place not in replaced]
        rate, num = learning_rate(step, config.optim, config.steps), config.optim.updates_per_batch
        cuts = [round(len(cases) * i / num) for i in range(num + 1)]
        updates = [self._update(list(chain.from_iterable(cases[low:high])), rate) for low, high in pairwise(cuts)]
        if teacher.weights == "snapshot" and step % teacher.sync_every == 0:
            models.teacher = self._copy()
        if teacher.weights == "ema":
            now, rate = models.policy, teacher.ema_rate
            models.teacher = {n: t + rate * (now[n].detach() - t) for n, t in models.teacher.items()}
        return updates

    def _copy(self) -> Weights:
        return {name: value.detach().clone() for name, value in self.models.policy.items()}

    def _judged(self, step: int, groups: Sequence[Sequence[Response]]) -> list[list[Case]]:
        """Responses with their advantages; those that were told something have none and are in no baseline."""
        cases = [
            [Case(each, self.models, step, self._score(each), 0.0, self._counts(each)) for each in group]
            for group in groups
        ]
        students = [[case for case in group if case.response.drawn_under == "student"] for group in cases]
        if self.config.method not in UNSCORED:
            scores = [[case.score if case.counts else None for case in group] for group in students]
            found = advantages(scores, self.config.advantage)
            for case, advantage in zip(chain(*students), chain(*found), strict=True):
                case.advantage = advantage
        for group in cases:
            for case in group:
                case.group = group
        return cases

    def _counts(self, response: Response) -> bool:
        config = self.config
        if config.method == "sft":
            return len(response.tokens) <= config.rollout.max_new_tokens
        judged = response.score is not None or config.method in UNSCORED
        return judged and not (response.truncated and config.rollout.truncated == "mask")

    def _score(self, response: Response) -> float:
        reward, limit = self.config.reward, self.config.rollout.max_new_tokens
        parts = {
            "answer": 0.0 if response.truncated else response.score or 0.0,
            "format": float(re.fullmatch(reward.format_pattern or "", response.text) is not None),
            "overlong": overlong(len(response.tokens), limit, reward.overlong_buffer or limit // 5),
        }
        return math.fsum(weight * parts[name] for name, weight in reward.parts.items())

    def _update(self, share: list[Case], rate: float) -> Update:
        counted, policy = [case for case in share if case.counts], self.models.policy
        for name in self.trained:
            policy[name] = policy[name].detach().requires_grad_()
        for case in counted:
            case.share = counted
        found = [self._terms(case) for case in counted]
        losses = self._weighed(found)
        size = sum(loss.abs().sum().item() for loss in losses)
        if not any(term.moves for term in chain(*found)):
            return Update(0.0, size, 0.0, {}, self._copy())
        total = torch.cat(losses).sum()
        total.backward()
        return Update(total.item(), size, *self._adamw(rate), self._copy())

    def _terms(self, case: Case) -> list[Term]:
        terms = SIGNALS[self.config.method](case, self.config.credit)
        return [*terms, case.kept_near()] if terms and self.config.loss.kl_coef else terms

    def _weighed(self, found: Sequence[Sequence[Term]]) -> list[Tensor]:
        """The token losses of all terms: the mean of a name is over the tokens that weigh in any term of this name."""
        losses: list[Tensor] = []
        for name in dict.fromkeys(term.mean for term in chain(*found)):
            named = [[term for term in terms if term.mean == name] for terms in found]
            lengths = [_num_weighed(terms) for terms in named]
            sequences = sum(length > 0 for length in lengths)
            for terms, length in zip(named, lengths, strict=True):
                denominator = {
                    "sequence_mean": sequences * length,
                    "token_mean": sum(lengths),
                    "constant": sequences * self.config.rollout.max_new_tokens,
                }[self.config.loss.reduction]
                losses += [term.coef * term.loss * term.weights / (denominator or 1) for term in terms]
        return losses

    def _adamw(self, rate: float) -> tuple[float, Weights]:
        """One step of AdamW on clipped gradients: the norm before clipping, and the gradients after it."""
        optim = self.config.optim
        self.num_updates += 1
        found: dict[str, Any] = {name: self.models.policy[name].grad for name in self.trained}
        norm = math.sqrt(sum(gradient.pow(2).sum().item() for gradient in found.values()))
        gradients = {name: gradient * min(1, optim.max_grad_norm / (norm or 1)) for name, gradient in found.items()}
        for name, gradient in gradients.items():
            first, second = self.moments[name]
            first.mul_(optim.beta1).add_((1 - optim.beta1) * gradient)
            second.mul_(optim.beta2).add_((1 - optim.beta2) * gradient**2)
            mean = first / (1 - optim.beta1**self.num_updates)
            root = (second / (1 - optim.beta2**self.num_updates)).sqrt()
            weight = self.models.policy[name].detach()
            decay = optim.weight_decay * weight if weight.ndim >= 2 else 0.0
            self.models.policy[name] = weight - rate * (mean / (root + optim.eps) + decay)
        return norm, gradients


def _num_weighed(terms: Sequence[Term]) -> int:
    """Tokens that weigh in any of some terms of one response."""
    return int(torch.stack([term.weights != 0 for term in terms]).any(0).sum()) if terms else 0
