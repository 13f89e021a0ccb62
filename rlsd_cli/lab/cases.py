"""The responses that are looked at: of each problem, the first of each kind."""

from collections.abc import Sequence
from typing import NamedTuple

from rlsd_cli.data.pieces import Pieces
from rlsd_cli.data.tasks import Task
from rlsd_cli.methods.base import Attempt
from rlsd_cli.rollout.records import Group, Judged


class Place(NamedTuple):
    """Where a response goes wrong, in tokens.

    token: the first wrong token
    first, last: the tokens of the step that it is in are `first` to `last`, without `last`
    steps_after: how many steps follow
    decision: True where it decides to state a result without a step
    """

    token: int
    first: int
    last: int
    steps_after: int
    decision: bool


class Case(NamedTuple):
    """A response that is looked at.

    key: the place of its group, and its place in the group
    kind: `right` or `wrong`; where the task knows its steps, `worked` or `direct` besides
    starts: the character at which each token begins, and the end of the text
    error: where it goes wrong; None where it does not, or the task cannot say
    """

    key: tuple[int, int]
    member: Judged
    attempt: Attempt
    group: tuple[Attempt, ...]
    kind: str
    starts: tuple[int, ...]
    error: Place | None

    @property
    def text(self) -> str:
        return self.member.rollout.text

    @property
    def num_tokens(self) -> int:
        return len(self.member.rollout.token_ids)


def choose(groups: Sequence[Group], task: Task | None, pieces: Pieces) -> list[Case]:
    """The first response of each kind to each problem; those without a verdict, or cut, are of no kind."""
    cases = []
    for group in groups:
        attempts, seen = group.attempts(), set[str]()
        for place, (member, attempt) in enumerate(zip(group.members, attempts, strict=True)):
            kind = None if member.left_out or attempt.truncated else kind_of(attempt, task)
            if kind and kind not in seen:
                seen.add(kind)
                starts = tuple(pieces.starts(member.rollout.token_ids, member.rollout.text))
                error = place_of(member, starts, task) if attempt.correct is False else None
                cases.append(Case((group.place, place), member, attempt, attempts, kind, starts, error))
    return cases


def kind_of(attempt: Attempt, task: Task | None) -> str | None:
    """What a response is: whether it is right, and whether it has steps where the task knows them."""
    if attempt.correct is None:
        return None
    verdict = "right" if attempt.correct else "wrong"
    if task is None or task.steps is None:
        return verdict
    return f"{verdict}, {'worked' if task.steps(attempt.response) else 'direct'}"


def place_of(member: Judged, starts: Sequence[int], task: Task | None) -> Place | None:
    """Where the task says that a response goes wrong; a token that begins right and ends wrong is wrong."""
    if task is None or task.first_error is None or task.steps is None:
        return None
    text = member.rollout.text
    found = task.first_error(member.rollout.problem, text)
    if found is None:
        return None
    step = next((span for span in task.steps(text) if span[0] <= found.start < span[1]), (found.start, found.end))
    token = _token_at(starts, found.start)
    last = max(token, _token_at(starts, step[1] - 1)) + 1
    return Place(token, _token_at(starts, step[0]), last, found.steps_after, found.kind == "decision")


def _token_at(starts: Sequence[int], character: int) -> int:
    """The token that holds a character; the last one, which ends the response, where the text is over before it."""
    tokens = range(len(starts) - 1)
    return next((token for token in tokens if starts[token] <= character < starts[token + 1]), len(starts) - 2)
