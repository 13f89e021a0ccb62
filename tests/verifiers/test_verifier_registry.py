import subprocess
import sys

import pytest

from rlsd_verifiers import (
    VERIFIERS,
    Outcome,
    Submission,
    UnknownVerifierError,
    Verdict,
    check_reference,
    verify,
    verify_all,
)


def test_the_default_is_numeric_and_time_is_measured() -> None:
    verdict = verify(Submission("1,000", "1000"))
    assert verdict.correct
    assert 0.0 < verdict.seconds < 1.0


def test_all_keeps_the_order() -> None:
    verdicts = verify_all([Submission("1", "1"), Submission("2", "1"), Submission("", "1")], "numeric")
    assert [v.outcome for v in verdicts] == ["correct", "wrong", "no_answer"]


def test_an_exception_in_a_verifier_is_no_verdict_and_not_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(submission: Submission) -> Verdict:
        if submission.answer == "boom":
            raise ZeroDivisionError("on purpose")
        return Verdict(Outcome.CORRECT, 1.0, None, "")

    monkeypatch.setitem(VERIFIERS, "broken", broken)
    crashed, fine = verify_all([Submission("1", "boom"), Submission("1", "1")], "broken")
    assert crashed.outcome is Outcome.CRASH
    assert crashed.correct is None
    assert "ZeroDivisionError: on purpose" in crashed.reason
    assert fine.correct


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(submission: Submission) -> Verdict:
        raise KeyboardInterrupt(submission.response)

    monkeypatch.setitem(VERIFIERS, "interrupted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verify(Submission("1", "1"), "interrupted")


@pytest.mark.parametrize(("name", "words"), [("numerik", "did you mean `numeric`"), ("zzz", "`exact`, `numeric`")])
def test_unknown_names_are_told_what_exists(name: str, words: str) -> None:
    with pytest.raises(UnknownVerifierError, match=words):
        verify_all([], name)


@pytest.mark.parametrize(
    ("answer", "verifier", "words"),
    [
        ("1,080", "numeric", None),
        ("$1,080", "numeric", None),
        ("$1,080 per\nmonth", "numeric", "not a number"),
        (None, "numeric", "empty"),
        ("Paris", "exact", None),
        (r"\frac{1}{2}", "exact", None),
        ("", "exact", "empty"),
        ("a } b", "exact", "is not the reference"),
    ],
)
def test_check_reference(answer: str | None, verifier: str, words: str | None) -> None:
    problem = check_reference(Submission("whatever", answer), verifier)
    assert (problem is None) if words is None else (problem is not None and words in problem)


def test_importing_needs_the_standard_library_only() -> None:
    code = (
        "import sys, rlsd_verifiers; third = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "assert not {'torch', 'sympy', 'numpy', 'rlsd_cli', 'transformers', 'pydantic'} & third, third"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
