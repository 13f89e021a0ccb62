from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rlsd_sandbox.values import encode
from rlsd_verifiers import Outcome, Pool, Submission, Verdict, verify_all

pytestmark = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="the package reasoning-gym is not installed")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, timeout_seconds=20) as pool:
        yield pool


def row_of(task: str, answer: str | None, settings: object = None, **metadata: Any) -> object:
    entry = {"question": "?", "answer": answer, "metadata": metadata}
    return [{"task": task, "settings": settings or {}, "entry": encode(entry)}]


CHAIN = row_of("chain_sum", "12")
LADDER = row_of("word_ladder", "COLD,CORD,CARD", start_word="COLD", end_word="CARD", word_length=4)
COUNTDOWN = row_of("countdown", "2*5", numbers=[2, 5], target=10)
PRIMES = row_of("prime_factorization", "2 × 3", number=6, factors=[2, 3])

ROWS: list[tuple[str, object, Outcome, float]] = [
    (r"so it is \boxed{12}", CHAIN, Outcome.CORRECT, 1.0),
    ("it is <answer>12</answer>", CHAIN, Outcome.CORRECT, 1.0),
    ("12", CHAIN, Outcome.CORRECT, 1.0),
    (r"\boxed{13}", CHAIN, Outcome.WRONG, 0.0),
    (r"\boxed{11, 12, 13}", CHAIN, Outcome.WRONG, 0.0),
    ("first 11,\nthen 12, I think", CHAIN, Outcome.NO_ANSWER, 0.0),
    ("<think>12", CHAIN, Outcome.NO_ANSWER, 0.0),
    (r"\boxed{COLD,CXLD,CARD}", LADDER, Outcome.WRONG, 0.0),
    (r"\boxed{COLD,CORD,CARD}", LADDER, Outcome.CORRECT, 1.0),
    (r"\boxed{5*2}", COUNTDOWN, Outcome.CORRECT, 1.0),
    (r"\boxed{5+2}", COUNTDOWN, Outcome.WRONG, 0.0),
    (r"\boxed{two and three}", PRIMES, Outcome.UNPARSEABLE, 0.0),
    (r"\boxed{12}", None, Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", "assert True", Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", [{"task": "chain_sum", "entry": {"answer": "12"}}], Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", [{"task": "chain_sum", "entry": encode([1])}], Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", row_of("chain_sums", "12"), Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", row_of("puzzle24", "12"), Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", row_of("chain_sum", "12", {"no_such": 1}), Outcome.BAD_REFERENCE, 0.0),
    (r"\boxed{12}", row_of("countdown", None), Outcome.WRONG, 0.0),
    (r"\boxed{12}", row_of("bitwise_arithmetic", "12", problem="(0x5 - 0x1)"), Outcome.WRONG, 0.0),
    (r"\boxed{0x4}", row_of("bitwise_arithmetic", "0x4", problem="(0x5 - 0x1)"), Outcome.CORRECT, 1.0),
    (r"\boxed{3}", row_of("word_ladder", "COLD"), Outcome.BAD_REFERENCE, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("response", "tests", "outcome", "score"), ROWS)
def test_the_marks_of_the_task_decide(response: str, tests: object, outcome: Outcome, score: float, pool: Pool) -> None:
    verdict = grade(pool, response, tests)
    assert (verdict.outcome, verdict.score) == (outcome, score), verdict.reason


def test_partial_marks_are_named_and_not_given(pool: Pool) -> None:
    verdict = grade(pool, r"\boxed{11, 12, 13}", CHAIN)
    assert verdict.reason == "`11, 12, 13` (boxed) gets 0.25 of 1 in `chain_sum`"


@pytest.mark.parametrize(("settings", "correct"), [({}, False), ({"max_num_decimal_places": 1}, True)])
def test_settings_reach_the_scorer(settings: dict[str, int], correct: bool, pool: Pool) -> None:
    row = [{"task": "decimal_arithmetic", "settings": settings, "entry": encode({"answer": "1.12", "metadata": {}})}]
    assert grade(pool, r"\boxed{1.20}", row).correct is correct


HOSTILE = [
    "__import__('pathlib').Path({!r}).touch()",
    "[__import__('pathlib').Path({!r}).touch()]",
    "(lambda: open({!r}, 'w'))()",
    "x if open({!r}, 'w') else x",
    "3! + open({!r}, 'w').close()",
    "S('open({0!r})') + open({0!r}, 'w').name",
    "ｏpen({!r}, 'w')",
]
EVALUATING = [
    "string_insertion", "spiral_matrix", "binary_matrix", "n_queens", "countdown", "simple_integration",
    "intermediate_integration", "polynomial_multiplication",
]  # fmt: skip


@pytest.mark.parametrize("answer", HOSTILE)
def test_no_answer_is_run_as_a_program(answer: str, pool: Pool, tmp_path: Path) -> None:
    target = tmp_path / "made"
    metadata = {"variable": "x", "integrand": "2*x", "numbers": [2, 5], "target": 10, "valid_answers": ["Q"]}
    rows = [row_of(task, "x**2", **metadata) for task in EVALUATING]
    verdicts = [grade(pool, rf"\boxed{{{answer.format(str(target))}}}", row) for row in rows]
    assert not target.exists()
    assert not any(verdict.correct for verdict in verdicts)
    assert {verdict.outcome for verdict in verdicts} <= {Outcome.WRONG, Outcome.UNPARSEABLE}


def test_no_text_within_an_answer_is_run_as_a_program(pool: Pool, tmp_path: Path) -> None:
    target = tmp_path / "made"
    text = "".join(f"\\{ord(character):03o}" for character in HOSTILE[0].format(str(target)))
    assert not grade(pool, rf"\boxed{{S('{text}')}}", row_of("countdown", "2*5", numbers=[2, 5], target=10)).correct
    assert not target.exists()


def test_no_entry_is_run_as_a_program(pool: Pool, tmp_path: Path) -> None:
    target = tmp_path / "made"
    code = HOSTILE[0].format(str(target))
    rows = [
        row_of("bitwise_arithmetic", "1", problem=code),
        row_of("number_sorting", code, direction="ascending"),
        row_of("simple_integration", "x", variable="x", integrand=code),
        row_of("polynomial_multiplication", code),
    ]
    assert not any(grade(pool, r"\boxed{[1]}", row).correct for row in rows)
    assert not target.exists()


@pytest.mark.parametrize(
    ("task", "answer", "response"),
    [("simple_integration", "x**2 + C", "x**2 + 7"), ("intermediate_integration", "x**2 + C", "x*x - 1 + C"),
     ("polynomial_multiplication", "x**2 - 1", "-1 + x**2")],
)  # fmt: skip
def test_formulas_are_still_read(task: str, answer: str, response: str, pool: Pool) -> None:
    assert grade(pool, rf"\boxed{{{response}}}", row_of(task, answer, variable="x", integrand="2*x")).correct


def grade(pool: Pool, response: str, tests: object) -> Verdict:
    return verify_all([Submission(response, tests=tests)], "gym", pool=pool)[0]
