"""Verifiers that misbehave, for the worker processes of the pool's tests. `Submission.answer` is their argument."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rlsd_verifiers import Leniency, Outcome, Submission, Verdict


def echo(submission: Submission) -> Verdict:
    """The response, and the process that graded it."""
    return Verdict(Outcome.CORRECT, 1.0, submission.response, str(os.getpid()))


def echo_slowly(submission: Submission) -> Verdict:
    time.sleep(0.005)
    return echo(submission)


def echo_all(submission: Submission, leniency: Leniency) -> Verdict:
    return Verdict(Outcome.CORRECT, 1.0, None, repr((submission, leniency)))


def evaluate(submission: Submission) -> Any:
    """Whatever the answer says, in Python."""
    return eval(submission.answer or "")


def sleep(submission: Submission) -> bool:
    time.sleep(float(submission.answer or 100))
    return True


def compute(_: Submission) -> bool:
    return bool(10**10**8)


def backtrack(_: Submission) -> bool:
    return bool(re.match(r"(a|a)*$", "a" * 60 + "b"))


def stop(_: Submission) -> bool:
    os.kill(os.getpid(), signal.SIGSTOP)
    return True


def fail(_: Submission) -> bool:
    raise ZeroDivisionError("on purpose")


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no message")


def fail_mutely(_: Submission) -> bool:
    raise MuteError


def leave(_: Submission) -> bool:
    sys.exit(3)


def recurse(submission: Submission) -> bool:
    return not recurse(submission)


def allocate(submission: Submission) -> bool:
    return bool(bytearray(int(submission.answer or 2**31)))


def hoard(_: Submission) -> bool:
    """Exhausts the memory to the last small piece, so that nothing is left for whoever catches the error."""
    pieces: list[Any] = []
    size = 2**24
    while True:
        try:
            pieces.append(bytes(size))
        except MemoryError:
            if size == 1:
                raise
            size //= 2


def leave_at_once(_: Submission) -> bool:
    os._exit(3)


def die(_: Submission) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return False


def die_once(submission: Submission) -> bool:
    """Dies unless the file in `answer` exists, and makes it. The second time it sleeps as long as `response` says."""
    if (mark := Path(submission.answer or "")).exists():
        mark.with_suffix(".again").touch()
        time.sleep(float(submission.response or 0))
        return True
    mark.touch()
    return die(submission)


def crash(_: Submission) -> bool:
    return bool(ctypes.string_at(0))


def close_everything(_: Submission) -> bool:
    os.closerange(3, 1000)
    return True


def chatter(_: Submission) -> bool:
    sys.stdout.write("noise\n" * 100_000)
    os.write(1, b"noise")
    return not sys.stdin.read()


def abandon_a_child(_: Submission) -> bool:
    os.system("sleep 1000 &")
    os._exit(3)


def have_a_child(_: Submission) -> Verdict:
    child = subprocess.Popen(["sleep", "1000"])
    return Verdict(Outcome.CORRECT, 1.0, None, str(child.pid))


def meet(submission: Submission) -> bool:
    """True once the file named by the answer is there, after making the one named by the response."""
    Path(submission.response).touch()
    while not Path(submission.answer or "").exists():
        time.sleep(0.005)
    return True
