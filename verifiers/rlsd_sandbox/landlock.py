"""Landlock: which files a process and its descendants may touch, enforced by the kernel on top of everything else."""

import os
from collections.abc import Iterable

from rlsd_sandbox import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SINCE = {_REFER: 2, _TRUNCATE: 3, _IOCTL_DEV: 5}

READ = _EXECUTE | _READ_FILE | _READ_DIR
_OPEN = _READ_FILE | _WRITE_FILE | _TRUNCATE
WRITE = READ | _OPEN | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM | _REFER
_ALL = WRITE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV

_BIND_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def restrict(readable: Iterable[str], writable: Iterable[str], devices: Iterable[str], version: int) -> None:
    """Restrict this process to reading below some paths, anything below others, and the use of some devices.

    From version 4 on no TCP either, and from 6 on no signal to a process outside and no abstract socket of one.
    """
    known = _ALL & ~sum(bit for bit, since in _SINCE.items() if version < since)
    ruleset = kernel.landlock_ruleset(known, _BIND_AND_CONNECT_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS, version)
    for paths, rights in ((readable, READ), (writable, WRITE), (devices, _OPEN | _READ_DIR)):
        for path in paths:
            _allow(ruleset, path, rights & known)
    kernel.landlock_enforce(ruleset)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        kernel.landlock_allow(ruleset, descriptor, rights if os.path.isdir(path) else rights & (_OPEN | _EXECUTE))
    finally:
        os.close(descriptor)
