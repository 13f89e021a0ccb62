"""The first process of a jail: it starts one program at a time, ends it with all its processes, and reports the end.

All modules that a program may want are loaded in it, so that a program costs a fork instead of an interpreter. It holds
no secret, and in its own process namespace no other process can end it.
"""

import json
import os
import platform
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from rlsd_sandbox import jail, kernel, landlock, program, seccomp
from rlsd_sandbox.settings import Level, Settings

NOBODY = 65534
KILL = "kill"
SCRATCH_PREFIX = "rlsd-scratch-"
MAX_DEPTH = 64
"""Of scratch folders, where they are watched; deeper ones count as too many."""
WATCH_SECONDS = 0.05
MAX_DESCRIPTORS = 256
_CPU_GRACE_SECONDS = 2
_WORK = "work"
"""The working directory, in the scratch folder."""

_BINARY_STACK = 64 * 2**20


class Isolation(NamedTuple):
    """The isolation of a program.

    readable: paths that it may read.
    landlock: the version of Landlock, 0 for none.
    seccomp: whether system calls are filtered.
    """

    settings: Settings
    level: Level
    readable: list[str]
    landlock: int
    seccomp: bool

    @property
    def own_processes(self) -> bool:
        """True where the zygote is the first of its process namespace, so that all others there are the program's."""
        return self.level in (Level.NAMESPACES, Level.BUBBLEWRAP)


class _Order(NamedTuple):
    """A program to run; `descriptors` become 0 to 3 or 4 there."""

    number: int
    mode: str
    seconds: float
    descriptors: list[int]


def serve(control: socket.socket, isolation: Isolation) -> None:
    """Run the programs that come over the control socket, until it closes."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 2**12, program.CHANNEL + 1)
        if not message:
            return
        try:
            number, mode, seconds = json.loads(message)
            if mode == KILL:  # a program that was over before the message came
                continue
            found = _run(_Order(number, mode, seconds, descriptors), control, isolation)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        control.send(json.dumps(found).encode())


def _run(order: _Order, control: socket.socket, isolation: Isolation) -> dict[str, Any]:
    """Start a program, wait until it ends or is to be ended, and report how it ended."""
    scratch = jail.SCRATCH if isolation.level is Level.NAMESPACES else _make_scratch(isolation)
    fault, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _become(order, isolation, scratch, theirs)
    os.close(theirs)
    try:
        over_scratch = _wait(pid, order.number, control, isolation, scratch)
        status, cpu_seconds = _end(pid, isolation)
        over_scratch = over_scratch or _is_over(scratch, isolation)
        error = os.read(fault, 2**12).decode(errors="replace")
    finally:
        os.close(fault)
        if scratch != jail.SCRATCH:
            remove(scratch)
    if error:
        return {"error": error}
    return {"status": status, "cpu_seconds": cpu_seconds, "over_scratch": over_scratch}


def _wait(pid: int, number: int, control: socket.socket, isolation: Isolation, scratch: str) -> bool:
    """Wait until the program ends or is to be killed. True where it wrote more files than it may."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(control, select.POLLIN)
        watched = None if scratch == jail.SCRATCH else WATCH_SECONDS * 1000
        while True:
            ready = poll.poll(watched)
            if control.fileno() in (found for found, _ in ready):
                message = control.recv(2**12)
                if not message or json.loads(message)[:2] == [number, KILL]:
                    return False
            elif ready:
                return False
            elif _is_over(scratch, isolation, pid):
                return True
    finally:
        os.close(descriptor)


