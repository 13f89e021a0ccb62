"""Groups without signal, and the parts of a step as they are judged."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from rlsd_cli.training.rewards import as_judged, assign_advantages, dead_reason, replace_dead_groups
from rlsd_cli.training.samples import Sample

from rlsd_cli.config.resolve import Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import refill_problems, step_problems
from rlsd_cli.data.problems import Problem
from rlsd_verifiers import Outcome, Verdict


def sample(score: float | None, *, pending: Future[Verdict] | None = None) -> Sample:
    problem = Problem("p", "p", "question", "1")
    counted = score is not None
    return Sample(problem, 0, [1], [2], None, False, "", False, counted=counted, score=score, pending=pending)


def group(*scores: float | None) -> list[Sample]:
    """Rollouts of one prompt, with advantages."""
    made = [sample(score if score is None else float(score)) for score in scores]
    assign_advantages(made, merge([], Layer("", {"samples_per_prompt": len(scores)})).config)
    return made


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ((0.0, 1.0), None),
        ((1.0, 1.0), "all_right"),
        ((0.0, 0.0, None), "all_wrong"),
        ((0.5, 0.5), "equal"),
        ((1.0, None), "unjudged"),
        ((None, None), "unjudged"),
    ],
)
def test_why_a_group_teaches_nothing(scores: tuple[float | None, ...], reason: str | None) -> None:
    assert dead_reason(group(*scores)) == reason


@pytest.mark.parametrize(
    ("scores", "reason"), [((1.0, 1.0), None), ((1.0, None), None), ((0.0, 0.0), "all_wrong"), ((0.0,), "all_wrong")]
)
def test_without_a_baseline_equal_scores_are_advantages(scores: tuple[float | None, ...], reason: str | None) -> None:
    """REINFORCE: what is solved by all is reinforced in all; it is no group without signal."""
    made = [sample(score) for score in scores]
    settings = {"samples_per_prompt": len(scores), "advantage.baseline": "none", "advantage.scale": "none"}
    assign_advantages(made, merge([], Layer("", settings)).config)
    assert dead_reason(made) == reason


def test_dead_groups_leave_for_those_drawn_besides(configure: Callable[..., Config]) -> None:
    config = configure({"prompts_per_step": 3, "samples_per_prompt": 2, "rollout.refill": 4})
    samples = [*group(1, 0), *group(1, 1), *group(0, 0)]
    assert replace_dead_groups(samples, config) == 2
    assert all(each.counted for each in samples)
    samples += [*group(0, 1), *group(0, 0)]
    assert replace_dead_groups(samples, config) == 1
    assert [each.counted for each in samples] == [True, True, False, False, False, False, True, True, True, True]
    assert replace_dead_groups(samples, config) == 1, "asked again, it says the same"


def test_what_did_not_count_before_its_group_was_replaced_does_not_count_after(
    configure: Callable[..., Config],
) -> None:
    """A response cut at the limit and masked has a score of its own."""
    config = configure({"prompts_per_step": 1, "samples_per_prompt": 3, "rollout.refill": 4})
    dead = [sample(1.0), sample(1.0), sample(0.0)]
    dead[2].counted = False
    assign_advantages(dead, config)
    assert dead_reason(dead) == "all_right"
    samples = [*dead, *group(0, 0, 0)]
    assert replace_dead_groups(samples, config) == 1
    assert dead_reason(dead) == "all_right"
    samples += group(1, 0, 0)
    assert replace_dead_groups(samples, config) == 0
    assert [each.counted for each in samples] == [False] * 6 + [True] * 3


def test_parts_come_as_soon_as_they_are_judged_and_do_not_depend_on_when(configure: Callable[..., Config]) -> None:
    config = configure({"samples_per_prompt": 2})
    verdicts: list[Future[Verdict]] = [Future() for _ in range(12)]
    samples = [sample(None, pending=verdict) for verdict in verdicts]

    def judge(*numbers: int) -> None:
        for number in numbers:
            verdicts[number].set_result(Verdict(Outcome.CORRECT, 1.0, "", ""))

    judge(0, 1, 2, 3, 5, 9)
    parts = as_judged(samples, config)
    assert next(parts) == samples[0:4]
    threading.Timer(0.05, judge, (4,)).start()
    assert next(parts) == samples[4:6]
    assert verdicts[4].done()
    judge(6, 7, 8)
    assert next(parts) == samples[6:8]
    judge(10, 11)
    assert next(parts) == samples[8:12]
    assert next(parts, None) is None
    assert [len(part) for part in as_judged(samples[:2], config)].count(0) == 3
    assert list(as_judged([], config)) == [[]] * 4


def test_advantages_over_the_whole_batch_wait_for_all_of_it(configure: Callable[..., Config]) -> None:
    config = configure({"samples_per_prompt": 2, "advantage.scale": "batch_std"})
    samples = [*group(1, 0), *group(0, 0)]
    assert list(as_judged(samples, config)) == [samples]
    assert list(as_judged([], config)) == [[]]


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
