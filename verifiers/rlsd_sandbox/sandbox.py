"""The sandbox: a jail in a process of its own, which runs one program after the other."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from rlsd_sandbox.cgroup import Cgroup
from rlsd_sandbox.launch import START
from rlsd_sandbox.running import Ended, Running
from rlsd_sandbox.settings import AUTO, Level, Settings
from rlsd_sandbox.zygote import KILL

START_SECONDS = 30.0
END_SECONDS = 10.0
"""Seconds that a jail may take to start, and to kill a program, before it counts as failed."""

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
    """The jail failed, so nothing is known about the program."""


class RefusedError(SandboxError):
    """No jail of an allowed level can be started here; the message says why, level by level."""


class Sandbox:
    """A jail, started when first needed and again when it failed. For one thread at a time."""

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
        """The layers of isolation, as every result names them."""
        return ", ".join(self.layers) if self.level is not Level.NONE else f"UNSAFE: {', '.join(self.layers)}"

    def start(self) -> None:
        """Start the jail, unless it runs.

        Raises:
            RefusedError: no allowed level is to be had here.
        """
        if self._control:
            return
        if sys.platform != "linux":
            raise RefusedError("programs are jailed by the Linux kernel, and this system has another")
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
        raise RefusedError("; ".join(reasons) or "level `none` needs `allow_unsafe`")

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
            message = self._connection.recv(2**13)
        except TimeoutError:
            raise SandboxError("the jail does not answer") from None
        except ConnectionError:
            message = b""
        if not message:
            raise SandboxError(f"the jail ended {self._last_words()}".rstrip())
        return json.loads(message)  # type: ignore[no-any-return]

    def _last_words(self) -> str:
        pipe = self._process.stderr if self._process else None
        if pipe is None or pipe.closed:
            return ""
        lines = pipe.read().decode(errors="replace").strip().splitlines()
        return f"({lines[-1]})" if lines else ""

    def close(self) -> None:
        """End the jail, and wait until no process of it is left. It starts again when needed."""
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
        """Let go of the jail without ending it: it belongs to the process that this one was forked from."""
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
    ) -> Iterator[Running]:
        """Start a program, which is killed with all its processes when the block is left.

        Raises:
            SandboxError: the jail failed.
        """
        self.start()
        with ExitStack() as opened:
            max_output_bytes = (output_mb or self.settings.output_mb) * 2**20
            running = Running(
                self._finish, self._connection, opened, seconds=seconds, max_output_bytes=max_output_bytes
            )
            opened.callback(running.started)
            self._number += 1
            descriptors = [
                self._null if stdin is None else _file(opened, stdin),
                *running.open_outputs(separate=stdin is not None),
                _file(opened, code),
                *([running.open_channel()] if mode in ("functions", "tests") else []),
            ]
            try:
                socket.send_fds(self._connection, [json.dumps([self._number, mode, seconds]).encode()], descriptors)
            except OSError as error:
                self.close()
                raise SandboxError(f"the jail ended: {error}") from error
            running.started()
            try:
                yield running
            except BaseException:
                with suppress(SandboxError):
                    running.end()
                raise
            running.end()

    def _finish(self, kill: bool) -> dict[str, Any]:
        """Have the program killed if asked, and report how it ended; `memory` where the kernel killed it for that."""
        try:
            if kill:
                self._connection.send(json.dumps([self._number, KILL, 0]).encode())
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
    def _connection(self) -> socket.socket:
        """The socket to the zygote."""
        if self._control is None:
            raise SandboxError("the jail has ended")
        return self._control


def _file(opened: ExitStack, content: bytes) -> int:
    """The descriptor of a file in memory with this content, at its beginning."""
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