def _end(pid: int, isolation: Isolation) -> tuple[int, float]:
    """Kill all that the program is and has started. Its exit status, and the processor time of all that was reaped."""
    with suppress(ProcessLookupError, PermissionError):
        if isolation.own_processes:
            os.kill(-1, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
            os.killpg(pid, signal.SIGKILL)
    own, seconds = 0, 0.0
    with suppress(ChildProcessError):
        while True:
            found, status, usage = os.wait4(-1 if isolation.own_processes else pid, 0)
            seconds += usage.ru_utime + usage.ru_stime
            if found == pid:
                own = os.waitstatus_to_exitcode(status)
                if not isolation.own_processes:
                    break
    return own, seconds


# -- in the new process ------------------------------------------------------------------------------------------------


def _become(order: _Order, isolation: Isolation, scratch: str, fault: int) -> NoReturn:
    """Isolate this process, then run the program in it. An error before that is the jail's and goes to `fault`."""
    try:
        fault = _arrange(order.descriptors, fault)
        os.setsid()
        if isolation.level is Level.NAMESPACES:
            jail.mount_scratch(isolation.settings.scratch_mb)
        else:
            os.environ.update(HOME=scratch, TMPDIR=scratch)
            tempfile.tempdir = None
        os.chdir(scratch)
        os.mkdir(_WORK, 0o777)
        if os.getuid() == 0:
            os.chmod(_WORK, 0o777)
        os.chdir(_WORK)
        _set_limit(resource.RLIMIT_CPU, int(order.seconds) + _CPU_GRACE_SECONDS)
        if order.mode == "binary":
            _set_limit(resource.RLIMIT_STACK, _BINARY_STACK)
        _die_first()
        if os.getuid() == 0 and isolation.level is Level.NAMESPACES:
            for descriptor in (1, 2):  # pipes; standard input may be a device of the machine
                os.fchown(descriptor, NOBODY, NOBODY)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        kernel.drop_capabilities()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        if not isolation.own_processes:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if isolation.landlock:
            devices = ["/dev"] if isolation.own_processes else jail.DEVICES
            landlock.restrict(isolation.readable, [scratch], devices, isolation.landlock)
        if isolation.seccomp:
            seccomp.forbid_in_program(alone=not isolation.own_processes)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if order.mode == "binary":
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.close(fault)
    except BaseException as error:
        os.write(fault, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    try:
        program.run(order.mode)
    finally:
        os._exit(1)


def _arrange(descriptors: list[int], fault: int) -> int:
    """The program's descriptors from 0 on, then the one for faults, and no others."""
    given = [*descriptors, fault]
    spare = [os.dup2(descriptor, MAX_DESCRIPTORS - 1 - place) for place, descriptor in enumerate(given)]
    for place, descriptor in enumerate(spare):
        os.dup2(descriptor, place, inheritable=place <= 2)
    os.closerange(len(given), MAX_DESCRIPTORS)
    return len(given) - 1


def _die_first() -> None:
    """Have the kernel kill the program and not the zygote when memory is out."""
    with suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)


def limit(isolation: Isolation) -> None:
    """Set the limits that a program inherits from its zygote."""
    scratch = isolation.settings.scratch_mb * 2**20
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: _address_space() + isolation.settings.memory_mb * 2**20,
        resource.RLIMIT_FSIZE: scratch,
        resource.RLIMIT_NOFILE: MAX_DESCRIPTORS,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if isolation.own_processes and _counts_by_namespace():
        limits[resource.RLIMIT_NPROC] = isolation.settings.processes + 2
    for kind, value in limits.items():
        _set_limit(kind, value)


def _set_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _counts_by_namespace() -> bool:
    """True where the kernel counts a user's processes by user namespace, as it does since 5.14."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (5, 14)


# -- memory and files --------------------------------------------------------------------------------------------------


def _address_space() -> int:
    """Bytes that this process has mapped; a guess where that cannot be read."""
    with suppress(OSError), open("/proc/self/statm", "rb") as report:
        return int(report.read().split()[0]) * resource.getpagesize()
    return 256 * 2**20


def _make_scratch(isolation: Isolation) -> str:
    """A new folder for one program. The folder above it is unlocked first: the program before could have locked it."""
    if isolation.level is Level.BUBBLEWRAP:
        os.chmod(jail.SCRATCH, 0o777)
    return tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-")


def _is_over(scratch: str, isolation: Isolation, pid: int | None = None) -> bool:
    """True where a program's files are over their limit and no file system of their own bounds them."""
    if scratch == jail.SCRATCH:
        return False
    left = isolation.settings.scratch_mb * 2**20
    for depth, found in [*_walk(scratch), *_nameless(pid)]:
        left -= 4096 + found.st_size
        if left < 0 or depth > MAX_DEPTH:
            return True
    return False


def _walk(folder: str) -> Iterator[tuple[int, os.stat_result]]:
    """Everything below a folder with its depth, down to `MAX_DEPTH`."""
    folders = [(0, folder)]
    while folders:
        depth, path = folders.pop()
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                with suppress(OSError):
                    yield depth, entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False) and depth <= MAX_DEPTH:
                        folders.append((depth + 1, entry.path))


def _nameless(pid: int | None) -> Iterator[tuple[int, os.stat_result]]:
    """Files that a process has open and that were removed."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder) if pid else ():
            with suppress(OSError):
                found = os.stat(f"{folder}/{name}")
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    yield 0, found


def remove(folder: str) -> None:
    """Remove a folder, whatever the permissions in it are and however deep it is."""
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder)
        return
    for command in (["chmod", "-R", "u+rwX", folder], ["rm", "-rf", folder]):
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
