"""The process that runs thorough verifiers: one JSON value a line in, one a line out, until its input ends.

A line `[path]` loads a verifier or a reward function and is answered with `[]`; a line `[path, submission, leniency]`,
for a reward function `[path, submissions, options]`, is answered with a verdict. The parent measures the time and
kills: nothing in here can be relied on to return.
"""

import ctypes
import faulthandler
import functools
import gc
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from rlsd_sandbox.settings import Settings
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.process import decode, encode
from rlsd_verifiers.registry import UnknownVerifierError, describe, is_jailed, load
from rlsd_verifiers.rewards import MARK, called, in_words
from rlsd_verifiers.verdict import Outcome, Submission, Verdict

try:
    import resource
except ImportError:  # not on this platform: no limit of memory
    resource = None  # type: ignore[assignment]

GRACE_SECONDS = 2
"""How long after its time limit a worker ends itself, if nobody killed it."""

_PR_SET_PDEATHSIG = 1

Grade = Callable[[Submission, Leniency], object]
Work = Callable[[list[Any], Any], Verdict]
"""What is done with the rest of a line."""


def main(lines: BinaryIO, answers: BinaryIO, limits: list[Any], *, remote: bool) -> None:
    """Serve the parent within `Limits`; from another machine it cannot kill, so a `remote` process ends itself."""
    timeout_seconds, memory_mb, _, sandbox = limits
    settings = Settings.of(sandbox)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_no_core_file()
    ends_with_the_parent = _end_with_the_parent() and not remote

    def answer(value: object) -> None:
        answers.write(encode(value))
        answers.flush()

    loaded: dict[str, Work] = {}
    while line := lines.readline():
        started = time.perf_counter()
        verdict = None
        with suppress(MemoryError):
            path, *item = decode(line)
            if not item:
                _limit_memory(None)
                loaded[path] = _prepare(path, settings)
                gc.freeze()
                _limit_memory(memory_mb)
                answer([])
                continue
            if not (ends_with_the_parent or is_jailed(path)):
                faulthandler.dump_traceback_later(timeout_seconds + GRACE_SECONDS, exit=True, file=2)
            verdict = loaded[path](*item)
            faulthandler.cancel_dump_traceback_later()
        if verdict is None:
            _limit_memory(None)
            reason = f"grading took more than {memory_mb} MB"
            answer(Verdict(Outcome.MEMORY, 0.0, None, reason, time.perf_counter() - started))
            break
        answer(verdict._replace(seconds=time.perf_counter() - started))
    for _ in lines:  # until the parent kills
        pass


def _end_with_the_parent() -> bool:
    """Have the system kill this process when the thread that started it ends. True where the system can."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    return False


def _leave_no_core_file() -> None:
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_memory(megabytes: int | None) -> None:
    """Allow this much address space beyond what is in use now; None lifts the limit."""
    if resource is None or not Path("/proc/self/statm").exists():
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = hard
    if megabytes is not None:
        in_use = int(Path("/proc/self/statm").read_bytes().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = in_use + megabytes * 2**20
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _prepare(path: str, settings: Settings) -> Work:
    """What the function at a path does with a row; where it does not load, every row is given the reason."""
    is_reward = path.startswith(MARK)
    try:
        function = load(path.removeprefix(MARK), "reward function" if is_reward else "verifier")
    except UnknownVerifierError as error:
        verdict = Verdict(Outcome.INVALID_ROW, 0.0, None, str(error))
    except BaseException as error:
        verdict = Verdict(Outcome.CRASH, 0.0, None, f"{in_words(path)} does not load: {describe(error)}")
    else:
        if is_reward:
            return functools.partial(_reward, function)
        function = functools.partial(function, sandbox=settings) if is_jailed(path) else function
        return functools.partial(_grade, _with_leniency(function))
    return lambda _, __: verdict


def _with_leniency(function: Callable[..., Any]) -> Grade:
    """Call a verifier that does not ask for the leniency without it: it has no second argument, or another one."""
    try:
        rest = [*inspect.signature(function).parameters.values()][1:]
    except (TypeError, ValueError):
        rest = []
    if any(p.name == "leniency" and p.kind is p.KEYWORD_ONLY for p in rest):
        return lambda submission, leniency: function(submission, leniency=leniency)
    if any(p.kind <= p.POSITIONAL_OR_KEYWORD and (p.name == "leniency" or p.default is p.empty) for p in rest[:1]):
        return function
    return lambda submission, _: function(submission)


def _grade(grade: Grade, submission: list[Any], leniency: list[Any]) -> Verdict:
    """The verdict of a verifier, or the outcome `crash` where it raised an exception."""
    try:
        return _as_verdict(grade(_submission(submission), Leniency(*leniency)))
    except MemoryError:
        raise
    except BaseException as error:
        return Verdict(Outcome.CRASH, 0.0, None, f"the verifier failed with {describe(error)}")


def _reward(function: Callable[..., Any], submissions: list[list[Any]], options: dict[str, Any]) -> Verdict:
    """What a reward function returned, or the outcome `crash` where it raised an exception or returned no numbers."""
    try:
        return called(function, [*map(_submission, submissions)], options)
    except MemoryError:
        raise
    except BaseException as error:
        return Verdict(Outcome.CRASH, 0.0, None, f"it failed with {describe(error)}")


def _submission(fields: list[Any]) -> Submission:
    given = Submission(*fields)
    return given._replace(choices=None if given.choices is None else tuple(given.choices))


def _as_verdict(result: object) -> Verdict:
    """Check what a verifier returned. A truth value or a score in 0..1 is a verdict too."""
    if isinstance(result, Verdict):
        if not isinstance(result.score, int | float) or not 0 <= result.score <= 1:
            raise ValueError(f"it gave a score of {result.score!r}, which is not in 0..1")
        if not isinstance(result.extracted, str | None) or not isinstance(result.reason, str):
            raise TypeError("its verdict's `extracted` and `reason` must be text")
        return result._replace(outcome=Outcome(result.outcome), score=float(result.score))
    if not isinstance(result, int | float):
        raise TypeError(f"it returned {type(result).__name__}, not a Verdict, a bool or a score")
    if not 0 <= result <= 1:
        raise ValueError(f"it returned {result!r}, which is not in 0..1")
    outcome = Outcome.CORRECT if result == 1 else Outcome.WRONG
    return Verdict(outcome, float(result), None, f"the verifier returned {result!r}")
