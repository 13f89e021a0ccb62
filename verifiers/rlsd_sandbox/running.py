"""A program in a jail while it runs: questions go in, answers come out, and time, output and replies are bounded."""

import json
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import StrEnum
from typing import Any, NamedTuple

KEPT_CHARS = 2000
"""Characters of the end of what a program printed that are kept where nobody asked for the whole."""

MAX_REPLY_BYTES = 2**22


class End(StrEnum):
    """Why a program ended."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    SCRATCH = "scratch"


class Ended(NamedTuple):
    """How a program ended; `status` is its exit status, or minus the number of the signal that killed it."""

    end: End
    status: int
    stdout: bytes
    stderr: bytes
    cpu_seconds: float


class OverError(Exception):
    """The program has ended and will not answer any more."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


class Running:
    """The conversation with a running program, its output and its clock.

    finish: kills the program if asked, and reports how it ended.
    control: the socket to the zygote, readable once the program is over.
    opened: closes what is opened here.
    """

    def __init__(
        self,
        finish: Callable[[bool], dict[str, Any]],
        control: socket.socket,
        opened: ExitStack,
        *,
        seconds: float,
        max_output_bytes: int,
    ) -> None:
        self._finish = finish
        self._opened = opened
        self._deadline = time.monotonic() + seconds
        self._max_output_bytes = max_output_bytes
        self._theirs: list[int] = []
        self._outputs: dict[int, bytearray] = {}
        self._stdout: bytearray = bytearray()
        self._stderr: bytearray = bytearray()
        self._keep_all = False
        self._channel: socket.socket | None = None
        self._received = bytearray()
        self._to_send = memoryview(b"")
        self._num_output_bytes = 0
        self._why: End | None = None
        self._exited = False
        self._ended: Ended | None = None
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def open_outputs(self, *, separate: bool) -> list[int]:
        """Open standard output and error, and return the program's ends. Only separate ones are kept whole."""
        self._keep_all = separate
        out = self._open_output(self._stdout)
        return [out, self._open_output(self._stderr) if separate else out]

    def _open_output(self, kept: bytearray) -> int:
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        self._opened.callback(os.close, ours)
        self._outputs[ours] = kept
        self._poll.register(ours, select.POLLIN)
        self._theirs.append(theirs)
        return theirs

    def open_channel(self) -> int:
        """Open the conversation, and return the program's end."""
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        self._poll.register(self._channel, select.POLLIN)
        self._opened.enter_context(self._channel)
        self._theirs.append(theirs.detach())
        return self._theirs[-1]

    def started(self) -> None:
        """Close the program's ends here, once it has them."""
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs.clear()

    @property
    def seconds_left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    def tell(self, *messages: dict[str, Any]) -> None:
        """Send lines without waiting for an answer."""
        lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        self._to_send = memoryview(bytes(self._to_send) + lines)
        self._send()

    def hear(self) -> dict[str, Any]:
        """The next line that the program writes.

        Raises:
            OverError: it ended instead, or went over a limit.
        """
        while (place := self._received.find(b"\n")) < 0:
            if len(self._received) > MAX_REPLY_BYTES:
                self._give_up(End.OUTPUT)
            if self._exited or self._channel is None:
                raise OverError(self._why or End.EXITED)
            self._pump()
        line = bytes(self._received[:place])
        del self._received[: place + 1]
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        return message if isinstance(message, dict) else {}

    def wait(self) -> None:
        """Wait until the program ends by itself or goes over a limit."""
        with suppress(OverError):
            while not self._exited:
                self._pump()

    @property
    def has_more(self) -> bool:
        """True where the program has written more than was asked of it."""
        return bool(self._received)

    def end(self) -> Ended:
        """Kill what is left of the program, and return how it ended."""
        if self._ended is None:
            report = self._finish(not self._exited)
            for descriptor in list(self._outputs):
                self._drain(descriptor, last=True)
            why = self._why or (End.SCRATCH if report["over_scratch"] else End.EXITED)
            if report["memory"]:
                why = End.MEMORY
            outputs = bytes(self._stdout), bytes(self._stderr)
            self._ended = Ended(why, report["status"], *outputs, report["cpu_seconds"])
        return self._ended

    def _give_up(self, why: End) -> None:
        self._why = self._why or why
        raise OverError(self._why)

    def _pump(self) -> None:
        """Wait for what comes next, and take it in."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            self._give_up(End.TIMEOUT)
        for descriptor, events in self._poll.poll(seconds * 1000 + 1):
            if descriptor in self._outputs:
                self._drain(descriptor)
            elif self._channel and descriptor == self._channel.fileno():
                if events & select.POLLOUT:
                    self._send()
                if events & ~select.POLLOUT:
                    self._receive()
            else:
                self._exited = True
        if self._exited:
            while self._receive():
                pass

    def _drain(self, descriptor: int, *, last: bool = False) -> None:
        """Take in a block of what was printed, or the last time all of it: no process is left that prints more."""
        kept = self._outputs[descriptor]
        while True:
            try:
                block = os.read(descriptor, 2**16)
            except BlockingIOError:
                return
            if not block:
                self._poll.unregister(descriptor)
                del self._outputs[descriptor]
                return
            self._num_output_bytes += len(block)
            if self._num_output_bytes > self._max_output_bytes:
                self._why = self._why or End.OUTPUT
                if last:
                    return
                raise OverError(self._why)
            kept += block
            if not self._keep_all:
                del kept[:-KEPT_CHARS]
            if not last:
                return

    def _send(self) -> None:
        """Send as much of what waits as the socket takes now."""
        if self._channel is None:
            return
        with suppress(BlockingIOError, ConnectionError):
            self._to_send = self._to_send[self._channel.send(self._to_send) :]
        self._poll.modify(self._channel, select.POLLIN | (select.POLLOUT if self._to_send else 0))

    def _receive(self) -> bool:
        """Take in what the program has written. True where there may be more."""
        if self._channel is None or len(self._received) > MAX_REPLY_BYTES:
            return False
        try:
            block = self._channel.recv(2**18)
        except BlockingIOError:
            return False
        except ConnectionError:
            block = b""
        self._received += block
        if not block:  # it will not answer any more, though it may go on for as long as it likes
            self._poll.unregister(self._channel)
            self._channel = None
        return bool(block)
