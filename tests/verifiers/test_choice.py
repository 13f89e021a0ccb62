import json
from pathlib import Path

import pytest

from rlsd_verifiers import Submission, verify
from rlsd_verifiers.auto import choose

LABELLED = Path(__file__).parents[2].parent / "shared" / "verifier_data" / "mcq_lighteval_tests.jsonl"


@pytest.mark.parametrize(
    ("response", "answer", "outcome"),
    [
        (r"\boxed{C}", "C", "correct"),
        (r"\boxed{\text{C}}", "C", "correct"),
        (r"so \textbf{(B)}", "B", "correct"),
        (r"$\boxed{\textbf{(B)}\ 5}$", "B", "correct"),
        (r"\boxed{\textbf{(B)}\ 5}", "C", "wrong"),
        (r"\boxed{AC}", "C,A", "correct"),
        (r"\boxed{B}", "(B) 5 apples", "correct"),
        (r"\boxed{5 apples}", "(B) 5 apples", "correct"),
        (r"\boxed{A + B}", "A,B", "unparseable"),
        (r"\boxed{(C)}", "(C)", "correct"),
        (r"\boxed{c}", "C", "correct"),
        (r"\boxed{C, A}", "A,C", "correct"),
        (r"\boxed{A}", "A,C", "wrong"),
        (r"\boxed{A, B, C, D}", "C", "wrong"),
        (r"\boxed{\mathrm{E}*2}", "E", "unparseable"),
        ("The correct answer is (C).", "C", "correct"),
        ("D. it can't be A or B", "D", "correct"),
        ("It's not A because it makes no sense, therefore I think it's B", "B", "correct"),
        ("The answer is not C.", "C", "no_answer"),
        ("not C", "C", "no_answer"),
        ("The answer is not C but D.", "D", "correct"),
        ("It can't be A, B or C, so D", "D", "correct"),
        ("A is wrong, B is correct", "B", "correct"),
        ("Answer: A is wrong, so B", "B", "correct"),
        ("I think it's A or B", "A", "wrong"),
        ("None of A, B, C", "A", "no_answer"),
        ("The answer is A difficult one", "A", "no_answer"),
        ("I am not sure", "I", "no_answer"),
        ("A. red\nB. blue\nSo it must be B.", "B", "correct"),
        ("A. red\nB. blue", "A", "no_answer"),
        ("Option B is correct.", "B", "correct"),
        ("**C**", "C", "correct"),
        ("by elimination\nC", "C", "correct"),
        ("\u6545\u9009B", "B", "correct"),
        ("B\u3002\u4e0d\u662f A", "B", "correct"),
        ("<think>C", "C", "no_answer"),
        ("```\nC\n```", "C", "no_answer"),
        ("A difficult question; I am not sure.", "A", "no_answer"),
        ("\u7b54\u6848\uff1a\uff23", "C", "correct"),
        ("r\u00e9ponse est C non A", "C", "correct"),
        (r"\boxed{C}", "", "bad_reference"),
        (r"\boxed{C}", "Paris", "bad_reference"),
        ("", "C", "no_answer"),
    ],
)
def test_outcomes(response: str, answer: str, outcome: str) -> None:
    verdict = verify(Submission(response, answer), "choice")
    assert verdict.outcome == outcome, verdict.reason


def test_a_choice_may_be_named_by_its_text() -> None:
    for response, answer, expected in [
        (r"\boxed{Paris}", "B", "correct"),
        (r"\boxed{B}", "Paris", "correct"),
        (r"\boxed{Rome}", "B", "wrong"),
        (r"\boxed{E}", "B", "unparseable"),
    ]:
        submission = Submission(response, answer, choices=("Rome", "Paris", "Oslo"))
        assert verify(submission, "choice").outcome == expected


@pytest.mark.skipif(not LABELLED.is_file(), reason="the labelled rows are not here")
def test_labelled_rows() -> None:
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    verdicts = [verify(Submission(row["pred"], row["gold"]), "choice") for row in rows]
    assert [verdict.correct for verdict in verdicts] == [row["equal"] for row in rows]


@pytest.mark.parametrize(
    ("submission", "name"),
    [
        (Submission("", "C"), "choice"),
        (Submission("", "(C) Paris"), "choice"),
        (Submission("", "A, C"), "choice"),
        (Submission("", "Paris", choices=("Rome", "Paris")), "choice"),
        (Submission("", "c"), "math"),
        (Submission("", "x"), "math"),
        (Submission("", "AB"), "math"),
        (Submission("", "42"), "math"),
        (Submission("", "K"), "math"),
        (Submission("", tests=[{"args": [1], "expected": 2}]), "code"),
    ],
)
def test_auto_goes_by_the_reference(submission: Submission, name: str) -> None:
    assert choose(submission) == name
