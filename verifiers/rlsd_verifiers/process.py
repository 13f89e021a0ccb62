"""A worker process as its parent sees it: started, fed, timed and killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rlsd_sandbox.settings import Settings
from rlsd_verifiers.rewards import in_words
from rlsd_verifiers.verdict import Outcome, Verdict

START_SECONDS = 60.0
"""How long a worker may take to start and load a verifier, before its first row."""

END_SECONDS = 3.0
"""How long a worker may take to take its jails down."""

PREFETCH_BYTES = 2**14
"""A longer line is sent when the worker waits for it: to a busy one, sending it might block."""

_START = Path(__file__).with_name("start.py")


def encode(value: object) -> bytes:
    """A line of JSON. Lone surrogates survive, and so do two of them that are not one character."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def decode(line: bytes) -> Any:
    """What `encode` was given, but for tuples."""
    return json.loads(line.decode("utf-8", "surrogatepass"))


class Line(Protocol):
    """A row as it is sent.

    path: the import path of its verifier, or that of its reward function after a mark.
    encoded: `encode([path, submission, leniency])`, or for a reward function `encode([path, submissions, options])`.
    jailed: whether its verifier has a sandbox.
    """

    path: str
    encoded: bytes
    jailed: bool


class Limits(NamedTuple):
    """The limits of a row, of how many rows a process grades, and of a program in its jail."""

    timeout_seconds: float
    memory_mb: int
    recycle_after: int
    sandbox: Settings

    @property
    def jailed_seconds(self) -> float:
        """How long a verifier with a sandbox may take at worst: two attempts, each with two jails to put up."""
        return 2 * (self.sandbox.timeout_seconds + 60)


class Worker:
    """A process that grades lines, until `fit` is False.

    `launcher`: a command that starts it on another machine, with the same files, and connects its input and output.
    """

    def __init__(self, limits: Limits, unloadable: set[str], launcher: Sequence[str] = ()) -> None:
        self.fit = True
        self._unloadable = unloadable
        self._limits = limits
        self._loaded: set[str] = set()
        self._jailed = False
        self._sent = 0
        self._graded = 0
        self._received = bytearray()
        self._socket, theirs = socket.socketpair()
        with theirs:
            for end, option in ((self._socket, socket.SO_SNDBUF), (theirs, socket.SO_RCVBUF)):
                end.setsockopt(socket.SOL_SOCKET, option, 16 * PREFETCH_BYTES)
            clean = {"PYTHONPATH": "", "PYTHONHASHSEED": "0"}
            away = [*launcher, "env", *(f"{name}={value}" for name, value in clean.items())] if launcher else []
            try:
                self._process = subprocess.Popen(
                    [*away, sys.executable, "-s", "-S", "-P", str(_START)],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env=os.environ | clean,
                )
            except BaseException:
                self._socket.close()
                raise
        with suppress(OSError):  # one that is dead already says so when it is asked
            self._send(encode([[*map(os.path.abspath, sys.path)], limits, bool(launcher)]))

    def grade(self, lines: Sequence[Line]) -> Verdict:
        """The verdict on the first line; the others are sent ahead, to be the first of a later call.

        Raises:
            Exception: the process died.
        """
        for line in lines[self._sent :]:
            if line.path not in self._loaded:
                if self._sent:
                    break
                if line.path in self._unloadable or not self._load(line.path):
                    reason = f"{in_words(line.path)} did not load within {START_SECONDS:g} s"
                    return Verdict(Outcome.CRASH, 0.0, None, reason)
            elif self._sent and len(line.encoded) > PREFETCH_BYTES:
                break
            self._send(line.encoded)
            self._sent += 1
        jailed = lines[0].jailed
        limit = self._limits.jailed_seconds if jailed else self._limits.timeout_seconds
        try:
            outcome, *found, rewards = decode(self._receive(limit))
        except TimeoutError:
            self.fit = False
            outcome = Outcome.SANDBOX_ERROR if jailed else Outcome.TIMEOUT
            return Verdict(outcome, 0.0, None, f"grading took more than {limit:g} s", limit)
        verdict = Verdict(Outcome(outcome), *found)._replace(rewards=tuple(rewards))
        self._jailed |= jailed
        self._sent -= 1
        self._graded += 1
        self.fit = verdict.outcome is not Outcome.MEMORY and self._graded < self._limits.recycle_after
        return verdict

    def hang_up(self) -> None:
        """End the process, and a call that waits for it. Any thread may call this."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def kill(self) -> str:
        """End the process and all that it started, and return how it ended: `SIGKILL`, `exit status 3`.

        One that waits for rows and has a jail is left a moment to take it down.
        """
        if self._jailed and self._sent == 0:
            self.hang_up()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        self._socket.close()
        names = {number.value: number.name for number in signal.Signals}
        return f"exit status {status}" if status >= 0 else names.get(-status, f"signal {-status}")

    def _load(self, path: str) -> bool:
        self._send(encode([path]))
        try:
            self._receive(START_SECONDS)
        except TimeoutError:
            self.fit = False
            self._unloadable.add(path)
            return False
        self._loaded.add(path)
        return True

    def _send(self, line: bytes) -> None:
        self._socket.settimeout(START_SECONDS)
        try:
            self._socket.sendall(line)
        except TimeoutError:
            raise ConnectionError("the worker does not read") from None

    def _receive(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        start = 0
        while (end := self._received.find(b"\n", start)) < 0:
            start = len(self._received)
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            chunk = self._socket.recv(2**18)
            if not chunk:
                raise EOFError
            self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line
