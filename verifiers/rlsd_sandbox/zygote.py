"""The first process of a jail: it starts one program at a time, ends it with all that came of it, and says how it went.

It has everything loaded that a program may want, so a program costs a fork instead of an interpreter. It knows nothing
worth stealing, and in its own process namespace nothing in there can end it.
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
"""The working directory, in the scratch folder: whoever looks around from there finds what is his own."""

_BINARY_STACK = 64 * 2**20


class Jail(NamedTuple):
    """The walls around a program. `readable`: what it may read; `landlock`: the version, 0 for none."""

    settings: Settings
    level: Level
    readable: list[str]
    landlock: int
    seccomp: bool

    @property
    def own_processes(self) -> bool:
        """Whether the zygote is the first of its process namespace, so that all others in there are the program's."""
        return self.level in (Level.NAMESPACES, Level.BUBBLEWRAP)


class _Order(NamedTuple):
    """A program to run: its number, and its descriptors in the order of theirs, 0 to 3 or 4."""

    number: int
    mode: str
    seconds: float
    descriptors: list[int]


def serve(control: socket.socket, walls: Jail) -> None:
    """Do what comes over the control socket, until it closes."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 2**12, program.CHANNEL + 1)
        if not message:
            return
        try:
            number, mode, seconds = json.loads(message)
            if mode == KILL:  # a program that was over before the message came
                continue
            found = _run(_Order(number, mode, seconds, descriptors), control, walls)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        control.send(json.dumps(found).encode())


def _run(order: _Order, control: socket.socket, walls: Jail) -> dict[str, Any]:
    """Start a program, and wait until it ends or is to be ended."""
    scratch = jail.SCRATCH if walls.level is Level.NAMESPACES else _make_scratch(walls)
    fault, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _become(order, walls, scratch, theirs)
    os.close(theirs)
    try:
        over_scratch = _wait(pid, order.number, control, walls, scratch)
        status, cpu_seconds = _end(pid, walls)
        over_scratch = over_scratch or _is_over(scratch, walls)
        error = os.read(fault, 2**12).decode(errors="replace")
    finally:
        os.close(fault)
        if scratch != jail.SCRATCH:
            remove(scratch)
    if error:
        return {"error": error}
    return {"status": status, "cpu_seconds": cpu_seconds, "over_scratch": over_scratch}


def _wait(pid: int, number: int, control: socket.socket, walls: Jail, scratch: str) -> bool:
    """Until the program ends, or the control socket has something to say. Whether it wrote more than it may."""
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
            elif _is_over(scratch, walls, pid):
                return True
    finally:
        os.close(descriptor)


def _end(pid: int, walls: Jail) -> tuple[int, float]:
    """Kill all that the program is and has started. Its exit status, and the processor time of all that was reaped."""
    with suppress(ProcessLookupError, PermissionError):
        if walls.own_processes:
            os.kill(-1, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
            os.killpg(pid, signal.SIGKILL)
    own, seconds = 0, 0.0
    with suppress(ChildProcessError):
        while True:
            found, status, usage = os.wait4(-1 if walls.own_processes else pid, 0)
            seconds += usage.ru_utime + usage.ru_stime
            if found == pid:
                own = os.waitstatus_to_exitcode(status)
                if not walls.own_processes:
                    break
    return own, seconds


# -- in the new process ------------------------------------------------------------------------------------------------


def _become(order: _Order, walls: Jail, scratch: str, fault: int) -> NoReturn:
    """Put up the walls, then be the program. What goes wrong before that is said on `fault`: no program's doing."""
    try:
        fault = _arrange(order.descriptors, fault)
        os.setsid()
        if walls.level is Level.NAMESPACES:
            jail.mount_scratch(walls.settings.scratch_mb)
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
        if os.getuid() == 0 and walls.level is Level.NAMESPACES:
            for descriptor in (1, 2):  # pipes; standard input may be a device of the machine
                os.fchown(descriptor, NOBODY, NOBODY)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        kernel.drop_capabilities()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        if not walls.own_processes:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if walls.landlock:
            devices = ["/dev"] if walls.own_processes else jail.DEVICES
            landlock.restrict(walls.readable, [scratch], devices, walls.landlock)
        if walls.seccomp:
            seccomp.forbid_in_program(alone=not walls.own_processes)
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
    """When memory is out, the kernel shall choose the program and not the zygote."""
    with suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)


def limit(walls: Jail) -> None:
    """The limits that a program has from its zygote."""
    scratch = walls.settings.scratch_mb * 2**20
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: _address_space() + walls.settings.memory_mb * 2**20,
        resource.RLIMIT_FSIZE: scratch,
        resource.RLIMIT_NOFILE: MAX_DESCRIPTORS,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if walls.own_processes and _counts_by_namespace():
        limits[resource.RLIMIT_NPROC] = walls.settings.processes + 2
    for kind, value in limits.items():
        _set_limit(kind, value)


def _set_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _counts_by_namespace() -> bool:
    """Since 5.14 the kernel counts a user's processes by user namespace; before, those of the whole machine."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (5, 14)


# -- memory and files --------------------------------------------------------------------------------------------------


def _address_space() -> int:
    """Bytes that this process has mapped; a guess where that cannot be read."""
    with suppress(OSError), open("/proc/self/statm", "rb") as report:
        return int(report.read().split()[0]) * resource.getpagesize()
    return 256 * 2**20


def _make_scratch(walls: Jail) -> str:
    """A new folder for one program, below one that the program before could have locked."""
    if walls.level is Level.BUBBLEWRAP:
        os.chmod(jail.SCRATCH, 0o777)
    return tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-")


def _is_over(scratch: str, walls: Jail, pid: int | None = None) -> bool:
    """Whether a program's files are more than they may be, where no file system of their own bounds them."""
    if scratch == jail.SCRATCH:
        return False
    left = walls.settings.scratch_mb * 2**20
    for depth, found in [*_walk(scratch), *_nameless(pid)]:
        left -= 4096 + found.st_size
        if left < 0 or depth > MAX_DEPTH:
            return True
    return False


def _walk(folder: str) -> Iterator[tuple[int, os.stat_result]]:
    """What is below a folder, with how deep it is; nothing below what is too deep."""
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
    """The files a process has open that have no name any more."""
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
