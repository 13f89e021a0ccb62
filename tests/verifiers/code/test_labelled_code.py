"""Labelled programs, hostile and real, where the data lies beside the checkout."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd_sandbox import RefusedError, Sandbox, Settings
from rlsd_verifiers.code import grade
from rlsd_verifiers.code.grade import grade_code
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.verdict import Submission, Verdict

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "verifier_data"
pytestmark = pytest.mark.skipif(
    not (DATA / "hostile_code_problem.json").is_file(), reason="the labelled programs are not beside this checkout"
)

HOSTILE = Settings(timeout_seconds=4.0, memory_mb=512)
CONTROL, ENDLESS = HOSTILE._replace(timeout_seconds=5.0), HOSTILE._replace(timeout_seconds=0.5)
REAL = Settings(timeout_seconds=15.0)
GRACE_SECONDS = 1.0
FAILED = {"wrong", "no_answer", "unparseable"}
OUTCOMES = {
    "pass": {"correct"},
    "fail": FAILED,
    "error": FAILED,
    "timeout": {"timeout"},
    "memory": {"memory"},
    "output_limit": {"output_limit"},
}
ALSO = {"thread_bomb": {"memory"}}
"""Threads take address space, and which limit a bomb meets first is up to the machine."""

Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def jails() -> Iterator[None]:
    with Sandbox() as sandbox:
        try:
            sandbox.start()
        except RefusedError as error:
            pytest.skip(f"no jail can be had: {error}")
    yield
    grade.close()


def read(name: str) -> list[Row]:
    path = DATA / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def graded(row: Row, tests: object, entry_point: str | None, sandbox: Settings) -> Verdict:
    return grade_code(
        Submission(f"```python\n{row['code']}\n```", tests=tests, entry_point=entry_point), Leniency(), sandbox=sandbox
    )


def expected(row: Row) -> set[str]:
    return set().union(*(OUTCOMES[word] for word in row["expected_verdict"].split("|")), ALSO.get(row["id"], set()))


HOSTILE_ROWS = read("hostile_code_submissions.jsonl")


@pytest.mark.parametrize("row", HOSTILE_ROWS, ids=[row["id"] for row in HOSTILE_ROWS])
def test_a_control_passes_and_a_hostile_program_does_not_and_neither_takes_longer_than_it_may(row: Row) -> None:
    problem = json.loads((DATA / "hostile_code_problem.json").read_text(encoding="utf-8"))[row["problem"]][row["mode"]]
    sandbox = CONTROL if row["control"] else ENDLESS if row["expected_verdict"] == "timeout" else HOSTILE
    started = time.monotonic()
    verdict = graded(row, problem["tests"], problem.get("entry_point"), sandbox)
    assert time.monotonic() - started < sandbox.timeout_seconds + GRACE_SECONDS
    assert verdict.outcome in expected(row), verdict.reason
    assert verdict.outcome == "correct" or not row["control"], verdict.reason
    assert not verdict.weak


@pytest.mark.slow
@pytest.mark.parametrize("row", HOSTILE_ROWS, ids=[row["id"] for row in HOSTILE_ROWS])
@pytest.mark.parametrize("way", ["check", "remote"])
def test_the_way_that_tests_are_written_changes_nothing(row: Row, way: str) -> None:
    problem = json.loads((DATA / "hostile_code_problem.json").read_text(encoding="utf-8"))[row["problem"]][row["mode"]]
    if row["mode"] != "function":
        pytest.skip("the tests of this row are inputs and outputs")
    tests = problem["assert_style"]
    if way == "remote":
        tests += "    for a in range(5):\n        assert candidate(a, 1) == a + 1\n"
    sandbox = CONTROL if row["control"] else ENDLESS if row["expected_verdict"] == "timeout" else HOSTILE
    started = time.monotonic()
    verdict = graded(row, tests, problem["entry_point"], sandbox)
    assert time.monotonic() - started < sandbox.timeout_seconds + GRACE_SECONDS
    assert verdict.outcome in expected(row), verdict.reason
    assert not verdict.weak


FILES = ["code_humaneval.jsonl", "code_mbpp.jsonl"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("one_in", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_canonical_solutions_pass_and_none_of_them_weakly(name: str, one_in: int) -> None:
    rows = [row for row in read(name) if row["kind"] == "canonical"][::one_in]
    assert len(rows) > 20
    verdicts = {row["task_id"]: graded(row, row["tests"], row["entry_point"], REAL) for row in rows}
    assert {task: found.reason for task, found in verdicts.items() if found.outcome != "correct" or found.weak} == {}


def check_mutants(rows: list[Row], sandbox: Settings) -> None:
    found = {}
    for row in rows:
        verdict = graded(row, row["tests"], row["entry_point"], sandbox)
        if verdict.outcome not in OUTCOMES[row["expected_verdict"]]:
            found[row["task_id"], row["mutation"]] = verdict.reason
    assert found == {}


@pytest.mark.parametrize("name", FILES)
def test_some_mutants_fail(name: str) -> None:
    rows = [row for row in read(name) if row["kind"] == "mutant" and row["expected_verdict"] == "fail"]
    assert len(rows) > 300
    check_mutants(rows[::12], REAL)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_mutant_fails_as_it_should(name: str) -> None:
    check_mutants([row for row in read(name) if row["kind"] == "mutant"], Settings(timeout_seconds=3.0))


@pytest.mark.parametrize("place", range(6))
def test_programs_that_read_and_print_are_judged_as_labelled(place: int) -> None:
    row = [row for row in read("code_stdio_tests.jsonl") if row["mode"] == "stdio"][place]
    tests = [{"input": given, "output": wanted} for given, wanted in zip(row["inputs"], row["outputs"], strict=True)]
    verdict = graded(row, tests[:100], None, REAL)
    assert verdict.outcome in OUTCOMES[row["expected_verdict"]], verdict.reason
