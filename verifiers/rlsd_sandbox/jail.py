"""The file system of a jail: the system's programs and libraries, the interpreter, a few devices; all read-only."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from rlsd_sandbox import kernel

SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
LINKS = {
    "/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2", "/dev/shm": "/tmp",
}  # fmt: skip
SCRATCH = "/tmp"
_OLD = "/.old"


def readable(modules: Sequence[str]) -> list[str]:
    """What a program may read: the system, the interpreter, and the folders of the modules it may import."""
    interpreter = {os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    own = [*sorted(interpreter), *modules]
    return [*filter(os.path.lexists, SYSTEM), *(path for path in own if not path.startswith("/usr/"))]


def build(paths: Sequence[str]) -> None:
    """Make these paths, the devices and an empty `/tmp` the whole file system of this process.

    Needs an own mount namespace, in which it may mount. The process identifiers of `/proc` are those of the own
    namespace, where a `/proc` may be mounted at all.
    """
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", SCRATCH, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=1m")
    os.mkdir(SCRATCH + _OLD)
    kernel.pivot_root(SCRATCH, SCRATCH + _OLD)
    os.chdir("/")
    for path in _without_nested(paths):
        _show(path)
    os.makedirs("/dev", exist_ok=True)
    for device in DEVICES:
        if os.path.exists(_OLD + device):
            _bind(device)
    for link, target in LINKS.items():
        os.symlink(target, link)
    os.makedirs("/proc")
    for options in ("hidepid=invisible,subset=pid", ""):
        with suppress(OSError):
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, options)
            break
    os.makedirs(SCRATCH)
    kernel.unmount(_OLD)
    os.rmdir(_OLD)
    kernel.mount("none", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID)


def mount_scratch(megabytes: int) -> None:
    """Mount an empty folder in memory for the files of one program, in a mount namespace that ends with it."""
    kernel.unshare(kernel.CLONE_NEWNS)
    options = f"mode=1777,size={megabytes}m,nr_inodes={1024 * max(megabytes, 1)}"
    kernel.mount("tmpfs", SCRATCH, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def _without_nested(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        if not any(path.startswith(f"{other}/") for other in paths):
            yield path


def _show(path: str) -> None:
    """Show a link as the same link, a folder or a file bound and read-only."""
    if os.path.islink(_OLD + path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(os.readlink(_OLD + path), path)
    else:
        _bind(path)
        kernel.make_read_only(path)


def _bind(path: str) -> None:
    if os.path.isdir(_OLD + path):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o444))
    kernel.mount(_OLD + path, path, "", kernel.MS_BIND | kernel.MS_REC)
