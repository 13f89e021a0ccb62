import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlsd_verifiers import (
    VERIFIERS,
    Leniency,
    Outcome,
    Pool,
    Submission,
    UnknownVerifierError,
    Verdict,
    Verifier,
    check_reference,
    find_verifier,
    verify,
    verify_all,
)
from rlsd_verifiers.registry import AUTO, load, resolve


def test_the_default_is_auto_and_time_is_measured() -> None:
    verdict = verify(Submission(r"\boxed{1000}", "1000"))
    assert verdict.correct
    assert 0.0 < verdict.seconds < 1.0


def test_all_keeps_the_order() -> None:
    verdicts = verify_all([Submission("1", "1"), Submission("2", "1"), Submission("", "1")], "numeric")
    assert [v.outcome for v in verdicts] == ["correct", "wrong", "no_answer"]


def test_an_exception_in_a_verifier_is_no_verdict_and_not_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(submission: Submission, _: Leniency) -> Verdict:
        if submission.answer == "boom":
            raise ZeroDivisionError("on purpose")
        return Verdict(Outcome.CORRECT, 1.0, None, "")

    monkeypatch.setitem(VERIFIERS, "broken", Verifier(broken))
    crashed, fine = verify_all([Submission("1", "boom"), Submission("1", "1")], "broken")
    assert crashed.outcome is Outcome.CRASH
    assert crashed.correct is None
    assert "ZeroDivisionError: on purpose" in crashed.reason
    assert fine.correct


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(submission: Submission, _: Leniency) -> Verdict:
        raise KeyboardInterrupt(submission.response)

    monkeypatch.setitem(VERIFIERS, "interrupted", Verifier(interrupted))
    with pytest.raises(KeyboardInterrupt):
        verify(Submission("1", "1"), "interrupted")


@pytest.mark.parametrize(("name", "words"), [("numerik", "did you mean `numeric`"), ("zzz", "`exact`, `numeric`")])
def test_unknown_names_are_told_what_exists(name: str, words: str) -> None:
    with pytest.raises(UnknownVerifierError, match=words):
        find_verifier(name)
    with pytest.raises(UnknownVerifierError, match=words):
        verify_all([], name)


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_is_found_and_its_thorough_part_loads(name: str) -> None:
    verifier = find_verifier(name)
    assert verifier is VERIFIERS[name]
    assert verifier.quick or verifier.thorough
    if name == "gym":
        pytest.importorskip("reasoning_gym")
    if verifier.thorough:
        assert callable(load(verifier.thorough))


def test_auto_is_no_verifier_but_becomes_one() -> None:
    submission = Submission("1", "1")
    assert AUTO not in VERIFIERS
    assert resolve(AUTO, submission) in VERIFIERS
    assert resolve("exact", submission) == "exact"


@pytest.mark.parametrize(
    ("answer", "verifier", "words"),
    [
        ("1,080", "numeric", None),
        ("$1,080", "numeric", None),
        ("Paris", "numeric", "not a number"),
        (None, "numeric", "empty"),
        ("Paris", "exact", None),
        (r"\frac{1}{2}", "exact", None),
        ("", "exact", "empty"),
        ("a } b", "exact", "is not the reference"),
        (r"\frac{1}{2}", AUTO, None),
    ],
)
def test_check_reference(answer: str | None, verifier: str, words: str | None) -> None:
    with Pool(1) as pool:
        problem = check_reference(Submission("whatever", answer), verifier, pool)
    assert (problem is None) if words is None else (problem is not None and words in problem)


THIRD_PARTY = {"torch", "sympy", "mpmath", "math_verify", "antlr4", "numpy", "rlsd_cli", "transformers", "pydantic"}


def test_importing_needs_the_standard_library_only() -> None:
    code = f"import sys, rlsd_verifiers; assert not {THIRD_PARTY} & {{name.split('.')[0] for name in sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_checkout_that_is_not_installed_grades_too(tmp_path: Path) -> None:
    """The worker finds the package on the path of its parent, behind the standard library."""
    (tmp_path / "own.py").write_text("def grade(submission): return True\n")
    (tmp_path / "socket.py").write_text("raise RuntimeError('shadowed')\n")
    code = (
        "import sys, socket; sys.path[:0] = sys.argv[1:]\n"
        "from rlsd_verifiers import Submission, verify; assert verify(Submission(''), 'own:grade').correct"
    )
    package = Path(sys.modules["rlsd_verifiers"].__file__ or "").parents[1]
    python = Path(sys.executable).resolve()
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([python, "-I", "-S", "-c", code, tmp_path, package], check=True, timeout=30, env=environment)
