"""The process that starts a jail, and removes what is left of it.

It goes into the namespaces one process at a time: the launcher stays outside and writes the user map, its child leaves
the old namespaces, and that one's child is the first process of the new ones, the zygote. When the zygote ends, for
whatever reason, everything inside is gone, and the launcher removes the control group.
"""

import _sitebuiltins
import builtins
import contextlib
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from rlsd_sandbox import cgroup, jail, kernel, seccomp, zygote
from rlsd_sandbox.settings import WARM, Level, Settings

_CGROUP_SPARE_MB, _CGROUP_SPARE_PROCESSES = 48, 4
"""What the zygote and its parent take of a group's limits."""

_OLD_SECONDS = 3600

_NAMESPACES = (
    kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
)  # fmt: skip

START = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from rlsd_sandbox.launch import {main}; {main}(int(sys.argv[2]), sys.argv[3])"
)
"""Run as `python -s -S -P -c`, with the folder of this package, the control socket, and the rest as JSON."""


def main(control: int, given: str) -> None:
    """Start a jail of one level, report its layers over the control socket, and serve there until it closes."""
    settings, level, modules = _read(given)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _lift_limits()
    with socket.socket(fileno=control) as connection:
        try:
            status = _launch(connection, settings, level, modules)
        except BaseException as error:
            _say(connection, {"error": f"{type(error).__name__}: {error}"})
            status = 1
    os._exit(status)


def inside(control: int, given: str) -> None:
    """Run the zygote in namespaces that another program has made."""
    settings, level, modules = _read(given)
    with socket.socket(fileno=control) as connection:
        _warm(settings, [])
        _serve(connection, settings, level, modules)


def _read(given: str) -> tuple[Settings, Level, list[str]]:
    settings, level, modules = json.loads(given)
    return Settings.of(settings), Level(level), modules


def _say(connection: socket.socket, words: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        connection.send(json.dumps(words).encode())


def _lift_limits() -> None:
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))


def _launch(connection: socket.socket, settings: Settings, level: Level, modules: list[str]) -> int:
    _warm(settings, modules)
    memory, processes = settings.memory_mb + _CGROUP_SPARE_MB, settings.processes + _CGROUP_SPARE_PROCESSES
    group = cgroup.create(memory, processes) if sys.platform == "linux" else None
    pid = 0
    try:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            ours.close()
            _enter(theirs, connection, settings, level, modules)
        theirs.close()
        if group:
            group.join(pid)
        _say(connection, {"group": [group.version, str(group.memory), str(group.pids)] if group else None})
        if level is Level.NAMESPACES:
            if ours.recv(1) != b"u":
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            _map_users(pid)
        ours.send(b"g")
        connection.close()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF
    finally:
        if group:
            group.remove()
        _sweep(pid)


def _sweep(ended: int) -> None:
    """Remove the scratch folders of a zygote that has ended, and of others that were killed before they could.

    Those of others only when they are old: a zygote of another process namespace is not seen from here.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{zygote.SCRATCH_PREFIX}*"):
        owner = folder.name.removeprefix(zygote.SCRATCH_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            is_old = time.time() - folder.lstat().st_mtime > _OLD_SECONDS and not Path(f"/proc/{owner}").exists()
            if owner == str(ended) or is_old:
                zygote.remove(str(folder))


def _warm(settings: Settings, folders: list[str]) -> None:
    sys.path[:] = [path for path in sys.path if path != sys.argv[1]] + folders
    sys.argv[:] = ["program"]
    sys.executable = os.path.realpath(sys.executable)
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))
    for name in (*WARM, *settings.imports):
        importlib.import_module(name)


def _map_users(pid: int) -> None:
    """Map the users of the jail to those outside: for root two, itself and the program's; for anyone else itself."""
    user, group = os.geteuid(), os.getegid()
    process = Path(f"/proc/{pid}")
    if user == 0:
        lines = f"0 0 1\n{zygote.NOBODY} {zygote.NOBODY} 1\n"
        (process / "uid_map").write_text(lines)
        (process / "gid_map").write_text(lines)
    else:
        (process / "setgroups").write_text("deny")
        (process / "uid_map").write_text(f"{zygote.NOBODY} {user} 1\n")
        (process / "gid_map").write_text(f"{zygote.NOBODY} {group} 1\n")


def _enter(
    parent: socket.socket, connection: socket.socket, settings: Settings, level: Level, modules: list[str]
) -> NoReturn:
    """Leave the namespaces of the launcher, and become or start the zygote."""
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if level is Level.NAMESPACES:
            kernel.unshare(_NAMESPACES)
            parent.send(b"u")
        if parent.recv(1) != b"g":
            os._exit(1)
        if level is Level.BUBBLEWRAP:
            _be_bubblewrap(connection, settings, modules)
        if level is Level.NAMESPACES:
            if os.geteuid() == 0:
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
            pid = os.fork()
            if pid:
                connection.close()
                os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            kernel.sethostname("sandbox")
            jail.build(jail.readable(modules))
        _serve(connection, settings, level, modules)
    except BaseException as error:
        _say(connection, {"error": f"{type(error).__name__}: {error}"})
    os._exit(1)


def _serve(connection: socket.socket, settings: Settings, level: Level, modules: list[str]) -> None:
    """Set up the layers that a program inherits from its zygote, report them, and become the zygote.

    Level `none` takes those that there are; any other needs a filter of system calls, and `landlock` needs Landlock.
    """
    isolation = _isolation(settings, level, modules)
    zygote.limit(isolation)
    names = [str(level)] if isolation.own_processes else []
    names += [f"landlock v{isolation.landlock}"] if isolation.landlock else []
    _say(connection, {"ready": True, "layers": [*names, *(["seccomp"] if isolation.seccomp else []), "rlimits"]})
    gc.freeze()
    zygote.serve(connection, isolation)
    os._exit(0)


def _isolation(settings: Settings, level: Level, modules: list[str]) -> zygote.Isolation:
    version = kernel.landlock_version()
    if level is Level.LANDLOCK and not version:
        raise OSError("the kernel has no Landlock")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    try:
        seccomp.forbid_in_zygote()
    except (OSError, KeyError) as error:
        if level is not Level.NONE:
            raise OSError(f"no filter of system calls can be set: {error}") from error
        return zygote.Isolation(settings, level, [], 0, seccomp=False)
    whole = level in (Level.NAMESPACES, Level.BUBBLEWRAP)
    readable = ["/"] if whole else [*jail.readable(modules), "/proc/self"]
    return zygote.Isolation(settings, level, readable, version, seccomp=True)


def _be_bubblewrap(connection: socket.socket, settings: Settings, modules: list[str]) -> None:
    program = shutil.which("bwrap")
    if not program:
        raise OSError("bubblewrap (`bwrap`) is not installed")
    package = str(Path(__file__).resolve().parent)
    arguments = [program, "--unshare-all", "--unshare-user", "--uid", str(zygote.NOBODY), "--gid", str(zygote.NOBODY)]
    arguments += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--as-pid-1"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    arguments += ["--size", str(settings.scratch_mb * 2**20), "--tmpfs", jail.SCRATCH]
    for path in jail.readable([*modules, package]):
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        else:
            arguments += ["--ro-bind", path, path]
    given = json.dumps([settings, Level.BUBBLEWRAP, modules])
    start = [str(Path(package).parent), str(connection.fileno()), given]
    python = [os.path.realpath(sys.executable), "-s", "-S", "-P", "-c", START.format(main="inside"), *start]
    connection.set_inheritable(True)
    os.execv(program, [*arguments, "--remount-ro", "/", "--chdir", jail.SCRATCH, "--", *python])
