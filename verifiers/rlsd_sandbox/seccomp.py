"""The system calls that a jailed process may not make, as a filter the kernel runs.

Everything a program needs to compute, to use files, threads and processes stays. Refused with EPERM is what reaches
into other processes, makes or changes namespaces and mounts, loads code into the kernel, or is a wide and rarely needed
door into it.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rlsd_sandbox import kernel


class _Machine(NamedTuple):
    """A kind of processor: its number in the kernel's audit, and the numbers of its system calls."""

    audit: int
    calls: dict[str, int]


def _numbers(table: str) -> dict[str, int]:
    words = table.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


_SINCE_5 = _numbers(
    """pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426 io_uring_register 427 open_tree 428 move_mount 429
    fsopen 430 fsconfig 431 fsmount 432 fspick 433 pidfd_open 434 clone3 435 pidfd_getfd 438 process_madvise 440
    mount_setattr 442 quotactl_fd 443 memfd_secret 447 process_mrelease 448
    fchmodat2 452 setxattrat 463 removexattrat 466 open_tree_attr 467
    file_setattr 469"""
)
"""These have one number on every machine."""

_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        _numbers(
            """ptrace 101 process_vm_readv 310 process_vm_writev 311 kcmp 312 mount 165 umount2 166 pivot_root 155
            chroot 161 setns 308 unshare 272 keyctl 250 add_key 248 request_key 249 bpf 321 perf_event_open 298
            userfaultfd 323 clone 56 fork 57 vfork 58 socket 41 kill 62 tkill 200 tgkill 234 rt_sigqueueinfo 129
            rt_tgsigqueueinfo 297 ioctl 16 prlimit64 302 personality 135 mq_open 240 msgget 68 msgsnd 69
            msgrcv 70 msgctl 71 semget 64 semop 65 semctl 66 semtimedop 220 shmget 29 shmat 30 shmctl 31
            swapon 167 swapoff 168 reboot 169 init_module 175 finit_module 313 delete_module 176 kexec_load 246
            kexec_file_load 320 acct 163 settimeofday 164 clock_settime 227 clock_adjtime 305 adjtimex 159 syslog 103
            quotactl 179 name_to_handle_at 303 open_by_handle_at 304 lookup_dcookie 212 fanotify_init 300
            move_pages 279 migrate_pages 256 mbind 237 set_mempolicy 238 vmsplice 278 setpriority 141
            sched_setscheduler 144 sched_setparam 142 sched_setattr 314 sched_setaffinity 203 iopl 172 ioperm 173
            modify_ldt 154 uselib 134 ustat 136 sysfs 139 vhangup 153 ioprio_set 251 chmod 90 fchmod 91 fchmodat 268
            chown 92 fchown 93 lchown 94 fchownat 260 utime 132 utimes 235 utimensat 280 futimesat 261 setxattr 188
            lsetxattr 189 fsetxattr 190 removexattr 197 lremovexattr 198 fremovexattr 199"""
        )
        | _SINCE_5,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        _numbers(
            """ptrace 117 process_vm_readv 270 process_vm_writev 271 kcmp 272 mount 40 umount2 39 pivot_root 41
            chroot 51 setns 268 unshare 97 keyctl 219 add_key 217 request_key 218 bpf 280 perf_event_open 241
            userfaultfd 282 clone 220 socket 198 kill 129 tkill 130 tgkill 131 rt_sigqueueinfo 138
            rt_tgsigqueueinfo 240 ioctl 29 prlimit64 261 personality 92 mq_open 180 msgget 186 msgctl 187
            msgrcv 188 msgsnd 189 semget 190 semctl 191 semtimedop 192 semop 193 shmget 194 shmctl 195 shmat 196
            swapon 224 swapoff 225 reboot 142 init_module 105 finit_module 273 delete_module 106 kexec_load 104
            kexec_file_load 294 acct 89 settimeofday 170 clock_settime 112 clock_adjtime 266 adjtimex 171 syslog 116
            quotactl 60 name_to_handle_at 264 open_by_handle_at 265 lookup_dcookie 18 fanotify_init 262
            move_pages 239 migrate_pages 238 mbind 235 set_mempolicy 237 vmsplice 75 setpriority 140
            sched_setscheduler 119 sched_setparam 118 sched_setattr 274 sched_setaffinity 122 vhangup 58
            ioprio_set 30 fchmod 52 fchmodat 53 fchown 55 fchownat 54 utimensat 88 setxattr 5 lsetxattr 6 fsetxattr 7
            removexattr 14 lremovexattr 15 fremovexattr 16"""
        )
        | _SINCE_5,
    ),
}

_BY_ARGUMENT = frozenset("clone clone3 fork vfork socket ioctl kill tgkill prlimit64 sched_setaffinity".split())
"""Calls that are refused or not by what they are called with."""

_OF_THE_ZYGOTE = frozenset("unshare mount pidfd_open".split())
"""Calls that the zygote makes to isolate the next program, which must not make them itself."""

