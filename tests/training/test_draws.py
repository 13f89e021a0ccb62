"""Responses that are drawn after a view of the teacher, and trained after the student's prompt."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.data.prompts import prompt_ids, student_text
from rlsd_cli.methods.base import STUDENT, Attempt, Distill, Draw, Method, PolicyGradient, Route, View, constant
from rlsd_cli.methods.rlsd import Settings
from rlsd_cli.rollout.records import Group
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import judged


def drawn_under(name: str) -> Route:
    return lambda attempt, *_: attempt.drawn_under == name


def all_failed(group: Sequence[Attempt], settings: Any) -> bool:
    del settings
    return all(attempt.score == 0 for attempt in group if attempt.drawn_under == STUDENT)


CLIFFS = Method(
    name="cliffs",
    summary="where every response fails, what the policy answers when told is distilled into it",
    source="as in HDPO, arXiv 2603.23871",
    settings=Settings,
    views={"told": View("answer", where=drawn_under("told"))},
    draws=(Draw("told", where=all_failed, num=lambda _: 3, keep=lambda attempt, *_: bool(attempt.correct)),),
    terms=(
        PolicyGradient(route=drawn_under(STUDENT)),
        Distill(view="told", route=drawn_under("told"), coef=constant(0.5), counted="own"),
    ),
)


@pytest.fixture
def trainer(make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """On problems of which some are never solved, in groups of two."""
    monkeypatch.setattr(Config, "recipe", property(lambda _: CLIFFS))
    return make_trainer({"method": "rlsd", "prompts_per_step": 8, "samples_per_prompt": 2})


def split(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Those that got more responses, and the others."""
    return [group for group in groups if len(group.members) > 2], [group for group in groups if len(group.members) == 2]


def test_more_is_drawn_where_the_method_asks_for_it_and_nowhere_else(trainer: Trainer) -> None:
    more, others = split(judged(trainer))
    assert more
    assert others
    assert all(len(group.members) == 5 and all_failed(group.attempts(), None) for group in more)
    assert not any(all_failed(group.attempts(), None) for group in others)
    for group in more:
        assert [member.rollout.drawn_under for member in group.members] == [STUDENT] * 2 + ["told"] * 3
        assert [member.rollout.number for member in group.members] == list(range(5))


def test_what_is_drawn_is_trained_after_the_prompt_of_the_student(trainer: Trainer) -> None:
    more, _ = split(judged(trainer))
    policy, config = trainer.learner.policy, trainer.config
    for group in more:
        problem = group.members[0].rollout.problem
        asked = tuple(prompt_ids(student_text(problem, config), config, policy.tokenizer))
        assert {member.rollout.prompt.ids for member in group.members} == {asked}


def test_what_is_drawn_has_no_advantage_and_is_in_no_baseline(trainer: Trainer) -> None:
    groups = judged(trainer)
    more, _ = split(groups)
    assert all(group.advantages == (0.0,) * 5 for group in more)
    kept = [member for group in more for member in group.members[2:] if member.left_out is None]
    assert kept, "who is told the answer gives it at times"
    assert all(member.verdict and member.verdict.correct for member in kept)
    left_out = [member for group in more for member in group.members[2:] if member.left_out]
    assert {member.left_out for member in left_out} <= {"not_kept", "no_verdict"}


def test_a_step_distils_what_was_drawn_and_records_it(trainer: Trainer) -> None:
    metrics, records = trainer.step(1)
    told = [record for record in records if record.drawn_under == "told"]
    assert metrics["told_rollouts"] == len(told) > 0
    assert math.isfinite(metrics["loss"])
    kept = [record for record in told if record.counted]
    assert kept
    assert all(record.teacher_logp and record.student_logp for record in kept)
    assert metrics["uncounted"] == sum(not record.counted for record in records)
    own = [record.score for record in records if record.drawn_under == STUDENT and record.score is not None]
    assert metrics["reward_mean"] == pytest.approx(sum(own) / len(own)), "the student's own responses alone"
