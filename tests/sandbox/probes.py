"""Attempts to get through the walls of a jail. Each prints `held` if it gets nowhere, else what it got.

Run as a program, with the folder of `rlsd_sandbox`, a level, and files that no program may read, it makes all of them
in one jail, and prints as JSON the walls of that jail and what each attempt printed.
"""

import json
import os
import socket
import sys
from pathlib import Path

PRELUDE = """
import ctypes, errno, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS}
def call(number, *arguments):
    ctypes.set_errno(0)
    got = libc.syscall(*map(ctypes.c_long, (number, *arguments)))
    return ctypes.get_errno() if got < 0 else f"returned {got}"
def check(attempts):
    through = {name: got for name, got in attempts.items() if got not in REFUSED}
    print(through or "held")
def tried(function, *arguments, kinds=OSError):
    try: got = function(*arguments)
    except kinds: return errno.EPERM
    return f"got {got!r}"[:80]
"""

SYSTEM_CALLS = {
    "no ptrace": {
        "traceme": (101, 0), "attach": (101, 16, "os.getppid()"), "seize": (101, 0x4206, "os.getppid()"),
        "process_vm_readv": (310, "os.getppid()"), "process_vm_writev": (311, "os.getppid()"),
        "kcmp": (312, "os.getpid()", "os.getppid()"), "pidfd_open": (434, "os.getppid()"), "pidfd_getfd": (438, 0),
    },
    "no mount": {
        "mount": (165,), "umount2": (166,), "pivot_root": (155,), "chroot": (161,), "open_tree": (428, -100),
        "move_mount": (429, -100), "fsopen": (430,), "fspick": (433, -100), "mount_setattr": (442, -100),
    },
    "no new namespace": {
        **{f"unshare {flag:x}": (272, flag) for flag in
           (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)},
        "setns": (308, 0, 0), "clone3": (435, 0, 0),
    },
    "no wide door into the kernel": {
        "io_uring_setup": (425, 1, 0), "io_uring_enter": (426, 0), "io_uring_register": (427, 0), "bpf": (321, 0, 0, 0),
        "keyctl": (250, 0, -3, 0), "add_key": (248,), "request_key": (249,), "perf_event_open": (298, 0, 0, -1, -1),
        "userfaultfd": (323, 1), "open_by_handle_at": (304, -100), "name_to_handle_at": (303, -100),
        "personality": (135, 0xFFFFFFFF), "memfd_secret": (447, 0), "modify_ldt": (154, 0, 0, 0), "syslog": (103, 10),
        "finit_module": (313, -1), "getpid by its x32 number": (0x40000000 | 39,),
    },
    "no System V objects and message queues": {
        "shmget": (29, 0, 4096, 0o1600), "semget": (64, 0, 1, 0o1600), "msgget": (68, 0, 0o1600), "mq_open": (240, 0),
    },
}  # fmt: skip
"""By their numbers on x86_64."""


def _system_calls(calls: dict[str, tuple[object, ...]]) -> str:
    attempts = (f"{name!r}: call({', '.join(map(str, given))})" for name, given in calls.items())
    return f"check({{{', '.join(attempts)}}})"


