"""Routes, schedules and settings that several methods share."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from rlsd_cli.core.schedules import warmup_decay
from rlsd_cli.fields import CountOrZero, Fraction, Section
from rlsd_cli.methods.base import Attempt, Route


def is_correct(attempt: Attempt, group: Sequence[Attempt], settings: Any) -> bool:
    """True where the verifier accepted the rollout."""
    del group, settings
    return attempt.correct is True


def is_wrong(attempt: Attempt, group: Sequence[Attempt], settings: Any) -> bool:
    """True where the verifier gave a verdict other than that the rollout is right."""
    del group, settings
    return attempt.correct is False


def drawn_under(name: str) -> Route:
    """True for rollouts that were drawn under a view, or under `STUDENT`."""

    def route(attempt: Attempt, group: Sequence[Attempt], settings: Any) -> bool:
        del group, settings
        return attempt.drawn_under == name

    return route


def all_failed(group: Sequence[Attempt], settings: Any) -> bool:
    """True where the verifier rejected every response of a group: the student can learn nothing from their scores."""
    del settings
    return bool(group) and all(attempt.correct is False for attempt in group)


class Mixed(Section):
    """Settings of a credit that is the advantage times a bounded weight, mixed with 1."""

    mix: Fraction = Field(0.5, description="lambda: weight of the teacher in the credit of a token; 0 is GRPO")
    mix_decay_steps: CountOrZero = Field(0, description="steps over which lambda falls linearly to 0; 0: no decay")
    clip: Fraction = Field(0.2, description="clip range of credit weights (eps_w): [1 - clip, 1 + clip]")


def mix(settings: Any, step: int) -> float:
    """Lambda at a step, which falls linearly to 0."""
    return warmup_decay(step, initial=settings.mix, decay_steps=settings.mix_decay_steps)


def is_mixed(settings: Any, step: int) -> bool:
    """True at the steps at which a weight could differ from 1."""
    return mix(settings, step) > 0 and settings.clip > 0


def needs_ratios(config: Any) -> str | None:
    """Why one update a batch contradicts a method that works by importance ratios."""
    if config.optim.updates_per_batch == 1:
        return (
            "`optim.updates_per_batch` = 1 leaves every importance ratio at 1, where this method has no effect of its "
            "own: raise it, or train `rlvr`"
        )
    return None


def problem_view_fault(config: Any, why: str) -> str | None:
    """Why a method that needs a view which a problem alone decides cannot have the one that is named."""
    view = config.teacher.view
    if view in ("answer", "solution", "hints"):
        return None
    return (
        f"`{config.method}` {why}, and `teacher.view={view}` shows nothing of a problem: "
        "use `answer`, `solution` or `hints`"
    )
