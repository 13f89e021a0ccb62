"""A jail as seen from outside: programs go in, what they say comes out, and a clock runs."""

import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

from rlsd_sandbox.cgroup import Cgroup
from rlsd_sandbox.launch import START
from rlsd_sandbox.settings import AUTO, Level, Settings
from rlsd_sandbox.zygote import KILL

START_SECONDS = 30.0
END_SECONDS = 10.0
"""How long a jail may take to come up, and to kill a program, before it counts as broken."""

REST_CHARS = 2000
"""Characters of the end of what a program printed that are kept where nobody asked for the whole."""

MAX_REPLY_BYTES = 2**22

_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
_LEVELS = (Level.NAMESPACES, Level.BUBBLEWRAP, Level.LANDLOCK)


class SandboxError(Exception):
    """The jail failed, not the program: nothing is known about the program."""


class RefusedError(SandboxError):
    """No jail that is strong enough can be put up here; the message says why, level by level."""


class End(StrEnum):
    """Why a program is over."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    SCRATCH = "scratch"


class Ended(NamedTuple):
    """How a program ended. `status`: its exit status, or minus the signal that killed it."""

    end: End
    status: int
    stdout: bytes
    stderr: bytes
    cpu_seconds: float


class OverError(Exception):
    """The program is over and will not answer any more."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


class Sandbox:
    """A jail and the zygote in it, started when first needed and again when it breaks. For one thread at a time."""

    def __init__(self, settings: Settings = Settings()) -> None:  # noqa: B008
        self.settings = settings
        self.level: Level | None = None
        self.layers: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._group: Cgroup | None = None
        self._num_killed = 0
        self._number = 0
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def name(self) -> str:
        """The walls in words, as every result names them."""
        return ", ".join(self.layers) if self.level is not Level.NONE else f"UNSAFE: {', '.join(self.layers)}"

    def start(self) -> None:
        """Put the jail up if it is not.

        Raises:
            RefusedError: no level can be had, and the settings do not allow to go on without.
        """
        if self._control:
            return
        if sys.platform != "linux":
            raise RefusedError("programs are jailed by the Linux kernel, and this is another")
        reasons = []
        for level in self._candidates():
            try:
                self._launch(level)
            except (OSError, SandboxError) as error:
                reasons.append(f"{level}: {error}")
                self.close()
            else:
                self.level = level
                return
        unsafe = self.settings.level == Level.NONE and not self.settings.allow_unsafe
        raise RefusedError("; ".join(reasons) or ("no jail is asked for" if unsafe else "nothing to try"))

    def _candidates(self) -> Iterator[Level]:
        asked = self.settings.level
        if self.level:
            yield self.level
        elif asked == AUTO:
            yield from _LEVELS
        elif asked != Level.NONE:
            yield Level(asked)
        if self.settings.allow_unsafe and asked in (AUTO, Level.NONE):
            yield Level.NONE

    def _launch(self, level: Level) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = json.dumps([self.settings, level, _folders_of(self.settings.imports)])
        root = str(Path(__file__).resolve().parents[1])
        with theirs:
            self._control = ours
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-S", "-P", "-c", START.format(main="main"), root, str(theirs.fileno()), given],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=_ENVIRONMENT,
                cwd="/",
            )
        ours.settimeout(START_SECONDS)
        group: list[Any] | None = None
        while not (said := self._receive()).get("ready"):
            if "error" in said:
                raise SandboxError(said["error"])
            group = said.get("group")
        self._group = Cgroup(group[0], Path(group[1]), Path(group[2])) if group else None
        self.layers = [*said["layers"], *([f"cgroup v{group[0]}"] if group else [])]
        ours.settimeout(END_SECONDS)
        self._num_killed = self._count_killed()
        assert self._process.stderr
        self._process.stderr.close()

    def _receive(self) -> dict[str, Any]:
        try:
            message = self.control.recv(2**13)
        except TimeoutError:
            raise SandboxError("the jail does not answer") from None
        except ConnectionError:
            message = b""
        if not message:
            raise SandboxError(f"the jail came down {self._last_words()}".rstrip())
        return json.loads(message)  # type: ignore[no-any-return]

    def _last_words(self) -> str:
        pipe = self._process.stderr if self._process else None
        if pipe is None or pipe.closed:
            return ""
        lines = pipe.read().decode(errors="replace").strip().splitlines()
        return f"({lines[-1]})" if lines else ""

    def close(self) -> None:
        """Take the jail down, and wait until nothing is left of it. It comes up again when needed."""
        if self._control:
            self._control.close()
            self._control = None
        if self._process:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stderr:
                self._process.stderr.close()
            self._process = None

    def forget(self) -> None:
        """Let go of the jail without taking it down: it belongs to the process that this one was forked from."""
        if self._control:
            self._control.close()
        self._control = self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._null)

    def _count_killed(self) -> int:
        with suppress(OSError):
            return self._group.num_killed() if self._group else 0
        return self._num_killed

    # -- programs ------------------------------------------------------------------------------------------------------

    def execute(
        self, mode: str, code: bytes, stdin: bytes = b"", *, seconds: float, output_mb: int | None = None
    ) -> Ended:
        """Run a `script` or a `binary` from its beginning to its end.

        Raises:
            SandboxError: the jail failed.
        """
        with self.program(mode, code, stdin, seconds=seconds, output_mb=output_mb) as running:
            running.wait()
            return running.end()

    @contextmanager
    def program(
        self, mode: str, code: bytes, stdin: bytes | None = None, *, seconds: float, output_mb: int | None = None
    ) -> Iterator["Running"]:
        """Start a program; when the block is left it is over, with everything it started.

        Raises:
            SandboxError: the jail failed.
        """
        self.start()
        with ExitStack() as opened:
            running = Running(self, opened, seconds, (output_mb or self.settings.output_mb) * 2**20)
            opened.callback(running.started)
            self._number += 1
            descriptors = [
                self._null if stdin is None else _file(opened, stdin),
                *running.open_outputs(separate=stdin is not None),
                _file(opened, code),
                *([running.open_channel()] if mode in ("functions", "tests") else []),
            ]
            try:
                socket.send_fds(self.control, [json.dumps([self._number, mode, seconds]).encode()], descriptors)
            except OSError as error:
                self.close()
                raise SandboxError(f"the jail came down: {error}") from error
            running.started()
            try:
                yield running
            except BaseException:
                with suppress(SandboxError):
                    running.end()
                raise
            running.end()

    def finish(self, *, kill: bool) -> dict[str, Any]:
        """Have the program killed if it is not over, and say how it ended; `memory` if the kernel killed for that."""
        try:
            if kill:
                self.control.send(json.dumps([self._number, KILL, 0]).encode())
            report = self._receive()
        except (OSError, SandboxError) as error:
            killed = self._killed_since()
            self.close()
            if killed:
                return {"status": -9, "cpu_seconds": 0.0, "over_scratch": False, "memory": True}
            raise error if isinstance(error, SandboxError) else SandboxError(str(error)) from error
        if "error" in report:
            raise SandboxError(report["error"])
        killed = self._killed_since()
        return report | {"memory": killed and report["status"] == -9}

    def _killed_since(self) -> bool:
        before, self._num_killed = self._num_killed, self._count_killed()
        return self._num_killed > before

    @property
    def control(self) -> socket.socket:
        """The socket to the zygote."""
        if self._control is None:
            raise SandboxError("the jail is down")
        return self._control


