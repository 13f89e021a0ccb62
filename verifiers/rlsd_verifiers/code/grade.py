"""The `code` verifier: a program is right if it passes its tests.

The program runs in a jail that is never told what is expected. Inputs go in, values come out under a number made up for
each call, and they are compared here.
"""

import atexit
import json
import os
import secrets
import signal
import time
from functools import lru_cache
from typing import Any, NamedTuple

from rlsd_sandbox import End, Ended, Level, OverError, RefusedError, Running, Sandbox, SandboxError, Settings
from rlsd_sandbox.values import NotPlainError, decode, encode
from rlsd_verifiers.code.compare import same, same_output
from rlsd_verifiers.code.extract import Code, complete, extract_code
from rlsd_verifiers.code.languages import PYTHON
from rlsd_verifiers.code.tests import BadTestsError, Beside, Call, Calls, Remote, Streams, Tests, read_tests, show
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten

NUM_ATTEMPTS = 2
BINARY_MB = 64
"""Longest output of a compiler."""

_sandboxes: dict[tuple[Settings, str], Sandbox] = {}


class Found(NamedTuple):
    """What became of the tests."""

    outcome: Outcome
    reason: str
    weak: bool = False


def grade_code(submission: Submission, leniency: Leniency, *, sandbox: Settings) -> Verdict:  # noqa: ARG001
    """Run the program of a response against the tests.

    A jail that fails says nothing about the program: it is put up again and the program tried once more, and then the
    outcome is `SANDBOX_ERROR`, which is no verdict.
    """
    try:
        tests = read_tests(submission.tests, submission.entry_point)
    except BadTestsError as error:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, f"tests: {error}")
    code = extract_code(submission.response)
    if code is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, "there is no code")
    name: str | None = None
    try:
        for attempt in range(NUM_ATTEMPTS):
            jail = _sandbox(sandbox, "program")
            try:
                found = _test(code, tests, submission, _Jails(jail, sandbox))
                name = jail.name
                break
            except RefusedError:
                raise
            except SandboxError:
                close()
                if attempt + 1 == NUM_ATTEMPTS:
                    raise
    except SandboxError as error:
        found = Found(Outcome.SANDBOX_ERROR, f"the sandbox failed: {error}")
    score = float(found.outcome is Outcome.CORRECT)
    return Verdict(found.outcome, score, code.text, found.reason, sandbox=name, weak=found.weak)


def close() -> None:
    """Take down the jails of this process; they come up again when needed."""
    while _sandboxes:
        _sandboxes.popitem()[1].close()


atexit.register(close)


def _forget() -> None:
    while _sandboxes:
        _sandboxes.popitem()[1].forget()


os.register_at_fork(after_in_child=_forget)


def _sandbox(settings: Settings, role: str) -> Sandbox:
    """A jail that lives as long as this process: one for programs, another for tests, which never meet."""
    if (settings, role) not in _sandboxes:
        _sandboxes[settings, role] = Sandbox(settings)
    return _sandboxes[settings, role]


class _Jails(NamedTuple):
    program: Sandbox
    settings: Settings

    @property
    def tests(self) -> Sandbox:
        return _sandbox(self.settings, "tests")


def _test(code: Code, tests: Tests, submission: Submission, jails: _Jails) -> Found:
    try:
        if isinstance(tests, Streams):
            return _run_streams(code, tests, jails.program)
        if code.language is not PYTHON:
            return Found(Outcome.WRONG, f"functions are called in Python, and this is {code.language.name}")
        text = _bytes(complete(code.text, submission.question, submission.entry_point))
        jail = jails.program
        with jail.program("functions", text, seconds=jail.settings.timeout_seconds) as running:
            program = _Program(running, jail)
            program.load()
            if isinstance(tests, Calls):
                return _run_calls(tests, program)
            if isinstance(tests, Remote):
                return _run_remote(tests, program, jails)
            return _run_beside(tests, program, jails)
    except _DecidedError as decided:
        return decided.found


