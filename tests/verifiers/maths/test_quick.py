r"""The `math` verifier as a whole: what is found, what is decided at once, and how it ends."""

import pytest

from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.grade import grade_math
from rlsd_verifiers.maths.quick import grade_math_quickly, reference_text
from rlsd_verifiers.verdict import Outcome, Submission


@pytest.mark.parametrize(
    ("response", "answer", "outcome"),
    [
        (r"\boxed{\dfrac{1}{2}}", r"\frac12", "correct"),
        (r"\boxed{0.5}", "1/2", "correct"),
        (r"\boxed{41}", "42", "wrong"),
        (r"\boxed{\{2, 1\}}", "1, 2", "correct"),
        (r"\boxed{y=3}", "x=3", "wrong"),
        (r"\boxed{\text{Yes.}}", "yes", "correct"),
        (r"\boxed{live}", "evil", "wrong"),
        (r"\boxed{\text{decreasing}}", r"\text{increasing}", "wrong"),
        ("It was passed in 1933.", "The Agricultural Adjustment Act of 1933", "wrong"),
        (r"\boxed{9^{9^{9^9}}}", "42", "unparseable"),
        ("\\boxed{4\u200b2}", "42", "unparseable"),
        (r"\boxed{42 \text{ is not it}}", "42", "unparseable"),
        (r"\boxed{42 \text{ (or 43)}}", "42", "unparseable"),
        ("no idea", "42", "no_answer"),
        (r"\boxed{42}", "", "bad_reference"),
        (r"\boxed{42}", "9^{9^{9^9}}", "bad_reference"),
    ],
)
def test_decided_at_once(response: str, answer: str, outcome: str) -> None:
    verdict = grade_math_quickly(Submission(response, answer), Leniency())
    assert verdict is not None
    assert verdict.outcome == outcome


@pytest.mark.parametrize(
    ("response", "answer", "outcome"),
    [
        (r"\boxed{2\sqrt{3}}", r"\sqrt{12}", "correct"),
        (r"\boxed{e^{i\pi} = -1}", "-1", "correct"),
        (r"\boxed{-x > -1}", "x < 1", "correct"),
        (r"\boxed{\begin{pmatrix}1\\2\end{pmatrix} + \begin{pmatrix}1\\1\end{pmatrix}}",
         r"\begin{pmatrix}2\\3\end{pmatrix}", "correct"),
        (r"\boxed{\foo{4}}", "4", "unparseable"),
    ],
)  # fmt: skip
def test_left_to_a_worker(response: str, answer: str, outcome: str) -> None:
    submission = Submission(response, answer)
    assert grade_math_quickly(submission, Leniency()) is None
    assert grade_math(submission, Leniency()).outcome == outcome


def test_a_doubt_is_never_a_verdict_at_once() -> None:
    """What the exact values alone cannot tell is handed on, also where it is hidden in one member of a list."""
    for answer in (r"\{\sqrt{4}, 2\sqrt{3}\}", r"2, \sin 1"):
        assert grade_math_quickly(Submission(rf"\boxed{{{answer}}}", r"2, \sqrt{12}"), Leniency()) is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (r"so the sum is $\boxed{28\%}$.", r"28\%"),
        ("3 + 4 = 7\n#### 7", " 7"),
        (r"$\boxed{1}\boxed{2}$", "1, 2"),
        ("x=3", "x=3"),
        ("We count. " * 30 + "The final answer is $28$.", "$28$"),
    ],
)
def test_the_reference_may_be_a_worked_solution(answer: str, text: str) -> None:
    assert reference_text(answer) == text


def test_outcomes_carry_their_score_and_reason() -> None:
    verdict = grade_math_quickly(Submission(r"\boxed{0.5}", r"\frac{1}{2}"), Leniency())
    assert verdict is not None
    assert (verdict.outcome, verdict.score, verdict.extracted) == (Outcome.CORRECT, 1.0, "0.5")
    assert verdict.reason == r"`0.5` (boxed) equals the reference `\frac{1}{2}`"
