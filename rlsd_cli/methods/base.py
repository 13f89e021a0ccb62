"""What a method is made of. A method is data: the trainer reads it and never its name.

    loss          = sum over terms k of   coef_k(step) * sum over tokens of   weight_k[i, t] * loss_k[i, t]
    weight_k[i,t] = route_k(i) * tokens_k[i, t] / denominator_k

`weight_k` is fixed on the rollouts of a whole update before they are cut into micro-batches, so that the cut does not
change the loss. Importing this module loads no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rlsd_cli.fields import Section

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.evidence import Credit, Evidence

STUDENT = "student"
"""What a response was drawn under that nobody was shown anything for."""


class Attempt(NamedTuple):
    """A rollout as plain data: all that a route or a view may look at.

    number: its place among the rollouts of its prompt
    drawn_under: `student`, or the view that a `Draw` names
    response: its text
    score: the weighted sum of `reward.parts`, by default the verifier's; None without a verdict
    correct: True where the verifier accepted it; None without a verdict
    advantage: its score against its group
    truncated: True where it was cut at the maximum length
    reason: what the verifier said of it; None without a verdict
    extracted: the answer that the verifier found in it; None where it found none
    """

    number: int
    drawn_under: str
    response: str
    score: float | None
    correct: bool | None
    advantage: float
    truncated: bool
    reason: str | None
    extracted: str | None = None


Route = Callable[[Attempt, Sequence[Attempt], Any], bool]
"""A rollout, its group, and the settings of the method -> True where something applies to the rollout."""
Schedule = Callable[[Any, int], float]
"""The settings of the method and a step (from 1) -> a number."""
CreditRule = Callable[["Evidence", Any, int], "Credit"]
"""Evidence of a micro-batch, the settings of the method and the step -> the credit of every token."""
TokenRule = Callable[["Evidence", Any], "Tensor"]
"""Evidence of a whole update before it begins, whose log-probabilities are the sampler's -> the weight of every token
[B, T]."""
SequenceRule = Callable[["Evidence", Any], "Tensor"]
"""Evidence of a whole update before it begins -> a number for every response [B]."""


def everyone(attempt: Attempt, group: Sequence[Attempt], settings: Any) -> bool:
    """True for every rollout."""
    del attempt, group, settings
    return True


def has_advantage(attempt: Attempt, group: Sequence[Attempt], settings: Any) -> bool:
    """True where the rollout scored otherwise than its group."""
    del group, settings
    return attempt.advantage != 0


def always(settings: Any, step: int) -> bool:
    """True at every step."""
    del settings, step
    return True


def constant(value: float) -> Schedule:
    """The same number at every step."""

    def schedule(settings: Any, step: int) -> float:
        del settings, step
        return value

    return schedule


one = constant(1.0)


def all_tokens(settings: Any) -> Literal["all", "thought"]:
    """Every token, whatever the settings."""
    del settings
    return "all"


def at_most(number: int) -> Callable[[Any], int]:
    """The same number, whatever the settings."""

    def most(settings: Any) -> int:
        del settings
        return number

    return most


class View(NamedTuple):
    """What the teacher is shown of a rollout's problem and of its group.

    shows: an entry of `data.views.VIEWS`; None for the one that the key `teacher.view` names
    where: the rollouts that are read
    when: the steps at which they are read
    tokens: the tokens at which the reading counts: all of them, or those of the thought, which ends with the closing
        think tag
    most: how many texts are shown at most, each in a reading of its own
    by: whose weights read: the teacher's, or those that the run began with
    sampled: True where the sampled tokens are read though a `Distill` compares whole distributions
    """

    shows: str | None = None
    where: Route = everyone
    when: Callable[[Any, int], bool] = always
    tokens: Callable[[Any], Literal["all", "thought"]] = all_tokens
    most: Callable[[Any], int] = at_most(1)
    by: Literal["teacher", "initial"] = "teacher"
    sampled: bool = False


class Draw(NamedTuple):
    """More responses to some problems, sampled after a view of the teacher and trained after the student's prompt.

    They have no advantage and are in no baseline.

    under: the name of the view, one that the problem alone decides
    where: True for the groups to whose problems they are drawn
    num: how many to a problem
    keep: those of them that stay; the others are recorded and left out
    """

    under: str
    where: Callable[[Sequence[Attempt], Any], bool]
    num: Callable[[Any], int]
    keep: Route = everyone


class Continuations(NamedTuple):
    """Estimates of the chance of a right answer from prefixes of a response: the mean score of what follows them.

    where: True for the rollouts whose prefixes are continued
    num: continuations of a prefix
    ends: characters that end a step; a prefix ends after a token that holds one of them
    most: prefixes of a response, evenly spread where it has more steps
    """

    where: Route
    num: Callable[[Any], int]
    ends: Callable[[Any], str]
    most: Callable[[Any], int]


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term of the loss.

    route: the rollouts that it is a term of
    moves: those of them that have a gradient; the others stay in its denominator
    tokens: how much each token weighs; None: 1
    coef: what the term is multiplied with
    counted: whether its denominator counts its own tokens, or those of all terms that say `all`
    """

    route: Route = everyone
    moves: Route = everyone
    tokens: TokenRule | None = None
    coef: Schedule = one
    counted: Literal["own", "all"] = "all"


