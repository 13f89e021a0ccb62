"""A round's groups, part by part as they are judged, and what is drawn in place of those without signal."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import refill_problems, step_problems
from rlsd_cli.data.problems import Problem
from rlsd_cli.distributed.world import World
from rlsd_cli.rollout.records import Group, Pending, Prompt, Rollout
from rlsd_cli.training import experience as experience_module
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.experience import FromPolicy, Rollouts
from rlsd_verifiers import Outcome, Verdict

PROBLEM = Problem("p", "p", "question", "1")
BeginRound = Callable[..., Iterator[Sequence[Group]]]


@pytest.fixture
def begin_round(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> BeginRound:
    """The parts of a round whose pairs of responses have given verdicts."""

    def make(verdicts: Sequence[Future[Verdict]], **settings: object) -> Iterator[Sequence[Group]]:
        rollouts = (Rollout(PROBLEM, place % 2, Prompt((1,)), (2,), None, False, "") for place in range(len(verdicts)))
        pending = list(map(Pending, rollouts, verdicts))
        keys = {key.replace("__", "."): value for key, value in settings.items()}
        num_groups = len(verdicts) // 2
        config = configure({"prompts_per_step": max(1, num_groups), "samples_per_prompt": 2} | keys)
        monkeypatch.setattr(experience_module, "respond", lambda *_, **__: pending)
        nobody: Any = None
        world = World() if verdicts else World(1, 2)
        return next(
            Rollouts(config, FromPolicy(config, nobody, nobody, nobody, world), [PROBLEM], world).rounds(1, Clock())
        )

    return make


def places(part: Sequence[Group]) -> list[int]:
    return [group.place for group in part]


def test_parts_come_as_soon_as_they_are_judged_and_do_not_depend_on_when(begin_round: BeginRound) -> None:
    verdicts: list[Future[Verdict]] = [Future() for _ in range(12)]

    def judge(*numbers: int) -> None:
        for number in numbers:
            verdicts[number].set_result(Verdict(Outcome.CORRECT, 1.0, "", ""))

    judge(0, 1, 2, 3, 5, 9)
    parts = begin_round(verdicts)
    assert places(next(parts)) == [0, 1]
    threading.Timer(0.05, judge, (4,)).start()
    assert places(next(parts)) == [2]
    assert verdicts[4].done()
    judge(6, 7, 8)
    assert places(next(parts)) == [3]
    judge(10, 11)
    last = next(parts)
    assert places(last) == [4, 5]
    assert [member.verdict for group in last for member in group.members] == [each.result() for each in verdicts[8:]]
    assert next(parts, None) is None


def right_and_wrong(count: int) -> list[Future[Verdict]]:
    verdicts: list[Future[Verdict]] = [Future() for _ in range(count)]
    for number, verdict in enumerate(verdicts):
        outcome = Outcome.WRONG if number % 4 else Outcome.CORRECT
        verdict.set_result(Verdict(outcome, float(outcome is Outcome.CORRECT), "", ""))
    return verdicts


def test_there_are_as_many_parts_however_few_groups(begin_round: BeginRound) -> None:
    assert [len(part) for part in begin_round(right_and_wrong(2))].count(0) == 3
    assert list(begin_round([])) == [[]] * 4


def test_advantages_over_the_whole_batch_wait_for_all_of_it(begin_round: BeginRound) -> None:
    verdicts = right_and_wrong(4)
    (part,) = begin_round(verdicts, advantage__scale="batch_std", advantage__eps=0.0)
    assert places(part) == [0, 1]
    assert part[0].advantages == pytest.approx((1.0, -1.0)), "0.5 over a deviation of 0.5 over four"
    assert part[1].advantages == (0.0, 0.0)


@pytest.mark.parametrize("order", ["random", "weighted"])
def test_a_refill_draws_other_problems_and_goes_on_where_it_stopped(
    configure: Callable[..., Config], order: str
) -> None:
    config = configure({"prompts_per_step": 4, "rollout.refill": 6, "curriculum.order": order})
    problems = [Problem(str(number), str(number), "q", "1", pass_rate=0.5) for number in range(12)]
    batch = step_problems(problems, config, 3)
    first = refill_problems(problems, config, 3, 0, 2)
    rest = refill_problems(problems, config, 3, 2, 4)
    drawn = [problem.id for problem in [*batch, *first, *rest]]
    assert len(first) == 2
    assert len(set(drawn)) == len(drawn)
    assert refill_problems(problems, config, 3, 0, 2) == first
    assert refill_problems(problems, config, 4, 0, 2) != first
