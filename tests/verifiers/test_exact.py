import pytest

from rlsd_verifiers import Outcome, Submission, verify
from rlsd_verifiers.exact import grade_exact, grade_exact_quickly
from rlsd_verifiers.leniency import Leniency


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


@pytest.mark.parametrize(
    ("response", "pattern", "outcome"),
    [
        (r"\boxed{colour}", "/colou?r/", "correct"),
        (r"\boxed{Color}", "/colou?r/", "wrong"),
        (r"\boxed{Color}", "/colou?r/i", "correct"),
        (r"\boxed{two colour}", "/colou?r/", "wrong"),
        (r"\boxed{colours}", "/colou?r/", "wrong"),
        (r"\boxed{a\nb}", "/a.b/", "wrong"),
        ("no mark\nat all", "/.*/", "no_answer"),
        ("x", "/(/", "bad_reference"),
        ("x", "/a{2}{3}/", "bad_reference"),
        ("//", "//", "correct"),
        ("a/b", "a/b", "correct"),
    ],
)
def test_a_reference_between_slashes_is_a_pattern_for_the_whole_answer(
    response: str, pattern: str, outcome: str
) -> None:
    verdict = grade_exact(Submission(response, pattern), Leniency())
    assert verdict.outcome is Outcome(outcome), verdict.reason


def test_a_pattern_accepts_itself_and_is_never_matched_in_the_caller() -> None:
    itself = Submission(r"\boxed{/(a|aa)+b/}", "/(a|aa)+b/")
    assert grade_exact(itself, Leniency()).correct
    assert grade_exact_quickly(itself, Leniency()) is None
    assert grade_exact_quickly(Submission("a", "a"), Leniency()) == grade_exact(Submission("a", "a"), Leniency())
