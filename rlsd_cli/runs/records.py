"""What a run writes of its rollouts: typed, versioned, and complete enough to repeat a step without a sampler."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

FORMAT = 2
"""The version of the format. 1 had no `sampled_logp`, `prompt_ids`, `group` and `left_out`."""


ADDED = ("values", "reward_parts", "entropy", "pull", "clipped", "starts")
"""Fields that lines of this version may lack, because they were written before there were any."""


class RolloutRecord(NamedTuple):
    """A rollout of a step, a line of `rollouts/`. Lists of numbers are as long as `token_ids`, or None.

    step, group, sample: the step, which of its groups, and which of the group's responses it is
    problem_id, prompt, prompt_ids: what it answers, and what was read of it
    drawn_under: what it was sampled after: `student`, or a view
    version: the step whose weights drew it; 0 for the initial ones
    response, token_ids, truncated: what was answered, and True where it was cut at the limit
    outcome, extracted, reason, score, correct: the verdict; None without one
    advantage: the score against its group
    left_out, counted: why it is in no loss, and True where it is in one
    leaks: True where it speaks of what only the teacher was shown
    sampled_logp, old_logp, student_logp: log-probabilities of its tokens (nats): by the sampler; before the update,
        where other updates of the same batch came first; during the update
    teacher_logp, readings: the same by the teacher, after the first text of the first view; after each text of each
        view
    credit: of each token
    pull: the teacher's log-probability less the student's where a distillation trains on it, times its coefficient
    entropy: of the policy during the update, at each token (nats)
    starts: the character of `response` at which each token begins, and where the last one ends: one more than tokens
    clipped: 1 where the ratio was beyond its bound, so that the token had no gradient from the surrogate
    values: pairs of the length of a prefix and the mean score of what it was continued with
    reward_parts: the parts of the score by name, before they are weighted; none without a score
    """

    step: int
    group: int
    sample: int
    problem_id: str
    prompt: str
    prompt_ids: list[int]
    drawn_under: str
    version: int
    response: str
    token_ids: list[int]
    truncated: bool
    outcome: str | None
    extracted: str | None
    reason: str | None
    score: float | None
    correct: bool | None
    advantage: float
    left_out: str | None
    counted: bool
    leaks: bool
    sampled_logp: list[float] | None
    old_logp: list[float] | None
    student_logp: list[float] | None
    teacher_logp: list[float] | None
    readings: Mapping[str, list[list[float]]]
    credit: list[float] | None
    sandbox: str | None = None
    weak: bool = False
    verdict_score: float | None = None
    values: Sequence[tuple[int, float]] = ()
    reward_parts: Mapping[str, float] = {}
    entropy: list[float] | None = None
    pull: list[float] | None = None
    clipped: list[int] | None = None
    starts: list[int] | None = None

    def row(self) -> dict[str, Any]:
        """The line as it is written."""
        return {"format": FORMAT} | self._asdict()


def read_record(row: Mapping[str, Any]) -> RolloutRecord:
    """A line that was written.

    Raises:
        ValueError: it is of another version, or not whole.
    """
    if (found := row.get("format", 1)) != FORMAT:
        raise ValueError(f"it is of format {found}, and format {FORMAT} is read")
    try:
        return RolloutRecord(**{name: row[name] for name in RolloutRecord._fields if name in row or name not in ADDED})
    except KeyError as error:
        raise ValueError(f"field {error} is missing") from error