class _DecidedError(Exception):
    """The program has failed, and there is nothing more to ask."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.found = Found(outcome, reason)


# -- functions ---------------------------------------------------------------------------------------------------------


class _Program:
    """A module in the jail whose functions are called from here."""

    def __init__(self, running: Running, jail: Sandbox) -> None:
        self.running = running
        self.jail = jail
        self._where = "while it was loaded"

    def load(self) -> None:
        reply = self.ask({})
        if "raised" in reply:
            raise _raised(reply["raised"], self._where, loading=True)

    def call(self, function: str, args: Any, kwargs: Any, *, back: bool = False) -> dict[str, Any]:
        """Its reply to a call with encoded arguments: `value`, `raised`, `missing` or `unplain`."""
        self._where = f"in `{function}`"
        request = {"call": function, "args": args, "kwargs": kwargs}
        return self.ask(request | {"back": True} if back else request)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its reply under the number of the question; anything else it says is no reply."""
        number = secrets.token_hex(16)
        self.running.tell({"id": number} | request)
        return self.hear(number)

    def hear(self, number: str) -> dict[str, Any]:
        try:
            reply = self.running.hear()
        except OverError as over:
            raise _over(over.end, self.running, self.jail, self._where) from None
        if not self.running.seconds_left:
            raise _over(End.TIMEOUT, self.running, self.jail, self._where)
        if reply.get("id") != number or self.running.has_more:
            raise _DecidedError(Outcome.WRONG, f"it wrote into the channel of results {self._where}")
        return reply


def _run_calls(tests: Calls, program: _Program) -> Found:
    for place, call in enumerate(tests.calls, start=1):
        try:
            args, kwargs = encode(list(call.args)), encode(call.kwargs)
        except NotPlainError as error:
            return Found(Outcome.BAD_REFERENCE, f"tests: {call.words}: {error}")
        reply = program.call(call.function, args, kwargs)
        if call.operator in ("true", "false") and "unplain" in reply:
            value = reply.get("truth") is True
        else:
            value = _value(reply, call.words)
        if not _holds(call, value):
            other = "other than " if call.operator == "!=" else ""
            expected = call.operator if call.operator in ("true", "false") else other + show(call.expected)
            reason = f"test {place} of {len(tests.calls)}: {call.words} is {show(value)}, not {expected}"
            return Found(Outcome.WRONG, reason)
    return _passed(len(tests.calls))


def _passed(number: int) -> Found:
    return Found(Outcome.CORRECT, f"it passes {number} test{'s' if number > 1 else ''}")


def _holds(call: Call, value: Any) -> bool:
    if call.operator in ("true", "false"):
        return bool(value) is (call.operator == "true")
    is_same = same(call.expected, value, from_json=call.from_json)
    return is_same is (call.operator == "==")


def _value(reply: dict[str, Any], words: str) -> Any:
    if "raised" in reply:
        raise _raised(reply["raised"], f"in {words}")
    if "missing" in reply:
        raise _DecidedError(Outcome.WRONG, f"there is no function `{shorten(str(reply['missing']))}`")
    if "unplain" in reply:
        raise _DecidedError(Outcome.WRONG, f"{words} is {shorten(str(reply['unplain']))}, which is no plain value")
    try:
        return decode(reply.get("value"))
    except NotPlainError as error:
        raise _DecidedError(Outcome.WRONG, f"{words} is {error}") from None


def _raised(description: Any, where: str, *, loading: bool = False) -> _DecidedError:
    kind, message = (str(part) for part in [*(description if isinstance(description, list) else []), "", ""][:2])
    if kind == "MemoryError":
        return _DecidedError(Outcome.MEMORY, f"it ran out of memory {where}")
    is_unreadable = loading and kind in ("SyntaxError", "IndentationError", "TabError", "UnicodeEncodeError")
    outcome = Outcome.UNPARSEABLE if is_unreadable else Outcome.WRONG
    return _DecidedError(outcome, f"{shorten(f'{kind}: {message}'.removesuffix(': '), 120)} {where}")


def _over(end: End, running: Running, jail: Sandbox, where: str) -> _DecidedError:
    """The program was over before it had answered."""
    settings = jail.settings
    ended = running.end()
    end = ended.end if ended.end is not End.EXITED else end
    if end is End.TIMEOUT:
        return _DecidedError(Outcome.TIMEOUT, f"it took more than {settings.timeout_seconds:g} s {where}")
    return _DecidedError(*_limit(end, settings) or (Outcome.WRONG, f"it ended with {_status(ended)} {where}"))


