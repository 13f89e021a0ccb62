"""Programs that do not aim at the jail but at the process that judges them, or at the programs after them."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rlsd_sandbox import Settings
from rlsd_verifiers import Leniency, Outcome, Submission, Verdict
from rlsd_verifiers.code import jails
from rlsd_verifiers.code.extract import extract_code
from rlsd_verifiers.code.grade import grade_code

SETTINGS = Settings(timeout_seconds=3.0)
ADD: Any = [{"args": [2, 3], "expected": 5}, {"args": [1, 1], "expected": 2}]
RIGHT = "def add(a, b):\n    return a + b\n"
ANSWER_BY_ITSELF = """
import json, os, sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        request = frame.f_locals.get("request")
        if isinstance(request, dict) and "id" in request:
            reply = json.dumps({{"id": request["id"], "value": {value}}}).encode() + b"\\n"
            while reply:
                reply = reply[os.write(4, reply):]
            import time
            time.sleep(60)
        frame = frame.f_back
"""


def run(code: str, tests: Any = ADD, entry_point: str | None = "add", settings: Settings = SETTINGS) -> Verdict:
    return grade_code(Submission(code, tests=tests, entry_point=entry_point), Leniency(), sandbox=settings)


@pytest.fixture(autouse=True, scope="module")
def _take_down() -> Iterator[None]:
    yield
    jails.close()


@pytest.mark.parametrize(
    "value",
    [
        '["set", *[(2**61 - 1) * k for k in range(100_000)]]',
        '["dict", *[part for k in range(50_000) for part in ((2**61 - 1) * k, 0)]]',
        '["list", *[["list"]] * 2_000_000]',
        '["float", 10**400]',
        '["complex", 10**400, 1]',
        '["list"' + ', ["list"' * 90 + "]" * 90 + "]",
        '{"a": 1}',
    ],
    ids=["colliding set", "colliding keys", "too large", "float overflow", "complex overflow", "too deep", "an object"],
)
def test_no_forged_value_is_right_or_holds_the_judge_up(value: str) -> None:
    started = time.monotonic()
    verdict = run(ANSWER_BY_ITSELF.format(value=value))
    assert verdict.correct is False
    assert time.monotonic() - started < SETTINGS.timeout_seconds + 1


def test_a_forged_value_that_is_wrong_is_wrong() -> None:
    assert run(ANSWER_BY_ITSELF.format(value=6)).outcome is Outcome.WRONG


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.close(4)", "os.abort()", "os.kill(os.getpid(), 9)"])
def test_a_program_that_ends_early_leaves_the_jail_as_it_was(ending: str) -> None:
    assert run(RIGHT).correct
    jail = jails.Jails(SETTINGS).program
    process = jail._process
    for _ in range(30):
        assert run(f"import os\ndef add(a, b):\n    {ending}\n").outcome is Outcome.WRONG
    assert run(RIGHT).correct
    assert jail._process is process


@pytest.mark.parametrize("level", ["namespaces", "bubblewrap", "landlock"])
def test_a_program_cannot_change_the_limits_of_those_after_it(level: str) -> None:
    settings = SETTINGS._replace(level=level)
    attack = (
        "import os, resource\n"
        "for limit in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):\n"
        "    try:\n        resource.prlimit(os.getppid(), limit, (6, 6))\n    except OSError:\n        pass\n"
    )
    first = run(attack + RIGHT, settings=settings)
    if first.outcome is Outcome.SANDBOX_ERROR:
        pytest.skip(first.reason)
    assert first.correct
    assert run(RIGHT, settings=settings).correct


def test_a_test_loop_is_not_ended_by_the_program() -> None:
    tests = "cases = [((2, 3), 5)]\nassert all(map(lambda case: add(*case[0]) == case[1], cases))\n"
    assert run(RIGHT, tests, None).correct
    assert run("def add(a, b):\n    raise StopIteration\n", tests, None).outcome is Outcome.WRONG


def test_a_program_cannot_have_its_tests_run_beside_it() -> None:
    tests = "for text in ['abc', 'x']:\n    assert decode(encode(text)) == text\n"
    fake = (
        "import rlsd_sandbox.program as program\n"
        "def fake(tests, classes, module, channel):\n"
        "    channel.write({'id': channel.read()['id'], 'passed': True})\n"
        "program._test_inside = fake\n"
        "class Text:\n    pass\n"
        "def encode(text):\n    return {value}\n"
        "def decode(text):\n    return None\n"
    )
    for value in ("Text()", "[[" * 24 + "]]" * 24):
        verdict = run(fake.replace("{value}", value), tests, None)
        assert verdict.outcome is Outcome.WRONG
        assert not verdict.weak


def test_a_program_cannot_make_its_tests_unreadable() -> None:
    tests = "text = add(2, 3)\nprint(text)\nassert text == 5\n"
    verdict = run("def add(a, b):\n    return 'x' * 3_000_000\n", tests * 4, None)
    assert verdict.correct is False


def test_what_a_reason_quotes_can_be_printed() -> None:
    verdict = run("def add(a, b):\n    raise ValueError('\\x1b[31m \\ud800')\n")
    assert verdict.reason.isprintable()


@pytest.mark.parametrize(
    ("expected", "value", "correct"),
    [(10**5000, "huge", True), (10**5000, "huge + 1", False), ({"1": 1}, "{huge: 1}", False)],
    ids=["the same", "another", "a key"],
)
def test_huge_integers_are_compared_and_never_written_out(expected: Any, value: str, correct: bool) -> None:
    verdict = run(f"huge = 10**5000\ndef add(a, b):\n    return {value}", [{"args": [1, 2], "expected": expected}])
    assert verdict.correct is correct


@pytest.mark.parametrize("text", ["~" * 20_000 + "`", "```" + "a" * 200_000 + "`", "```" + " " * 200_000 + "`"])
def test_finding_the_code_takes_linear_time(text: str) -> None:
    started = time.process_time()
    extract_code(text)
    assert time.process_time() - started < 1.0


def test_a_forked_process_puts_up_jails_of_its_own() -> None:
    assert run(RIGHT).correct
    pid = os.fork()
    if not pid:
        os._exit(0 if run(RIGHT).correct else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run(RIGHT).correct
