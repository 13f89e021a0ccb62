"""What flows from the sampler to the loss. No record changes once it is made."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Literal, NamedTuple

from rlsd_cli.data.problems import Problem
from rlsd_cli.grading.rewards import Part
from rlsd_cli.methods.base import STUDENT, Attempt
from rlsd_verifiers import Verdict

LeftOut = Literal["truncated", "no_verdict", "replaced", "too_long", "not_kept", "no_view", "no_term"]
"""Why a rollout is in no loss: it was cut at the limit, it reached no verdict, another group stands for its own, the
solution of the data is too long, a draw does not keep it, the teacher could not be shown what the loss needs, or no
term is about it."""


class Prompt(NamedTuple):
    """What a response answers; equal prompts are read once."""

    ids: tuple[int, ...]


class Rollout(NamedTuple):
    """A response to a problem.

    number: its place among the responses to its prompt
    prompt: what it is trained after
    drawn_under: what it was sampled after: `student` for the prompt, or the name of a view
    token_ids: its tokens, the end token included
    sampled_logp: their log-probabilities as the sampler gave them (nats); None where nobody sampled
    truncated: True where it was cut at the length limit
    text: the response without special tokens
    version: the step whose weights drew it; 0 for the initial ones
    """

    problem: Problem
    number: int
    prompt: Prompt
    token_ids: tuple[int, ...]
    sampled_logp: tuple[float, ...] | None
    truncated: bool
    text: str
    version: int = 0
    drawn_under: str = STUDENT


class Pending(NamedTuple):
    """A rollout whose verdict is on its way.

    parts: of its score, those that functions in worker processes give
    """

    rollout: Rollout
    verdict: Future[Verdict]
    parts: Mapping[str, Part] = {}

    @property
    def awaited(self) -> tuple[Future[Verdict], ...]:
        """All that is on its way."""
        return self.verdict, *(part.verdict for part in self.parts.values())


class Value(NamedTuple):
    """The mean score of responses that begin with the first `length` tokens of a rollout."""

    length: int
    score: float


class Judged(NamedTuple):
    """A rollout with its verdict.

    score: what it is rewarded with, the weighted sum of its parts; None without a verdict
    left_out: why it takes part in neither baseline nor loss; None where it does
    values: of its prefixes, the shortest first; none where they were not estimated
    parts: of the score, by name, before they are weighted; none without a score
    """

    rollout: Rollout
    verdict: Verdict | None = None
    score: float | None = None
    left_out: LeftOut | None = None
    values: tuple[Value, ...] = ()
    parts: Mapping[str, float] = {}


class Group(NamedTuple):
    """The rollouts of one prompt, with the advantage of each.

    place: which of the groups of its step it is
    """

    place: int
    members: tuple[Judged, ...]
    advantages: tuple[float, ...]

    @property
    def own(self) -> tuple[Judged, ...]:
        """The members that the student drew; the others were told something."""
        return tuple(member for member in self.members if member.rollout.drawn_under == STUDENT)

    def attempts(self) -> tuple[Attempt, ...]:
        """The group as plain data, for routes and views."""
        pairs = zip(self.members, self.advantages, strict=True)
        return tuple(_attempt(member, advantage) for member, advantage in pairs)


def _attempt(member: Judged, advantage: float) -> Attempt:
    rollout, verdict = member.rollout, member.verdict
    return Attempt(
        number=rollout.number,
        drawn_under=rollout.drawn_under,
        response=rollout.text,
        score=member.score,
        correct=verdict.correct if verdict else None,
        advantage=advantage,
        truncated=rollout.truncated,
        reason=verdict.reason if verdict else None,
        extracted=verdict.extracted if verdict else None,
    )