class Running:
    """A program in a jail, while it runs: questions go in, answers come out, and everything is bounded."""

    def __init__(self, sandbox: Sandbox, opened: ExitStack, seconds: float, max_output: int) -> None:
        self._sandbox = sandbox
        self._opened = opened
        self._deadline = time.monotonic() + seconds
        self._max_output = max_output
        self._theirs: list[int] = []
        self._outputs: dict[int, bytearray] = {}
        self._stdout: bytearray = bytearray()
        self._stderr: bytearray = bytearray()
        self._keep_all = False
        self._channel: socket.socket | None = None
        self._received = bytearray()
        self._to_send = memoryview(b"")
        self._num_output = 0
        self._why: End | None = None
        self._exited = False
        self._ended: Ended | None = None
        self._poll = select.poll()
        self._poll.register(sandbox.control, select.POLLIN)

    def open_outputs(self, *, separate: bool) -> list[int]:
        """The program's ends of its standard output and error; kept whole only where they are separate."""
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
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        self._poll.register(self._channel, select.POLLIN)
        self._opened.enter_context(self._channel)
        self._theirs.append(theirs.detach())
        return self._theirs[-1]

    def started(self) -> None:
        """The program has its ends; they are closed here."""
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
        """The next line the program says.

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
        """Until the program ends by itself or goes over a limit."""
        with suppress(OverError):
            while not self._exited:
                self._pump()

    @property
    def has_more(self) -> bool:
        """Whether it has said more than it was asked."""
        return bool(self._received)

    def end(self) -> Ended:
        """Kill what is left of the program. How it ended."""
        if self._ended is None:
            report = self._sandbox.finish(kill=not self._exited)
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
        """Wait for whatever comes next, and take it."""
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
        """Take what was printed. The last time, as much as there is; nobody is left to print more."""
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
            self._num_output += len(block)
            if self._num_output > self._max_output:
                self._why = self._why or End.OUTPUT
                if last:
                    return
                raise OverError(self._why)
            kept += block
            if not self._keep_all:
                del kept[:-REST_CHARS]
            if not last:
                return

    def _send(self) -> None:
        """As much of what is to be said as it takes now."""
        if self._channel is None:
            return
        with suppress(BlockingIOError, ConnectionError):
            self._to_send = self._to_send[self._channel.send(self._to_send) :]
        self._poll.modify(self._channel, select.POLLIN | (select.POLLOUT if self._to_send else 0))

    def _receive(self) -> bool:
        """What it has said by now; whether there may be more."""
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


def _file(opened: ExitStack, content: bytes) -> int:
    """A file without a name, at its beginning."""
    descriptor = os.memfd_create("program", os.MFD_CLOEXEC)
    opened.callback(os.close, descriptor)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _folders_of(modules: tuple[str, ...]) -> list[str]:
    """The folders that modules outside the standard library lie in.

    Raises:
        SandboxError: one is not installed.
    """
    folders = []
    for module in modules:
        name = module.partition(".")[0]
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise SandboxError(f"the module `{name}` is not installed")
        if found.origin not in ("built-in", "frozen") and name not in sys.stdlib_module_names:
            folder = Path(found.origin).parent
            folders.append(str((folder.parent if found.submodule_search_locations else folder).resolve()))
    return list(dict.fromkeys(folders))