def _limit(end: End, settings: Settings) -> tuple[Outcome, str] | None:
    limits = {
        End.TIMEOUT: (Outcome.TIMEOUT, f"it took more than {settings.timeout_seconds:g} s"),
        End.MEMORY: (Outcome.MEMORY, f"it took more than {settings.memory_mb} MB"),
        End.OUTPUT: (Outcome.OUTPUT_LIMIT, f"it printed more than {settings.output_mb} MB"),
        End.SCRATCH: (Outcome.WRONG, f"it wrote files of more than {settings.scratch_mb} MB"),
    }
    return limits.get(end)


def _status(ended: Ended) -> str:
    if ended.status >= 0:
        return f"exit status {ended.status}"
    names = {number.value: number.name for number in signal.Signals}
    return names.get(-ended.status, f"signal {-ended.status}")


# -- tests that are programs themselves --------------------------------------------------------------------------------


def _run_remote(tests: Remote, program: _Program, jails: _Jails) -> Found:
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
                words = f"the tests ended with {_status(running.end())}"
                if over.end is End.TIMEOUT or not running.seconds_left:
                    return Found(Outcome.TIMEOUT, f"it took more than {jails.settings.timeout_seconds:g} s")
                return Found(Outcome.WRONG, words) if answered else Found(Outcome.BAD_REFERENCE, f"tests: {words}")
            if "call" in said:
                answered = True
                reply = program.call(said["call"], said["args"], said["kwargs"], back=True)
                raised = reply.get("raised")
                if isinstance(raised, list) and raised[:1] == ["MemoryError"]:
                    raise _raised(raised, f"in `{said['call']}`")
                if "missing" in reply:
                    raise _DecidedError(Outcome.WRONG, f"there is no function `{shorten(str(said['call']))}`")
                running.tell({key: value for key, value in reply.items() if key != "id"})
            elif "unsplittable" in said and answered:
                running.tell({})
            elif said.get("id") == number:
                break
    if "unsplittable" in said:
        return _run_beside(Beside(tests.source, (), tests.suite), program, jails)
    return _as_found(said, tests, jails, answered=answered)


def _run_beside(tests: Beside, program: _Program, jails: _Jails) -> Found:
    """Run the tests beside the program, in its jail: what they find is weak."""
    number = secrets.token_hex(16)
    program.running.tell({"tests": tests.suite.message(), "classes": tests.names}, {"id": number})
    try:
        return _as_found(program.hear(number), tests, jails, answered=True)._replace(weak=True)
    except _DecidedError as decided:
        return decided.found._replace(weak=True)


def _as_found(said: dict[str, Any], tests: Remote | Beside, jails: _Jails, *, answered: bool) -> Found:
    """What a suite found. `answered`: whether the program was asked anything.

    A suite that asserted nothing says nothing of the program, whose fault that is if it chose so: it would escape all
    judgement by answering `[]` to `for x in f(3): assert ...`. So it is wrong if some other answer makes the suite
    assert something, and if none does, the suite is no test.
    """
    if said.get("passed") is not True:
        failed = said.get("failed")
        kind, message, line = [*(failed if isinstance(failed, list) else []), "", "", None][:3]
        if kind == "MemoryError":
            return Found(Outcome.MEMORY, "it ran out of memory in the tests")
        words = f"{kind}: {message}".removesuffix(": ") if kind not in _FAILURES else f"a test fails {message}".rstrip()
        return Found(Outcome.WRONG, shorten(words, 120) + _at(line, tests.source))
    report = said.get("report")
    report = report if isinstance(report, dict) else {}
    if report.get("unsupported"):
        return Found(Outcome.BAD_REFERENCE, f"tests: {shorten(str(report['unsupported']), 120)}")
    if report.get("swallowed"):
        return Found(Outcome.WRONG, f"a test fails and catches that{_at(report['swallowed'], tests.source)}")
    if report.get("held") and answered:
        return Found(Outcome.CORRECT, "it passes the tests")
    if answered and _could_assert(tests, jails.settings):
        return Found(Outcome.WRONG, "with its answers the tests assert nothing, and with others they do")
    skips = ": they are skipped" if report.get("skipped") else ""
    return Found(Outcome.BAD_REFERENCE, f"tests: nothing was asserted when they ran{skips}")