def uniform(evidence: "Evidence", settings: Any, step: int) -> "Credit":
    """The rollout's advantage at every token (GRPO, arXiv 2402.03300)."""
    from rlsd_cli.core.credit import uniform_credit

    del settings, step
    return uniform_credit(evidence.advantage, evidence.mask)


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Term):
    """The surrogate that `loss.surrogate` names, of a credit that a rule gives to every token."""

    moves: Route = has_advantage
    credit: CreditRule = uniform


@dataclass(frozen=True, kw_only=True)
class Distill(Term):
    """The divergence that `distill.divergence` names, from the student to the teacher after a view."""

    view: str


@dataclass(frozen=True, kw_only=True)
class Regression(Term):
    """The square of what lacks a response's mean log-probability to its target.

    target: the mean log-probability that each response should have (nats)
    """

    target: SequenceRule


@dataclass(frozen=True, kw_only=True)
class Likelihood(Term):
    """The negative log-likelihood of the response."""


@dataclass(frozen=True, kw_only=True)
class KlToInitial(Term):
    """The KL to the initial policy, estimated at the sampled tokens as `loss.kl_estimator` says."""


def no_fault(config: Any) -> str | None:
    """Nothing is wrong with any config."""
    del config
    return None


class NoSettings(Section):
    """The settings of a method that has none of its own."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How responses are made, what a teacher is shown of them, and what is minimised.

    name: what `--mode` and the key `method` call it
    summary: in one line
    source: the paper
    aliases: other names in use
    deviations: where it differs from its source
    responses: drawn by the policy, or the worked solutions of the data
    views: what the teacher is shown, by name
    draws: responses besides those of the student
    continuations: of prefixes of the responses, for the value of each; None where values are not needed
    terms: of the loss
    settings: its own keys, which stand under `credit.`
    defaults: values of other keys that belong to it; they rank above the schema's and below presets
    schedules: numbers that the record of a step shows
    fault: a config -> why it contradicts the method; None where it does not
    off: settings with which it is `rlvr` bit for bit, with the same values of what both read; none where there are no
        such settings
    """

    name: str
    summary: str
    source: str
    terms: tuple[Term, ...]
    aliases: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    responses: Literal["policy", "solution"] = "policy"
    views: Mapping[str, View] = field(default_factory=dict)
    draws: tuple[Draw, ...] = ()
    continuations: Continuations | None = None
    settings: type[Section] = NoSettings
    defaults: Mapping[str, object] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    fault: Callable[[Any], str | None] = no_fault
    off: Mapping[str, object] = field(default_factory=dict)

    def has(self, kind: type[Term]) -> bool:
        """True where a term of this kind is in the loss."""
        return any(isinstance(term, kind) for term in self.terms)

    @property
    def distilled(self) -> frozenset[str]:
        """The views whose whole distributions are compared."""
        return frozenset(term.view for term in self.terms if isinstance(term, Distill))

    @property
    def read(self) -> tuple[str, ...]:
        """The views after which the sampled tokens are read."""
        return tuple(name for name, view in self.views.items() if view.sampled or name not in self.distilled)

    @property
    def scored(self) -> bool:
        """True where scores enter the loss; they are measured and recorded in any case."""
        return self.has(PolicyGradient) or self.has(Regression)

    @property
    def needs_initial(self) -> bool:
        """True where the initial weights read."""
        return any(view.by == "initial" for view in self.views.values())
