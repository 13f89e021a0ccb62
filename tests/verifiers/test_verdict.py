import pytest

from rlsd_verifiers import Outcome, Verdict
from rlsd_verifiers.verdict import shorten

OURS = {"bad_reference", "crash", "sandbox_error", "invalid_row"}


def test_the_outcomes_are_the_documented_words() -> None:
    assert {*Outcome} == OURS | {
        "correct", "wrong", "no_answer", "unparseable", "timeout", "memory", "output_limit",
    }  # fmt: skip


@pytest.mark.parametrize("outcome", Outcome)
def test_correct_is_none_exactly_where_nothing_was_judged(outcome: Outcome) -> None:
    verdict = Verdict(outcome, 0.0, None, "")
    assert verdict.is_verdict is (outcome not in OURS)
    assert verdict.correct is (None if outcome in OURS else outcome == "correct")


def test_shorten_keeps_both_ends_on_one_line() -> None:
    assert shorten("a\nb") == "a b"
    short = shorten("start" + "x" * 10_000 + "end")
    assert len(short) <= 60
    assert short.startswith("start")
    assert short.endswith("end")