_FAILURES = ("AssertionError", "FailedError")


def _at(line: Any, source: str) -> str:
    lines = source.splitlines()
    return f" at `{shorten(lines[line - 1].strip(), 80)}`" if isinstance(line, int) and 0 < line <= len(lines) else ""


@lru_cache
def _could_assert(tests: Remote | Beside, settings: Settings) -> bool:
    """Whether a suite asserts anything if the program's functions give some other answers; not, if it does not end."""
    modules = tests.modules if isinstance(tests, Remote) else ()
    given = tests.suite.message(probed=True) | {"names": [], "imports": modules}
    number = secrets.token_hex(16)
    jail = _sandbox(settings, "tests")
    with jail.program("tests", json.dumps(given).encode(), seconds=settings.timeout_seconds) as running:
        running.tell({"id": number})
        try:
            said = running.hear()
        except OverError:
            return False
    return bool(said.get("id") == number and said.get("report", {}).get("begun"))


# -- programs that read and print --------------------------------------------------------------------------------------


def _run_streams(code: Code, tests: Streams, jail: Sandbox) -> Found:
    settings = jail.settings
    deadline = time.monotonic() + settings.timeout_seconds
    jail.start()
    program = _compile(code, jail, deadline) if code.language.compiler else _bytes(code.text)
    for place, (given, expected) in enumerate(tests.streams, start=1):
        where = f"in test {place} of {len(tests.streams)}"
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return Found(Outcome.TIMEOUT, f"it took more than {settings.timeout_seconds:g} s {where}")
        ended = jail.execute(code.language.mode, program, given, seconds=seconds)
        if limit := _limit(ended.end, settings):
            return Found(limit[0], f"{limit[1]} {where}")
        if ended.status:
            return _failed(ended, where)
        if not same_output(expected, ended.stdout):
            printed = shorten(ended.stdout[:200].decode(errors="replace"))
            wanted = shorten(expected[:200].decode(errors="replace"))
            return Found(Outcome.WRONG, f"it printed `{printed}`, not `{wanted}`, {where}")
    return _passed(len(tests.streams))


def _failed(ended: Ended, where: str) -> Found:
    last = _last_line(ended.stderr)
    if "MemoryError" in last or "std::bad_alloc" in last:
        return Found(Outcome.MEMORY, f"it ran out of memory {where}")
    is_unreadable = last.startswith(("SyntaxError", "IndentationError", "TabError"))
    outcome = Outcome.UNPARSEABLE if is_unreadable else Outcome.WRONG
    return Found(outcome, f"it ended with {_status(ended)} {where}" + (f": {shorten(last, 120)}" if last else ""))


def _last_line(output: bytes) -> str:
    lines = output[-2000:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _compile(code: Code, jail: Sandbox, deadline: float) -> bytes:
    name, compiler = code.language.name, code.language.compiler[0]
    if not code.language.is_installed:
        raise _DecidedError(Outcome.UNPARSEABLE, f"{name} cannot be compiled here: `{compiler}` is not installed")
    if jail.level is Level.LANDLOCK:
        raise _DecidedError(
            Outcome.UNPARSEABLE, f"{name} cannot be compiled at level `{jail.level}`: it takes a process"
        )
    seconds = deadline - time.monotonic()
    script, text = code.language.compile_script(), _bytes(code.text)
    ended = jail.execute("script", script, text, seconds=seconds, output_mb=BINARY_MB)
    if limit := _limit(ended.end, jail.settings):
        raise _DecidedError(limit[0], f"{limit[1]} to compile")
    if ended.status:
        errors = [line for line in ended.stderr.decode(errors="replace").splitlines() if "error" in line]
        raise _DecidedError(Outcome.UNPARSEABLE, f"it does not compile: {shorten((errors or [''])[0], 120)}")
    return ended.stdout


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