PROBES = {
    "no network": """
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it: return it.sendto(b"x", ("192.0.2.1", 9))
families = (16, 3), (17, 3), (38, 5), (40, 1), (31, 3), (44, 2), (29, 3), (15, 3)
check({
    "tcp": tried(socket.create_connection, ("127.0.0.1", PORT), 0.5),
    "udp": tried(udp),
    "abstract socket": tried(lambda: socket.socket(socket.AF_UNIX).connect(f"\\0rlsd-{PORT}")),
    "named socket": tried(lambda: socket.socket(socket.AF_UNIX).connect(NAMED)),
    **{f"family {family}": tried(socket.socket, family, kind) for family, kind in families},
})""",
    "no interface but its own": """
try: names = [name for _, name in socket.if_nameindex() if name != "lo"]
except OSError: names = []
print(names or "held")""",
    "no file of this machine": """
check({path: tried(open, path) for path in FILES})""",
    "no folder of this machine": """
check({path: tried(os.listdir, path) for path in FOLDERS})""",
    "nothing written outside the scratch folder": """
def write(folder):
    path = os.path.join(folder, ".rlsd-probe")
    with open(path, "w"): pass
    os.remove(path)
library = os.path.dirname(os.__file__)
folders = ["/", "/usr", "/usr/local/lib", "/usr/bin", "/bin", "/etc", "/var/tmp", "/dev", "/root", "/home", "/proc",
           library, os.path.join(library, "site-packages"), os.path.dirname(os.getcwd()) + "/.."]
if os.path.dirname(os.getcwd()) == "/tmp": folders.pop()
check({folder: tried(write, folder) for folder in folders}
      | {path: tried(open, path, "r+") for path in ("/usr/bin/env", os.__file__, "/etc/ld.so.cache")}
      | {"mkdir": tried(os.mkdir, "/usr/.rlsd-probe"), "symlink": tried(os.symlink, "/", "/usr/.rlsd-probe"),
         "rename": tried(os.rename, FILES[0], FILES[0] + "2"), "unlink": tried(os.unlink, FILES[0]),
         "link": tried(os.link, os.__file__, "link")})""",
    "no attribute of a file changed outside the scratch folder": """
FILE = FILES[0]
hidden = {
    "chmod": tried(os.chmod, FILE, 0o666), "utime": tried(os.utime, FILE),
    "chown": tried(os.chown, FILE, os.getuid(), os.getgid()), "setxattr": tried(os.setxattr, FILE, "user.rlsd", b""),
}
if hidden != dict.fromkeys(hidden, 1): print(hidden)
check({
    "chmod": tried(os.chmod, os.__file__, 0o644), "utime": tried(os.utime, os.__file__),
    "chown": tried(os.chown, os.__file__, os.getuid(), os.getgid()),
    "setxattr": tried(os.setxattr, os.__file__, "user.rlsd", b""), "truncate": tried(os.truncate, FILES[0], 1),
})""",
    "no device": """
there = {*os.listdir("/dev")}
usual = {*"null zero full random urandom fd stdin stdout stderr shm tty ptmx pts core console".split()}
print(sorted(there - usual) or "held")""",
    "the zygote cannot be seen": """
above = f"/proc/{os.getppid()}"
check({name: tried(lambda: open(f"{above}/{name}", "rb").read(1)) for name in ("mem", "maps", "environ", "auxv")}
      | {name: tried(os.readlink, f"{above}/{name}") for name in ("cwd", "exe", "root", "fd/3", "ns/mnt")})""",
    "no other process can be signalled": """
for number in {*range(1, 65)} - {32, 33}:
    try: os.kill(os.getppid(), number)
    except OSError: pass
call(200, os.getppid(), 9), call(234, os.getppid(), os.getppid(), 9), call(129, os.getppid(), 9, 0), call(424, 3, 9)
try: open("/proc/1/oom_score_adj", "w").write("1000")
except OSError: pass
print("held")""",
    "no limit and no priority of another process": """
import resource
check({"limit": tried(resource.prlimit, os.getppid(), resource.RLIMIT_NOFILE, (1, 1)),
       "ioprio_set": call(251, 1, os.getppid(), 3 << 13),
       "affinity": tried(os.sched_setaffinity, os.getppid(), [0]),
       "priority": tried(os.setpriority, 0, os.getppid(), 19)})""",
    "no limit can be raised": """
import resource
names = "RLIMIT_AS RLIMIT_FSIZE RLIMIT_NOFILE RLIMIT_CORE RLIMIT_CPU".split()
unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
check({name: tried(resource.setrlimit, getattr(resource, name), unlimited, kinds=(OSError, ValueError))
       for name in names})""",
    "no user namespace by clone": """
pid = libc.syscall(56, ctypes.c_long(0x10000000 | 17), *map(ctypes.c_long, (0, 0, 0, 0)))
if pid == 0: os._exit(0)
print("held" if pid < 0 else "a child in a new user namespace")""",
    "no capability": """
said = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
through = {name: said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(said[name], 16)}
through |= {name: said[name] for name, wanted in (("NoNewPrivs", "1"), ("Seccomp", "2")) if said[name] != wanted}
print(through or "held")""",
    "no way to be root": """
through = {name: number for name, number in zip("ruid euid suid".split(), os.getresuid()) if number == 0}
through |= {name: number for name, number in zip("rgid egid sgid".split(), os.getresgid()) if number == 0}
for name in ("setuid", "setgid", "seteuid", "setegid"):
    if tried(getattr(os, name), 0) != 1: through[name] = 0
if tried(os.setgroups, [0]) != 1: through["setgroups"] = os.getgroups()
print(through or "held")""",
    "no descriptor but its own": """
import select
poll = {number: os.readlink(f"/proc/self/fd/{number}") for number in map(int, os.listdir("/proc/self/fd"))
        if number > 2 and tried(os.fstat, number) != 1}
print(poll or "held")""",
    "no typing into a terminal": """
check({"TIOCSTI": call(16, 0, 0x5412, 0), "TIOCLINUX": call(16, 0, 0x541C, 0)})""",
    "a process namespace of its own": """
print("held" if os.getppid() in (0, 1) or os.getpid() < 100 else (os.getpid(), os.getppid()))""",
    "a host name of its own": """
print("held" if socket.gethostname() == "sandbox" else socket.gethostname())""",
    **{name: _system_calls(calls) for name, calls in SYSTEM_CALLS.items()},
}


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except PermissionError:
        return False


def main(package_root: str, level: str, *hidden: str) -> None:
    """Make all attempts, with a listener on this side of the walls."""
    sys.path.insert(0, package_root)
    from rlsd_sandbox import RefusedError, Sandbox, Settings

    named = Path(hidden[0]).parent / "socket"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        port = tcp.getsockname()[1]
        abstract.bind(f"\0rlsd-{port}")
        abstract.listen()
        with socket.socket(socket.AF_UNIX) as in_file, Sandbox(Settings(level=level, timeout_seconds=5)) as sandbox:
            named.unlink(missing_ok=True)
            in_file.bind(str(named))
            in_file.listen()
            try:
                sandbox.start()
            except RefusedError as error:
                print(json.dumps({"refused": str(error)}))
                return
            files = [path for path in hidden if not _is_folder(path)]
            folders = [path for path in hidden if path not in files]
            given = f"PORT, NAMED, FILES, FOLDERS = {port}, {str(named)!r}, {files}, {folders}\n"
            found = {}
            for name, source in PROBES.items():
                ended = sandbox.execute("script", (PRELUDE + given + source).encode(), seconds=5)
                said = (ended.stdout + ended.stderr).decode(errors="replace").strip()
                found[name] = said if ended[:2] == ("exited", 0) else f"{ended.end} {ended.status}: {said}"
            print(json.dumps({"name": sandbox.name, "user": os.getuid(), "probes": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
