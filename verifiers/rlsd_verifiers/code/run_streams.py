"""Tests that are inputs and outputs: a whole program reads, prints and ends, once for each."""

import time

from rlsd_sandbox import Ended, Level, Sandbox
from rlsd_verifiers.code.compare import same_output
from rlsd_verifiers.code.extract import Code, to_bytes
from rlsd_verifiers.code.finding import DecidedError, Finding, all_passed, exit_words, limit_exceeded
from rlsd_verifiers.code.tests import Streams
from rlsd_verifiers.verdict import Outcome, shorten

BINARY_MB = 64
"""Longest output of a compiler."""


def run_streams(code: Code, tests: Streams, jail: Sandbox) -> Finding:
    """Run a program on each input, until one output is not the expected one. All of them share the time limit."""
    settings = jail.settings
    deadline = time.monotonic() + settings.timeout_seconds
    jail.start()
    program = _compile(code, jail, deadline) if code.language.compiler else to_bytes(code.text)
    for place, (given, expected) in enumerate(tests.streams, start=1):
        where = f"in test {place} of {len(tests.streams)}"
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return Finding(Outcome.TIMEOUT, f"it took more than {settings.timeout_seconds:g} s {where}")
        ended = jail.execute(code.language.mode, program, given, seconds=seconds)
        if limit := limit_exceeded(ended.end, settings):
            return Finding(limit[0], f"{limit[1]} {where}")
        if ended.status:
            return _failed(ended, where)
        if not same_output(expected, ended.stdout):
            printed = shorten(ended.stdout[:200].decode(errors="replace"))
            wanted = shorten(expected[:200].decode(errors="replace"))
            return Finding(Outcome.WRONG, f"it printed `{printed}`, not `{wanted}`, {where}")
    return all_passed(len(tests.streams))


def _failed(ended: Ended, where: str) -> Finding:
    last = _last_line(ended.stderr)
    if "MemoryError" in last or "std::bad_alloc" in last:
        return Finding(Outcome.MEMORY, f"it ran out of memory {where}")
    is_unreadable = last.startswith(("SyntaxError", "IndentationError", "TabError"))
    outcome = Outcome.UNPARSEABLE if is_unreadable else Outcome.WRONG
    return Finding(outcome, f"it ended with {exit_words(ended)} {where}" + (f": {shorten(last, 120)}" if last else ""))


def _last_line(output: bytes) -> str:
    lines = output[-2000:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _compile(code: Code, jail: Sandbox, deadline: float) -> bytes:
    name, compiler = code.language.name, code.language.compiler[0]
    if not code.language.is_installed:
        raise DecidedError(Outcome.UNPARSEABLE, f"{name} cannot be compiled here: `{compiler}` is not installed")
    if jail.level is Level.LANDLOCK:
        raise DecidedError(
            Outcome.UNPARSEABLE, f"{name} cannot be compiled at level `{jail.level}`: it takes a process"
        )
    seconds = deadline - time.monotonic()
    script, text = code.language.compile_script(), to_bytes(code.text)
    ended = jail.execute("script", script, text, seconds=seconds, output_mb=BINARY_MB)
    if limit := limit_exceeded(ended.end, jail.settings):
        raise DecidedError(limit[0], f"{limit[1]} to compile")
    if ended.status:
        errors = [line for line in ended.stderr.decode(errors="replace").splitlines() if "error" in line]
        raise DecidedError(Outcome.UNPARSEABLE, f"it does not compile: {shorten((errors or [''])[0], 120)}")
    return ended.stdout
