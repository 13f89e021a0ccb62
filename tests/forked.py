"""Commands in processes of their own that need not import torch: forks of one that has, and has done nothing else."""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["rlsd_cli.app", "rlsd_cli.training.start", "rlsd_cli.training.launch", "transformers.models.llama.modeling_llama"]
)


class Command:
    """A command that runs, with what `subprocess.Popen` has for that. It reads nothing, and its output is captured.

    `main` finds the arguments in `sys.argv`; None is that of `rlsd`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        main: Callable[[], None] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._written = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        variables = dict(os.environ if environment is None else environment)
        self._process = SERVER.Process(target=_become, args=(main, arguments, cwd, variables, self._written))
        self._process.start()
        self.pid = int(self._process.pid or 0)

    @property
    def returncode(self) -> int | None:
        """None while it runs; that of a signal is negative."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end: what it wrote to stdout and to stderr."""
        self._process.join(timeout)
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            raise TimeoutError(f"still running after {timeout} s: {self._written[1].read_text(encoding='utf-8')}")
        out, err = (path.read_text(encoding="utf-8") for path in self._written)
        self._folder.cleanup()
        return out, err


def rlsd(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """`rlsd` with these arguments, to its end."""
    command = Command(arguments, cwd, environment)
    out, err = command.communicate(timeout)
    return subprocess.CompletedProcess(["rlsd", *arguments], command.returncode or 0, out, err)


def together(commands: Sequence[Command], timeout: float) -> list[tuple[str, str]]:
    """What each command wrote, when all have ended; where one fails or the time is over, the others are killed."""
    end = time.monotonic() + timeout
    while any(command.returncode is None for command in commands):
        if any(command.returncode for command in commands) or time.monotonic() > end:
            for command in (command for command in commands if command.returncode is None):
                command.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    return [command.communicate(timeout) for command in commands]


def _become(
    main: Callable[[], None] | None,
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    written: Sequence[Path],
) -> None:
    """Let this process be what a shell would have started, in a group of its own."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(written, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["rlsd", *arguments]
    from rlsd_cli import app

    try:
        (main or app.main)()
    finally:
        atexit._run_exitfuncs()  # which a process of `multiprocessing` leaves out