_NEW_NAMESPACE = (
    kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET
)  # fmt: skip
_SOCKETS = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6: those of an own network, in which nothing answers."""

_FIRST_RARE_PROTOCOL = 256
"""From here on protocols are none of the internet's, such as multipath TCP."""

_METADATA = (
    "chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes utimensat futimesat setxattr lsetxattr "
    "fsetxattr removexattr lremovexattr fremovexattr setxattrat removexattrat file_setattr"
).split()
"""Calls that change what is said of a file: Landlock does not know them, so they are refused where it stands alone."""

_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which type into a terminal."""

_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
_X32 = 0x40000000

Instruction = tuple[int, int, int, int]


def forbid_in_zygote() -> None:
    """Set most of the filter for this process and all that come from it: setting it costs, inheriting it does not."""
    calls = _MACHINES[platform.machine()].calls
    _set([*_of_another_machine(), *_common(calls), (_RETURN, 0, 0, _ALLOW)])


def forbid_in_program(*, alone: bool) -> None:
    """Set the rest for this process and all that come from it. Filters add up: what one refuses is refused.

    `alone`: there is no namespace around, so no process may be started, none other signalled, and no socket made.
    """
    calls = _MACHINES[platform.machine()].calls
    rest = _if(calls, sorted(_OF_THE_ZYGOTE), [(_RETURN, 0, 0, _EPERM)])
    _set([(_LOAD, 0, 0, _NUMBER), *rest, *(_alone(calls) if alone else ()), (_RETURN, 0, 0, _ALLOW)])


def _set(instructions: list[Instruction]) -> None:
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
    address = ctypes.create_string_buffer(program, len(program))
    kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.addressof(address))


def _of_another_machine() -> Iterator[Instruction]:
    """Calls by another machine's numbers, as a 32-bit program makes them, which the tables do not hold."""
    yield (_LOAD, 0, 0, _ARCHITECTURE)
    yield (_EQUAL, 1, 0, _MACHINES[platform.machine()].audit)
    yield (_RETURN, 0, 0, _KILL)
    yield (_LOAD, 0, 0, _NUMBER)
    yield (_AT_LEAST, 0, 1, _X32)
    yield (_RETURN, 0, 0, _EPERM)


def _common(calls: dict[str, int]) -> Iterator[Instruction]:
    yield from _if(calls, ["clone3"], [(_RETURN, 0, 0, _ENOSYS)])
    yield from _if(calls, sorted(set(calls) - _BY_ARGUMENT - _OF_THE_ZYGOTE - {*_METADATA}), [(_RETURN, 0, 0, _EPERM)])
    yield from _if(calls, ["ioctl"], _refuse_values(1, _TERMINAL_INPUT))
    yield from _if(calls, ["clone"], _refuse_bits(0, _NEW_NAMESPACE))
    yield from _if(calls, ["socket"], [*_refuse_from(2, _FIRST_RARE_PROTOCOL), *_refuse_all_but(0, _SOCKETS)])
    yield from _if(calls, ["prlimit64", "sched_setaffinity"], _refuse_all_but(0, [0]))


def _alone(calls: dict[str, int]) -> Iterator[Instruction]:
    yield from _if(calls, ["fork", "vfork", "socket", *_METADATA], [(_RETURN, 0, 0, _EPERM)])
    yield from _if(calls, ["clone"], _refuse_unless_bits(0, kernel.CLONE_THREAD))
    yield from _if(calls, ["kill", "tgkill"], _refuse_all_but(0, [os.getpid()]))


def _if(calls: dict[str, int], names: Iterable[str], then: list[Instruction]) -> Iterator[Instruction]:
    """For each of the calls that this machine has: do `then`, which ends in a verdict."""
    for name in names:
        if name in calls:
            yield (_EQUAL, 0, len(then), calls[name])
            yield from then


def _argument(index: int) -> Instruction:
    """The lower half of an argument; all that are looked at are of 32 bits."""
    return (_LOAD, 0, 0, _ARGUMENT + 8 * index)


def _refuse_bits(index: int, bits: int) -> list[Instruction]:
    return [_argument(index), (_ANY_BIT, 0, 1, bits), (_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]


def _refuse_unless_bits(index: int, bits: int) -> list[Instruction]:
    return [_argument(index), (_ANY_BIT, 1, 0, bits), (_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]


def _refuse_from(index: int, value: int) -> list[Instruction]:
    return [_argument(index), (_AT_LEAST, 0, 1, value), (_RETURN, 0, 0, _EPERM)]


def _refuse_values(index: int, values: Iterable[int]) -> list[Instruction]:
    tests = [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _EPERM))]
    return [_argument(index), *tests, (_RETURN, 0, 0, _ALLOW)]


def _refuse_all_but(index: int, values: Iterable[int]) -> list[Instruction]:
    tests = [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW))]
    return [_argument(index), *tests, (_RETURN, 0, 0, _EPERM)]
