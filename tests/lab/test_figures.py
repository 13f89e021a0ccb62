"""The figures of the laboratory, against numbers worked out by hand."""

import pytest
import torch

from rlsd_cli.data.problems import Problem
from rlsd_cli.lab.cases import Case, Place
from rlsd_cli.lab.figures import Looked, agreement, auroc, costliest, costly, found, late, moved, spread, top_share
from rlsd_cli.lab.hints import Reads
from rlsd_cli.lab.strips import lines, strips
from rlsd_cli.methods.base import STUDENT, Attempt
from rlsd_cli.rollout.records import Judged, Prompt, Rollout
from rlsd_cli.training.passes import Scored
from rlsd_verifiers import Outcome, Verdict

TEXT = "2+3=6;6+1=7"
ERROR = Place(token=4, first=0, last=5, steps_after=1, decision=False)


def looked(
    gaps: dict[str, list[float]],
    *,
    kind: str = "wrong, worked",
    error: Place | None = ERROR,
    logp: list[float] | None = None,
    values: list[float] | None = None,
    credit: dict[str, list[float]] | None = None,
) -> Looked:
    """A response of eleven characters, each a token."""
    problem = Problem("p", "0" * 12, "Q2+3+1=", "6", "2+3=5;5+1=6;#6", "exact")
    rollout = Rollout(problem, 0, Prompt((1, 2)), tuple(range(len(TEXT))), None, False, TEXT)
    attempt = Attempt(0, STUDENT, TEXT, 0.0, False, -0.5, False, "wrong", "7")
    judged = Judged(rollout, Verdict(Outcome.WRONG, 0.0, "7", "wrong"), 0.0)
    case = Case((0, 0), judged, attempt, (attempt,), kind, tuple(range(12)), error)
    student = torch.tensor(logp or [-0.1] * 11)
    return Looked(
        case,
        Reads(Scored(student, torch.zeros(11)), {name: student + torch.tensor(gap) for name, gap in gaps.items()}),
        None if values is None else torch.tensor(values),
        {name: torch.tensor(each) for name, each in (credit or {}).items()},
    )


def at(places: dict[int, float]) -> list[float]:
    return [places.get(place, 0.0) for place in range(11)]


def test_the_most_blamed_token_is_shared_out_among_equals() -> None:
    blame = torch.tensor([0.0, 2.0, 2.0, 1.0])
    assert top_share(blame, 1, 2) == 0.5
    assert top_share(blame, 1, 3) == 1.0
    assert top_share(blame, 3, 4) == 0.0


@pytest.mark.parametrize(("blame", "expected"), [([3.0, 1, 2], 1.0), ([1.0, 3, 2], 0.0), ([2.0, 2, 1], 0.75)])
def test_auroc_is_the_rank_of_the_first_wrong_token(blame: list[float], expected: float) -> None:
    assert auroc(torch.tensor(blame), 0) == expected


def test_a_signal_that_blames_the_last_step_is_said_to_miss_an_earlier_error() -> None:
    cases = [looked({"answer": at({10: -4.0}), "solution": at({4: -9.0, 10: -3.0})}, logp=at({4: -5.0}))]
    figures = found(cases, ("surprisal", "answer", "solution"))
    assert [figures[name].step.mean for name in ("chance", "surprisal", "answer", "solution")] == [
        5 / 11,
        1.0,
        0.0,
        1.0,
    ]
    assert figures["solution"].token.mean == 1.0
    assert figures["answer"].after[1].mean == 0.0
    assert figures["answer"].after.keys() == {1}


def test_a_decision_to_guess_is_in_no_figure_of_steps() -> None:
    guess = looked({"answer": at({1: -1.0})}, kind="wrong, direct", error=ERROR._replace(decision=True))
    assert found([guess], ("answer",)) == {}


def test_blame_after_the_error_is_late_and_praise_is_no_blame() -> None:
    figures = late([looked({"answer": at({4: -1.0, 10: -3.0, 7: 5.0})})], ("answer",))
    assert figures["answer"].mean == pytest.approx(0.75)
    assert figures["uniform"].mean == pytest.approx(6 / 11)


def test_costly_tokens_are_those_that_take_a_quarter_of_the_chance() -> None:
    values = [0.8] * 4 + [0.7] + [0.1] * 7
    case = looked({"answer": at({4: -1.0, 9: -1.0})}, values=values, credit={"rlsd": [-1.0] * 11})
    figures = costly([case], ("answer", "rlsd"))
    assert figures["answer"].mean == pytest.approx(0.5)
    assert figures["rlsd"].mean == pytest.approx(1 / 11)
    assert figures["uniform"].mean == pytest.approx(1 / 11)
    assert figures["ceiling"].mean == 1.0
    assert costly([looked({"answer": at({4: -1.0})}, values=[0.5] * 12)], ("answer",))["ceiling"].mean == 0.0


def test_the_costliest_token_is_compared_with_the_gap_there() -> None:
    values = [0.9] * 5 + [0.1] * 7
    told = costliest([looked({"answer": at({4: -2.0})}, values=values)], ("answer",), 16)
    assert told is not None
    assert (told.before.mean, told.after.mean) == (pytest.approx(0.9), pytest.approx(0.1))
    assert told.is_error.mean == 1.0
    assert told.gaps["answer"].mean == pytest.approx(-2.0)
    assert told.r["answer"].mean == pytest.approx(1.0)
    assert told.slope["answer"] == pytest.approx(2 / float(torch.tensor((0.9 * 16 + 0.5) / (0.1 * 16 + 0.5)).log()))


def test_moved_tokens_and_those_at_a_bound_are_counted_over_all_tokens() -> None:
    figures = moved([looked({"answer": at({1: 0.06, 2: -0.04, 3: 1.0, 4: -1.0})})], "answer", 0.2)
    assert figures is not None
    assert figures.moved.mean == pytest.approx(3 / 11)
    assert figures.bound.mean == pytest.approx(2 / 11)


def test_the_spread_of_a_credit_is_over_its_own_mean() -> None:
    case = looked({}, credit={"rlsd": [-1.0] * 4 + [-2.0] + [-1.0] * 6, "rlvr": [-0.5] * 11})
    figures = spread([case], "rlsd")
    assert figures is not None
    assert figures.lift.mean == pytest.approx(2 / (12 / 11))
    plain = spread([case], "rlvr")
    assert plain is not None
    assert (plain.deviation.mean, plain.lift.mean) == (0.0, 1.0)
    assert spread([case], "opsd") is None


def test_two_views_agree_on_the_tokens_that_both_move() -> None:
    case = looked({"answer": at({1: 1.0, 2: -1.0, 3: 1.0}), "other": at({1: 2.0, 2: 1.0, 4: 1.0})})
    figures = agreement([case], "answer", "other")
    assert figures is not None
    assert figures.same_sign.mean == 0.5
    assert figures.specific.mean == pytest.approx((1 + 2 + 1 + 1) / (3 + 4))
    assert agreement([case], "answer", "near") is None


def test_a_picture_has_one_column_a_character_and_marks_the_error() -> None:
    values = [0.8] * 5 + [0.0] * 7
    case = looked({"answer": at({10: -4.0})}, values=values)
    shown = list(lines(case, ["answer"]))
    assert shown[0] == "Q2+3+1=   reference 6   wrong, worked   first wrong token: the '6' at 4"
    assert shown[1].endswith(TEXT)
    assert shown[2].endswith("88880000000")
    assert shown[-1].index("@") == shown[1].index(TEXT) + 10
    names = [strip.name for strip in strips(case, ["answer"])]
    assert names == ["response", "chance of right", "surprisal", "blame, answer"]
