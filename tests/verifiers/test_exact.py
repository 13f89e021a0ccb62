import pytest

from rlsd_verifiers import Outcome, Submission, verify


@pytest.mark.parametrize(
    ("response", "answer", "outcome"),
    [
        (r"\boxed{Paris}", "Paris", "correct"),
        ("Paris", "Paris", "correct"),
        ("Paris.", " Paris ", "correct"),
        ("The answer is New\tYork.", "New  York", "correct"),
        ("$42$", "42", "correct"),
        (r"\boxed{\$42}", "$42", "correct"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}", "A", "correct"),
        ("caf\u00e9", "cafe\u0301", "correct"),
        ("paris", "Paris", "wrong"),
        ("10\N{SUPERSCRIPT TWO}", "102", "wrong"),
        ("42.0", "42", "wrong"),
        ("Not Paris", "Paris", "wrong"),
        ("I think\nParis", "Paris", "no_answer"),
        ("", "Paris", "no_answer"),
        ("<think>Paris", "Paris", "no_answer"),
        ("Paris", "", "bad_reference"),
        ("Paris", "$", "bad_reference"),
        ("Paris", None, "bad_reference"),
    ],
)
def test_exact(response: str, answer: str | None, outcome: str) -> None:
    verdict = verify(Submission(response, answer), "exact")
    assert verdict.outcome is Outcome(outcome), verdict.reason
    assert verdict.score == float(outcome == "correct")
