"""The self-test of a jail: a program tries what it must not be able to do, and reports what it could."""

import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from rlsd_sandbox.running import End, Ended
from rlsd_sandbox.sandbox import Sandbox
from rlsd_sandbox.settings import Settings

LIMIT_SECONDS, GRACE_SECONDS = 1.0, 1.0


class Check(NamedTuple):
    """A claim, and what was found where it does not hold."""

    claim: str
    holds: bool
    found: str = ""


_ATTEMPTS = """
import ctypes, json, os, platform, signal, socket, subprocess, sys
given = json.loads(input())
libc = ctypes.CDLL(None, use_errno=True)

def connects():
    socket.create_connection(("127.0.0.1", given["port"]), 1).close()

def reads_a_file():
    open(given["file"]).read()

def sees_a_process():
    os.kill(given["pid"], 0)

def reads_memory():
    open(f"/proc/{given['pid']}/maps").read()

def traces():
    if libc.ptrace(16, os.getppid(), 0, 0):
        raise OSError("refused")

def writes_outside():
    for folder in ("/", "/usr", sys.prefix, os.path.dirname(os.__file__), "/etc"):
        try:
            open(os.path.join(folder, "rlsd-was-here"), "w").close()
        except OSError:
            continue
        return
    raise OSError("refused")

def makes_a_namespace():
    if libc.unshare(0x10000000):
        raise OSError("refused")

def mounts():
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None):
        raise OSError("refused")

def kills_the_others():
    os.kill(os.getppid(), signal.SIGKILL)

def calls_a_rare_part_of_the_kernel():
    numbers = {"x86_64": (321, 250, 425, 298, 323), "aarch64": (280, 219, 425, 241, 282)}
    for number in numbers.get(platform.machine(), ()):
        ctypes.set_errno(0)
        if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != 1:
            return
    raise OSError("refused")

def is_root():
    if os.getuid() or os.geteuid():
        raise OSError("no")

def starts_a_process():
    subprocess.run(["true"], check=True)

def writes_a_scratch_file():
    with open("scratch", "w") as file:
        file.write("x")

found = {}
for attempt in given["attempts"]:
    try:
        globals()[attempt]()
    except BaseException as error:
        found[attempt] = f"{type(error).__name__}: {error}"
    else:
        found[attempt] = None
print(json.dumps(found))
"""

_MUST_FAIL = {
    "no connection to the machine's own ports": "connects",
    "no file of the machine is read": "reads_a_file",
    "no process outside can be signalled": "sees_a_process",
    "no memory of a process outside is read": "reads_memory",
    "no process is traced": "traces",
    "nothing is written outside the scratch folder": "writes_outside",
    "no namespace is made": "makes_a_namespace",
    "nothing is mounted": "mounts",
    "no rare part of the kernel is reached": "calls_a_rare_part_of_the_kernel",
    "the program is not root": "is_root",
}
_MUST_WORK = {
    "a program may start others": "starts_a_process",
    "a program may write scratch files": "writes_a_scratch_file",
}

_BOMBS = {
    "a loop ends at the time limit": (b"while True: pass", (End.TIMEOUT,)),
    "a stopped process ends at the time limit": (b"import os\nos.kill(os.getpid(), 19)", (End.TIMEOUT,)),
    "memory is bounded": (b"x = bytearray(2**30)\nprint(len(x))", (End.EXITED, End.MEMORY)),
    "output is bounded": (b"while True: print('x' * 4096)", (End.OUTPUT,)),
    "scratch files are bounded": (
        b"for i in range(64):\n    open(str(i), 'wb').write(bytes(2**20))",
        (End.EXITED, End.SCRATCH),
    ),
    "processes that are left behind end with the program": (
        b"import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)",
        (End.EXITED,),
    ),
}
_SUCCEEDS_BY_RIGHT = "processes that are left behind end with the program"


def self_test(settings: Settings) -> tuple[str, list[Check]]:
    """The name of the jail that these settings give, and a check for each claim about it.

    Raises:
        SandboxError: no jail can be started.
    """
    settings = settings._replace(timeout_seconds=LIMIT_SECONDS, memory_mb=128, output_mb=1, scratch_mb=8)
    with Sandbox(settings) as sandbox:
        sandbox.start()
        return sandbox.name, [*_attempts(sandbox), *_bombs(sandbox)]


def _attempts(sandbox: Sandbox) -> Iterator[Check]:
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.NamedTemporaryFile("w") as secret:
        secret.write("secret")
        secret.flush()
        given = {
            "port": server.getsockname()[1],
            "file": os.path.realpath(secret.name),
            "pid": os.getpid(),
            "attempts": [*_MUST_FAIL.values(), *_MUST_WORK.values()],
        }
        ended = sandbox.execute("script", _ATTEMPTS.encode(), json.dumps(given).encode() + b"\n", seconds=5.0)
    try:
        found = json.loads(ended.stdout)
    except ValueError:
        yield Check("a program runs", False, _words(ended))
        return
    for claim, attempt in _MUST_FAIL.items():
        yield Check(claim, found[attempt] is not None, "" if found[attempt] else "it could")
    for claim, attempt in _MUST_WORK.items():
        yield Check(claim, found[attempt] is None, found[attempt] or "")


def _bombs(sandbox: Sandbox) -> Iterator[Check]:
    for claim, (program, ends) in _BOMBS.items():
        started = time.monotonic()
        ended = sandbox.execute("script", program, seconds=LIMIT_SECONDS)
        seconds = time.monotonic() - started
        in_time = seconds < LIMIT_SECONDS + GRACE_SECONDS
        bounded = ended.end is not End.EXITED or ended.status != 0 or claim == _SUCCEEDS_BY_RIGHT
        holds = in_time and ended.end in ends and bounded
        yield Check(claim, holds, "" if holds else f"{_words(ended)} after {seconds:.1f} s")


def _words(ended: Ended) -> str:
    last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return " ".join([f"{ended.end}, status {ended.status}", *last])
