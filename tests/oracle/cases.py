"""A response in float64, with all that a formula may ask about it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from tests.oracle.formulas import divergence, importance, kl, surrogate
from tests.oracle.llama import Shape, Weights, logits


class Response(NamedTuple):
    """A response as it was drawn.

    score, correct: what the verifier said; None without a verdict
    views: the prompts that each view makes of it, whether a teacher is asked or not
    drawn_under: the view that it was sampled after; `student` for none
    thought: tokens up to the last closing think tag
    values: lengths of prefixes, and the mean score of what was sampled after each
    text: without special tokens
    """

    prompt: list[int]
    tokens: list[int]
    sampled_logp: list[float] | None
    truncated: bool
    score: float | None = None
    correct: bool | None = None
    views: Mapping[str, list[list[int]]] = {}
    drawn_under: str = "student"
    thought: int = 0
    values: Sequence[tuple[int, float]] = ()
    text: str = ""


@dataclass
class Models:
    """The weights of a run. `before` are the policy's at the begin of a step."""

    config: Config
    shape: Shape
    policy: Weights
    before: Weights
    teacher: Weights
    initial: Weights

    def logp(self, weights: Weights, prompt: list[int], tokens: list[int], temperature: float | None = None) -> Tensor:
        """Log-probabilities [T, V] at each token of a response."""
        found = logits(weights, prompt + tokens, self.shape)[len(prompt) - 1 : -1]
        sampled = 1.0 if self.config.method == "sft" else self.config.rollout.temperature
        return (found / (temperature or sampled)).log_softmax(-1)

    def reading(self, weights: Weights, prompt: list[int], tokens: list[int]) -> Tensor:
        """The same without a gradient."""
        with torch.no_grad():
            return self.logp(weights, prompt, tokens)


class Term(NamedTuple):
    """What a response is to one term of the loss.

    loss: of every token [T]
    weight: of every token [T]; 0 where it is not in the term; None: 1
    mean: the tokens of all terms of this name are in the denominator
    moves: whether it has a gradient
    """

    loss: Tensor
    coef: float = 1.0
    weight: Tensor | None = None
    mean: str = "shared"
    moves: bool = True

    @property
    def weights(self) -> Tensor:
        return torch.ones_like(self.loss).detach() if self.weight is None else self.weight


@dataclass(eq=False)
class Case:
    """A response within an update.

    score: the weighted sum of its parts
    counts: whether it is in baseline and loss
    group: all that were drawn for its prompt
    share: all that count in this update
    read: what was read before
    """

    response: Response
    models: Models
    step: int
    score: float
    advantage: float
    counts: bool
    group: "list[Case]" = field(default_factory=list)
    share: "list[Case]" = field(default_factory=list)
    read: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return self.models.config

    @property
    def correct(self) -> bool | None:
        return self.response.correct

    @property
    def is_live(self) -> bool:
        return self.config.teacher.weights == "live"

    def everywhere(self, value: float) -> Tensor:
        return torch.full((len(self.response.tokens),), value, dtype=torch.float64)

    def own(self, table: Tensor) -> Tensor:
        """What a table [T, V] says of the response's tokens."""
        return table.gather(1, torch.tensor(self.response.tokens)[:, None])[:, 0]

    # -- who thinks what of it ----------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> Tensor:
        """The policy now, with its gradient."""
        return self.models.logp(self.models.policy, self.response.prompt, self.response.tokens)

    @cached_property
    def logp(self) -> Tensor:
        return self.own(self.table)

    @cached_property
    def old(self) -> Tensor:
        """The policy at the begin of the step."""
        if self.config.optim.updates_per_batch == 1:
            return self.logp.detach()
        return self.own(self.models.reading(self.models.before, self.response.prompt, self.response.tokens))

    @cached_property
    def sampled(self) -> Tensor:
        return torch.tensor(self.response.sampled_logp, dtype=torch.float64)

    def prompts(self, view: str) -> list[list[int]]:
        """Those of a view that fit."""
        most = self.config.teacher.max_prompt_tokens or math.inf
        return [prompt for prompt in self.response.views[view] if len(prompt) <= most]

    def is_shown(self, view: str) -> bool:
        return bool(self.prompts(view))

    def tables(self, view: str, by: Literal["teacher", "initial"] = "teacher") -> list[Tensor]:
        """Readings after every text of a view, at the begin of the step."""
        weights = self.models.before if by == "teacher" and self.is_live else getattr(self.models, by)
        if (view, by) not in self.read:
            tables = [self.models.reading(weights, prompt, self.response.tokens) for prompt in self.prompts(view)]
            self.read[view, by] = tables
        return self.read[view, by]

    def told(self, view: str, by: Literal["teacher", "initial"] = "teacher") -> list[Tensor]:
        """What these say of the response's tokens."""
        return [self.own(table) for table in self.tables(view, by)]

    def gap(self, view: str) -> Tensor:
        """Teacher less student, who are one and the same where the teacher is live; 0 where it is shown nothing."""
        told = self.told(view)
        return told[0] - (self.old if self.is_live else self.logp.detach()) if told else self.everywhere(0.0)

    # -- terms --------------------------------------------------------------------------------------------------------

    def rewarded(self, credits: Tensor, *, moves: bool = False) -> Term:
        """The policy gradient of credits, which moves what has an advantage, or all."""
        settings = self.config.loss
        loss = surrogate(self.logp, self.old, credits, settings) * importance(self.old, self.sampled, settings)
        return Term(loss, moves=moves or self.advantage != 0)

    def distilled(self, view: str, coef: float = 1.0, weight: Tensor | None = None, mean: str = "shared") -> list[Term]:
        """The divergence from the teacher after a view, who reads now; no term where it is shown nothing."""
        if not self.is_shown(view):
            return []
        reader = self.models.policy if self.is_live else self.models.teacher
        teacher = self.models.reading(reader, self.prompts(view)[0], self.response.tokens)
        loss = divergence(self.table, teacher, torch.tensor(self.response.tokens), self.config.distill)
        if (cap := self.config.distill.ratio_cap) is not None:
            loss = loss * (self.logp.detach() - self.old).exp().clamp(max=cap)
        return [Term(loss, coef, weight, mean)]

    def kept_near(self) -> Term:
        """The KL to the initial policy."""
        settings = self.config.loss
        initial = self.models.reading(self.models.initial, self.response.prompt, self.response.tokens)
        return Term(kl(self.logp, self.own(initial), settings.kl_estimator), settings.kl_coef)
