import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.evaluate import select, summarise
from rlsd_cli.evaluation.grade import check_problems, grade, submission


def config(**values: object) -> Config:
    return merge([], Layer(COMMAND_LINE, values)).config


def problem(answer: str, verifier: str | None = None, name: str = "p") -> Problem:
    return Problem(name, name, "q", answer, verifier=verifier)


def test_a_problems_own_verifier_ranks_above_the_configs() -> None:
    problems = [problem("1.0"), problem("1.0", "exact"), problem("1.0", "numeric")]
    outcomes = [verdict.outcome for verdict in grade(problems, [r"\boxed{1}"] * 3, config())]
    assert outcomes == ["correct", "wrong", "correct"]
    outcomes = [verdict.outcome for verdict in grade(problems, [r"\boxed{1}"] * 3, config(verifier="exact"))]
    assert outcomes == ["wrong", "wrong", "correct"]


def test_every_response_gets_its_verdict_in_order() -> None:
    verdicts = grade([problem("1"), problem("2")], [r"\boxed{2}", r"\boxed{2}"], config())
    assert [verdict.correct for verdict in verdicts] == [False, True]
    with pytest.raises(ValueError, match="zip"):
        grade([problem("1")], [], config())


def test_all_that_a_verifier_may_need_is_submitted() -> None:
    full = Problem("p", "f", "question", "answer", "solution", "exact", [1], "entry", ("a", "b"))
    sent = submission(full, "response")
    assert sent == ("response", "answer", [1], "entry", ("a", "b"), "question")


def test_answers_that_cannot_be_graded_are_named_with_the_reason() -> None:
    problems = [problem("1", name="fine"), problem("one", name="bad"), problem("one", "exact", name="text")]
    faults = check_problems(problems, config())
    assert set(faults) == {"bad"}
    assert "`one` is not a number" in faults["bad"]


@pytest.mark.parametrize("own", [None, "numerik"])
def test_an_unknown_verifier_is_an_error_wherever_it_was_named(own: str | None) -> None:
    with pytest.raises(RlsdError, match="problem `p` asks for verifier `numerik`") as caught:
        check_problems([problem("1", own)], config(verifier="numeric" if own else "numerik"))
    assert caught.value.hint == "did you mean `numeric`?"


def test_the_problems_evaluated_do_not_depend_on_their_order() -> None:
    problems = [problem("1", name=f"{n:02}") for n in range(20)]
    assert select(problems, 5) == select(problems[::-1], 5) == problems[:5]


def test_a_problem_that_cannot_be_graded_is_counted_and_leaves_the_mean() -> None:
    rows = [
        {"score": score, "outcome": outcome, "tokens": 10, "truncated": False, "leaks": score == 0.0}
        for score, outcome in ((1.0, "correct"), (0.0, "wrong"), (None, "bad_reference"), (None, "bad_reference"))
    ]
    summary = summarise(rows, 2)
    assert (summary["n"], summary["mean"], summary["pass_at_k"]) == (1, 0.5, {"1": 0.5, "2": 1.0})
    assert summary["outcomes"] == {"bad_reference": 2, "correct": 1, "wrong": 1}
    assert summary["leakage_rate"] == 0.25
    nothing = summarise(rows[2:], 2)
    assert (nothing["n"], nothing["mean"], nothing["ci95"], nothing["pass_at_k"]) == (
        0,
        None,
        None,
        {"1": None, "2": None},
    )
