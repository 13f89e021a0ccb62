"""Scores to advantages, and groups without signal."""

from collections.abc import Callable

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.rollout.records import Group, Judged, LeftOut, Prompt, Rollout
from rlsd_cli.training.judging import advantages_of, is_replaced, replace_zero_variance, zero_variance

Configure = Callable[..., Config]


def member(score: float | None, left_out: LeftOut | None = None) -> Judged:
    rollout = Rollout(Problem("p", "p", "question", "1"), 0, Prompt((1,)), (2,), None, False, "")
    parts = {} if score is None else {"answer": score}
    return Judged(rollout, score=score, left_out="no_verdict" if score is None else left_out, parts=parts)


@pytest.fixture
def make_groups(configure: Configure) -> Callable[..., list[Group]]:
    """`make(members...)`: groups at places 0, 1, ..., with the advantages that settings say."""

    def make(*groups: tuple[float | Judged | None, ...], **settings: object) -> list[Group]:
        members = [tuple(one if isinstance(one, Judged) else member(one) for one in group) for group in groups]
        keys = {key.replace("__", "."): value for key, value in settings.items()}
        config = configure({"samples_per_prompt": len(groups[0])} | keys)
        advantages = advantages_of(members, config)
        return [Group(place, *pair) for place, pair in enumerate(zip(members, advantages, strict=True))]

    return make


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
def test_why_a_group_teaches_nothing(
    make_groups: Callable[..., list[Group]], scores: tuple[float | None, ...], reason: str | None
) -> None:
    (group,) = make_groups(scores)
    assert zero_variance(group) == reason


@pytest.mark.parametrize(
    ("scores", "reason"), [((1.0, 1.0), None), ((1.0, None), None), ((0.0, 0.0), "all_wrong"), ((0.0,), "all_wrong")]
)
def test_without_a_baseline_equal_scores_are_advantages(
    make_groups: Callable[..., list[Group]], scores: tuple[float | None, ...], reason: str | None
) -> None:
    """REINFORCE: what is solved by all is reinforced in all; it is no group without signal."""
    (group,) = make_groups(scores, advantage__baseline="none", advantage__scale="none")
    assert zero_variance(group) == reason


def test_groups_without_signal_leave_for_those_drawn_besides(make_groups: Callable[..., list[Group]]) -> None:
    groups = make_groups((1, 0), (1, 1), (0, 0), (0, 1), (0, 0))
    assert replace_zero_variance(groups[:3], 3) == groups[:3]
    left = replace_zero_variance(groups, 3)
    assert [is_replaced(group) for group in left] == [False, True, True, False, False]
    assert all(one.left_out == "replaced" for group in left[1:3] for one in group.members)
    assert [left[0], *left[3:]] == [groups[0], *groups[3:]]
    assert replace_zero_variance(left, 3) == left, "asked again, it says the same"


def test_what_did_not_count_before_its_group_was_replaced_does_not_count_after(
    make_groups: Callable[..., list[Group]],
) -> None:
    """A response cut at the limit and masked has a score of its own."""
    flat, other, alive = make_groups((1, 1, member(0.0, "truncated")), (0, 0, 0), (1, 0, 0))
    assert zero_variance(flat) == "all_right"
    (left, *_) = replace_zero_variance([flat, other, alive], 1)
    assert zero_variance(left) == "all_right"
    assert [one.left_out for one in left.members] == ["replaced", "replaced", "truncated"]
    kept = [not is_replaced(group) for group in replace_zero_variance([flat, other, alive], 1)]
    assert kept == [False, False, True]


def test_scores_enter_no_advantage_of_a_method_that_does_not_read_them(configure: Configure) -> None:
    assert advantages_of([(member(1.0), member(0.0))], configure({"method": "opsd"})) == [(0.0, 0.0)]
