"""Tests that are programs themselves: a suite runs in a jail of its own, or beside the program where it must."""

import json
import secrets
from functools import lru_cache
from typing import Any

from rlsd_sandbox import End, OverError, Settings
from rlsd_verifiers.code.finding import DecidedError, Finding, exit_words, raised_error
from rlsd_verifiers.code.jails import Jails
from rlsd_verifiers.code.module import JailedModule
from rlsd_verifiers.code.tests import Beside, Remote
from rlsd_verifiers.verdict import Outcome, shorten


def run_remote(tests: Remote, program: JailedModule, jails: Jails) -> Finding:
    """Run the tests in a jail of their own. Their calls go through here into the program's jail and back."""
    given = tests.suite.message() | {"names": tests.functions, "imports": tests.modules}
    number = secrets.token_hex(16)
    with jails.tests.program(
        "tests", json.dumps(given).encode(), seconds=program.running.seconds_left + 0.5
    ) as running:
        running.tell({"id": number})
        answered = False
        while True:
            try:
                said = running.hear()
            except OverError as over:
                words = f"the tests ended with {exit_words(running.end())}"
                if over.end is End.TIMEOUT or not running.seconds_left:
                    return Finding(Outcome.TIMEOUT, f"it took more than {jails.settings.timeout_seconds:g} s")
                return Finding(Outcome.WRONG, words) if answered else Finding(Outcome.BAD_REFERENCE, f"tests: {words}")
            if "call" in said:
                answered = True
                running.tell(_forward(said, program))
            elif "unsplittable" in said and answered:
                running.tell({})
            elif said.get("id") == number:
                break
    if "unsplittable" in said:
        return run_beside(Beside(tests.source, (), tests.suite), program, jails)
    return _finding(said, tests, jails, answered=answered)


def _forward(said: dict[str, Any], program: JailedModule) -> dict[str, Any]:
    """Call a function of the program for the tests, and return its reply without the number.

    Raises:
        DecidedError: it ran out of memory, or there is no such function.
    """
    reply = program.call(said["call"], said["args"], said["kwargs"], back=True)
    raised = reply.get("raised")
    if isinstance(raised, list) and raised[:1] == ["MemoryError"]:
        raise raised_error(raised, f"in `{said['call']}`")
    if "missing" in reply:
        raise DecidedError(Outcome.WRONG, f"there is no function `{shorten(str(said['call']))}`")
    return {key: value for key, value in reply.items() if key != "id"}


def run_beside(tests: Beside, program: JailedModule, jails: Jails) -> Finding:
    """Run the tests beside the program, in its jail. What they find is weak."""
    number = secrets.token_hex(16)
    program.running.tell({"tests": tests.suite.message(), "classes": tests.names}, {"id": number})
    try:
        return _finding(program.hear(number), tests, jails, answered=True)._replace(weak=True)
    except DecidedError as decided:
        return decided.finding._replace(weak=True)


def _finding(said: dict[str, Any], tests: Remote | Beside, jails: Jails, *, answered: bool) -> Finding:
    """What a suite found; `answered` is True where the program was asked anything.

    A suite that asserted nothing says nothing of the program, whose fault that is if it chose so: it would escape all
    judgement by answering `[]` to `for x in f(3): assert ...`. So it is wrong if some other answer makes the suite
    assert something, and if none does, the suite is no test.
    """
    if said.get("passed") is not True:
        failed = said.get("failed")
        kind, message, line = [*(failed if isinstance(failed, list) else []), "", "", None][:3]
        if kind == "MemoryError":
            return Finding(Outcome.MEMORY, "it ran out of memory in the tests")
        words = f"{kind}: {message}".removesuffix(": ") if kind not in _FAILURES else f"a test fails {message}".rstrip()
        return Finding(Outcome.WRONG, shorten(words, 120) + _at(line, tests.source))
    report = said.get("report")
    report = report if isinstance(report, dict) else {}
    if report.get("unsupported"):
        return Finding(Outcome.BAD_REFERENCE, f"tests: {shorten(str(report['unsupported']), 120)}")
    if line := report.get("swallowed"):
        return Finding(Outcome.WRONG, f"a test catches the failure of its own assertion{_at(line, tests.source)}")
    if report.get("held") and answered:
        return Finding(Outcome.CORRECT, "it passes the tests")
    if answered and _could_assert(tests, jails.settings):
        return Finding(Outcome.WRONG, "with its answers the tests assert nothing, and with others they do")
    skips = ": they are skipped" if report.get("skipped") else ""
    return Finding(Outcome.BAD_REFERENCE, f"tests: nothing was asserted when they ran{skips}")


_FAILURES = ("AssertionError", "FailedError")


def _at(line: Any, source: str) -> str:
    lines = source.splitlines()
    return f" at `{shorten(lines[line - 1].strip(), 80)}`" if isinstance(line, int) and 0 < line <= len(lines) else ""


@lru_cache
def _could_assert(tests: Remote | Beside, settings: Settings) -> bool:
    """True where a suite that ends asserts something of other answers than the program's."""
    modules = tests.modules if isinstance(tests, Remote) else ()
    given = tests.suite.message(probed=True) | {"names": [], "imports": modules}
    number = secrets.token_hex(16)
    jail = Jails(settings).tests
    with jail.program("tests", json.dumps(given).encode(), seconds=settings.timeout_seconds) as running:
        running.tell({"id": number})
        try:
            said = running.hear()
        except OverError:
            return False
    return bool(said.get("id") == number and said.get("report", {}).get("begun"))
