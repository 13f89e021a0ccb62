"""The system calls that Python has no function for. Linux; each raises OSError with its name."""

import ctypes
import os
import platform
import struct
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_THREAD = 0x10000000, 0x20000000, 0x40000000, 0x00010000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECCOMP_MODE_FILTER = 2

_SYS_MOUNT_SETATTR, _SYS_LANDLOCK = 442, 444
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine(), -1)
_SYS_EXECVEAT = {"x86_64": 322, "aarch64": 281}.get(platform.machine(), -1)
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *arguments: Any) -> int:
    if number < 0:
        raise OSError(f"{what}: unknown on {platform.machine()}")
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), what)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def prctl(option: int, *arguments: int) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    _check(_libc.prctl(option, *map(ctypes.c_ulong, padded)), "prctl")


def sethostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), len(name)), "sethostname")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*arguments), f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount, which ends when no process uses it any more."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def pivot_root(new: str, old: str) -> None:
    _syscall("pivot_root", _SYS_PIVOT_ROOT, new.encode(), old.encode())


def make_read_only(path: str, *, devices: bool = False) -> None:
    """Make a mount and all below it read-only, without set-uid and, unless `devices` is set, without devices."""
    flags = _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | (0 if devices else _MOUNT_ATTR_NODEV)
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    arguments = (ctypes.c_int(_AT_FDCWD), path.encode(), ctypes.c_uint(_AT_RECURSIVE), attributes)
    _syscall(f"mount_setattr {path}", _SYS_MOUNT_SETATTR, *arguments, ctypes.c_size_t(len(attributes)))


def drop_capabilities() -> None:
    """Drop all capabilities for good: neither exec nor a file gives one back."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header, none = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _check(_libc.capset(header, none), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def execute(descriptor: int, arguments: list[str], environment: dict[str, str]) -> None:
    """Become the program in an open file, which needs no name. Returns only by raising."""

    def array(words: list[str]) -> Any:
        return (ctypes.c_char_p * (len(words) + 1))(*(word.encode() for word in words), None)

    variables = array([f"{name}={value}" for name, value in environment.items()])
    _syscall("execveat", _SYS_EXECVEAT, descriptor, b"", array(arguments), variables, ctypes.c_int(_AT_EMPTY_PATH))


# -- Landlock ----------------------------------------------------------------------------------------------------------


def landlock_version() -> int:
    """The version of Landlock's interface; 0 where there is none."""
    try:
        return _syscall("landlock", _SYS_LANDLOCK, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def landlock_ruleset(filesystem: int, network: int, scoped: int, version: int) -> int:
    """A descriptor of rules that forbid all of these rights; a kernel takes no more of them than its version knows."""
    rights = (filesystem, network, scoped)[: 1 if version < 4 else 2 if version < 6 else 3]
    packed = struct.pack(f"{len(rights)}Q", *rights)
    return _syscall("landlock_create_ruleset", _SYS_LANDLOCK, packed, ctypes.c_size_t(len(packed)), ctypes.c_uint(0))


def landlock_allow(ruleset: int, descriptor: int, rights: int) -> None:
    """Allow some rights on an open path and all below it."""
    rule = struct.pack("=Qi", rights, descriptor)
    _syscall("landlock_add_rule", _SYS_LANDLOCK + 1, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0))


def landlock_enforce(ruleset: int) -> None:
    _syscall("landlock_restrict_self", _SYS_LANDLOCK + 2, ctypes.c_int(ruleset), ctypes.c_uint(0))
