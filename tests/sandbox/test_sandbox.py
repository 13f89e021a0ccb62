"""Programs go in, and how they ended comes out: on time, within limits, and without a trace."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from rlsd_sandbox import End, Ended, Level, OverError, Sandbox, SandboxError, Settings
from rlsd_sandbox.values import decode, encode

GRACE_SECONDS = 1.0
PACKAGE_ROOT = Path(sys.modules["rlsd_sandbox"].__file__ or "").resolve().parents[1]


def run(sandbox: Sandbox, source: str, stdin: bytes = b"", seconds: float = 10.0) -> Ended:
    started = time.monotonic()
    ended = sandbox.execute("script", textwrap.dedent(source).encode(), stdin, seconds=seconds)
    assert time.monotonic() - started < seconds + GRACE_SECONDS
    return ended


# -- how a program ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("", 0),
        ("exit()", 0),
        ("quit(4)", 4),
        ("import sys; sys.exit(3)", 3),
        ("raise SystemExit(True)", 1),
        ("raise SystemExit(256 + 7)", 7),
        ("import sys; sys.exit('a message')", 1),
        ("1 / 0", 1),
        ("this is no Python", 1),
        ("raise KeyboardInterrupt", 1),
        ("import os; os._exit(42)", 42),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    ],
)
def test_a_script_ends_with_its_exit_status_or_the_signal_that_killed_it(
    any_jail: Sandbox, source: str, status: int
) -> None:
    ended = run(any_jail, source)
    assert (ended.end, ended.status) == (End.EXITED, status)


@pytest.mark.parametrize(
    ("source", "stdout", "stderr"),
    [
        ("print('a'); print('b', end='')", b"a\nb", b""),
        ("import sys; sys.stderr.write('e')", b"", b"e"),
        ("import sys; sys.exit('a message')", b"", b"a message\n"),
        ("print('é\\u2028')", "é\u2028\n".encode(), b""),
        ("import os; os.write(1, b'\\xff\\0'); os.write(2, b'\\xfe')", b"\xff\0", b"\xfe"),
        ("import atexit; atexit.register(print, 'last'); print('first')", b"first\nlast\n", b""),
        ("import threading; threading.Timer(0.05, print, ['late']).start()", b"late\n", b""),
        ("if __name__ == '__main__': print('main')", b"main\n", b""),
        ("\ufeffprint('after a byte order mark')", b"after a byte order mark\n", b""),
        ("import os; print(os.getcwd() == os.path.realpath('.'), os.listdir())", b"True []\n", b""),
    ],
)
def test_what_a_script_prints_comes_out_whole_and_apart(
    jail: Sandbox, source: str, stdout: bytes, stderr: bytes
) -> None:
    assert run(jail, source) == (
        End.EXITED,
        1 if b"message" in stderr else 0,
        stdout,
        stderr,
        pytest.approx(0.1, abs=0.5),
    )


def test_the_error_of_a_script_says_where_it_was(jail: Sandbox) -> None:
    assert b'File "<program>", line 2' in run(jail, "\n1 / 0").stderr


@pytest.mark.parametrize(
    "read",
    [
        "import sys; data = sys.stdin.read()",
        "data = open(0).read()",
        "data = open('/dev/stdin').read()",
        "import os; data = os.read(0, 10 ** 6).decode()",
        "data = input() + '\\n' + input() + '\\n'",
        "import fileinput; data = ''.join(fileinput.input('-'))",
    ],
)
def test_a_script_may_read_its_input_in_every_way_there_is(any_jail: Sandbox, read: str) -> None:
    assert run(any_jail, f"{read}; print(data, end='')", b"1 2\n\xc3\xa9\n").stdout == "1 2\né\n".encode()


def test_input_of_megabytes_arrives_whole_and_need_not_be_read(jail: Sandbox) -> None:
    big = b"0123456789abcde\n" * 2**18
    assert run(jail, "import sys; print(len(sys.stdin.buffer.read()))", big).stdout == b"%d\n" % len(big)
    assert run(jail, "print('unread')", big).stdout == b"unread\n"


def test_the_time_on_the_processor_is_told_of_all_that_a_program_started(any_jail: Sandbox) -> None:
    ended = run(any_jail, "import time\nwhile time.process_time() < 0.3: pass")
    assert 0.25 < ended.cpu_seconds < 1.5
    assert run(any_jail, "import time; time.sleep(0.3)").cpu_seconds < 0.2


# -- binaries ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    def compile_it(source: str) -> bytes:
        if not shutil.which("g++"):
            pytest.skip("there is no g++")
        folder = tmp_path_factory.mktemp("compiled")
        (folder / "a.cpp").write_text(source)
        subprocess.run(["g++", "-O1", "-o", "a", "a.cpp"], cwd=folder, check=True)
        return (folder / "a").read_bytes()

    return compile_it


def test_a_binary_reads_and_prints_and_ends_with_its_status(
    any_jail: Sandbox, compiled: Callable[[str], bytes]
) -> None:
    binary = compiled(
        "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << '\\n';"
        'std::cerr << "e"; return a; }'
    )
    assert any_jail.execute("binary", binary, b"2 3", seconds=5)[:4] == (End.EXITED, 2, b"5\n", b"e")


def test_a_binary_that_loops_or_crashes_is_told_from_one_that_ends(
    jail: Sandbox, compiled: Callable[[str], bytes]
) -> None:
    binary = compiled(
        "#include <cstdio>\n#include <cstdlib>\n"
        "int main() { if (getchar() == 'c') abort(); volatile long i = 0; for (;;) i = i + 1; }"
    )
    assert jail.execute("binary", binary, b"c", seconds=5)[:2] == (End.EXITED, -signal.SIGABRT)
    started = time.monotonic()
    assert jail.execute("binary", binary, b"l", seconds=0.5).end is End.TIMEOUT
    assert time.monotonic() - started < 0.5 + GRACE_SECONDS


def test_a_binary_that_is_none_fails_and_the_next_program_runs(jail: Sandbox) -> None:
    with suppress(SandboxError):
        assert jail.execute("binary", b"not a program", seconds=5).status != 0
    assert run(jail, "print(1)").stdout == b"1\n"


# -- functions ---------------------------------------------------------------------------------------------------------


def test_functions_answer_calls_in_turn_under_the_number_of_the_call(any_jail: Sandbox) -> None:
    source = b"total = 0\ndef add(n, *, times=1):\n    global total\n    total += n * times\n    return [total]\n"
    with any_jail.program("functions", source, seconds=5) as running:
        running.tell({"id": "load"})
        assert running.hear() == {"id": "load", "loaded": True}
        for number, (args, kwargs, value) in enumerate([([1], {}, [1]), ([2], {"times": 3}, [7])]):
            running.tell({"id": number, "call": "add", "args": encode(args), "kwargs": encode(kwargs)})
            reply = running.hear()
            assert (reply["id"], decode(reply["value"])) == (number, value)
        running.tell({"id": "none", "call": "sub", "args": encode([]), "kwargs": encode({})})
        assert running.hear() == {"id": "none", "missing": "sub"}
        running.tell({"id": "bad", "call": "add", "args": encode(["x"]), "kwargs": encode({})})
        assert running.hear()["raised"][0] == "TypeError"


def test_functions_that_hang_are_over_in_time(any_jail: Sandbox) -> None:
    with any_jail.program("functions", b"while True: pass", seconds=0.3) as running:
        running.tell({"id": "load"})
        with pytest.raises(OverError) as over:
            running.hear()
        assert over.value.end is End.TIMEOUT
        assert running.end().end is End.TIMEOUT


def test_a_program_that_ends_instead_of_answering_is_over_and_does_not_harm_the_next(any_jail: Sandbox) -> None:
    def ask() -> End:
        with any_jail.program("functions", b"import os; os._exit(0)", seconds=5) as running:
            running.tell({"id": 1})
            with pytest.raises(OverError) as over:
                running.hear()
            return over.value.end

    for _ in range(20):
        assert ask() is End.EXITED
        assert run(any_jail, "print(1)")[:3] == (End.EXITED, 0, b"1\n")


def test_a_program_that_ends_just_when_its_time_is_over_does_not_harm_the_next(jail: Sandbox) -> None:
    for place in range(20):
        run(jail, "import time; time.sleep(0.02)", seconds=0.0202 + place * 0.0002)
        assert run(jail, "print(1)")[:3] == (End.EXITED, 0, b"1\n")


def test_a_program_is_over_when_its_block_is_left_also_by_an_exception(jail: Sandbox) -> None:
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), jail.program("functions", b"while True: pass", seconds=30):
        raise ZeroDivisionError
    with jail.program("functions", b"while True: pass", seconds=30):
        pass
    assert run(jail, "print(1)").stdout == b"1\n"
    assert time.monotonic() - started < 5


# -- limits ------------------------------------------------------------------------------------------------------------


STOP = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
C_LOOP = "import itertools; sum(itertools.repeat(0))"


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import time; time.sleep(100)",
        "import signal\nfor s in {*signal.valid_signals()} - {9, 19}: signal.signal(s, lambda *_: 0)\nwhile True: 0",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import atexit, time; atexit.register(time.sleep, 100)",
        "import threading, time; threading.Thread(target=time.sleep, args=(100,)).start()",
        "import re; re.match('(a*)*b', 'a' * 40)",
        "import os; r, w = os.pipe(); os.read(r, 1)",
    ],
)
def test_a_program_over_its_time_is_ended_within_a_second(jail: Sandbox, source: str) -> None:
    assert run(jail, source, seconds=0.3).end is End.TIMEOUT


@pytest.mark.parametrize("source", [STOP, C_LOOP], ids=["stopped", "in C"])
def test_a_program_that_heeds_nothing_is_ended_within_a_second(any_jail: Sandbox, source: str) -> None:
    assert run(any_jail, source, seconds=0.3).end is End.TIMEOUT


def test_processes_that_a_program_leaves_do_not_hold_up_its_end(jail: Sandbox) -> None:
    started = time.monotonic()
    ended = run(
        jail,
        """
        import os, time
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(100)
                time.sleep(100)
        print("gone", flush=True)
        os._exit(0)
        """,
        seconds=20,
    )
    assert ended[:3] == (End.EXITED, 0, b"gone\n")
    assert time.monotonic() - started < GRACE_SECONDS


def test_one_process_that_takes_too_much_memory_gets_a_memory_error(any_jail: Sandbox) -> None:
    ended = run(any_jail, "x = []\nwhile True: x.append(bytearray(2**20))")
    assert ended.end is End.MEMORY or (ended.status == 1 and b"MemoryError" in ended.stderr)
    assert run(any_jail, "x = bytearray(150 * 2**20); print(len(x))").status == 0


def test_processes_that_take_too_much_memory_together_are_ended_for_it(jail: Sandbox) -> None:
    if "cgroup" not in jail.name:
        pytest.skip("no control group can be made here")
    source = """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                x = bytearray(b"x") * (100 * 2**20)
                time.sleep(100)
        """
    for last in ("time.sleep(100)", "y = bytearray(b'y') * (200 * 2**20); time.sleep(100)"):
        ended = run(jail, textwrap.dedent(source) + last, seconds=3 if "y" in last else 1)
        assert ended.end is End.MEMORY or (ended.end is End.TIMEOUT and "y" not in last)
    assert run(jail, "print(1)").stdout == b"1\n"


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_program_that_prints_too_much_is_ended_for_it(any_jail: Sandbox, descriptor: int) -> None:
    ended = run(any_jail, f"import os\nwhile True: os.write({descriptor}, b'x' * 4096)")
    assert ended.end is End.OUTPUT
    assert len(ended.stdout) + len(ended.stderr) <= 2**20


def test_output_up_to_the_limit_comes_out_whole(any_jail: Sandbox) -> None:
    ended = run(any_jail, "print('x' * (2**20 - 1))")
    assert (ended.end, len(ended.stdout)) == (End.EXITED, 2**20)
    assert run(any_jail, "print('x' * 2**20)").end is End.OUTPUT


def test_the_output_of_one_run_may_have_a_limit_of_its_own(jail: Sandbox) -> None:
    ended = jail.execute("script", b"print('x' * (3 * 2**20))", seconds=5, output_mb=4)
    assert (ended.end, len(ended.stdout)) == (End.EXITED, 3 * 2**20 + 1)


MANY_FILES = "import itertools\nfor i in itertools.count(): open(f'f{i}', 'wb').write(b'x' * 2**20)"
EMPTY_FILES = "import itertools\nfor i in itertools.count(): open(f'f{i}', 'wb').close()"


@pytest.mark.parametrize("source", [MANY_FILES, EMPTY_FILES], ids=["many files", "empty files"])
def test_files_stay_within_the_scratch_limit(any_jail: Sandbox, source: str) -> None:
    """In its own namespace the file system is full; elsewhere the program is ended."""
    ended = run(any_jail, source)
    if any_jail.level is Level.NAMESPACES:
        assert ended.status == 1
        assert b"No space left" in ended.stderr
    else:
        assert ended.end is End.SCRATCH
    assert run(any_jail, "import os; print(os.listdir())").stdout == b"[]\n"


def test_one_file_stays_within_the_scratch_limit(any_jail: Sandbox) -> None:
    ended = run(any_jail, "f = open('x', 'wb')\nwhile True: f.write(b'x' * 2**20)")
    assert ended.end is End.SCRATCH or ended.status == 1


def test_a_fork_bomb_ends_and_the_next_program_runs(jail: Sandbox) -> None:
    run(jail, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", seconds=0.5)
    assert run(jail, "print(1)").stdout == b"1\n"


def test_a_thread_bomb_ends_and_the_next_program_runs(any_jail: Sandbox) -> None:
    bomb = """
        import threading, time
        while True:
            try: threading.Thread(target=time.sleep, args=(99,)).start()
            except RuntimeError: pass
        """
    run(any_jail, bomb, seconds=0.5)
    assert run(any_jail, "print(1)").stdout == b"1\n"


def test_descriptors_run_out_for_the_program_alone(any_jail: Sandbox) -> None:
    ended = run(any_jail, "x = []\nwhile True: x.append(open('/dev/null'))")
    assert (ended.status, b"Too many open files" in ended.stderr) == (1, True)
    assert run(any_jail, "print(1)").stdout == b"1\n"


# -- from one program to the next --------------------------------------------------------------------------------------

LEAVE = """
    import builtins, ctypes, json, math, os, sys, tempfile, random
    for folder in {".", "..", "/tmp", "/dev/shm", tempfile.gettempdir(), os.environ["HOME"]}:
        try:
            with open(os.path.join(folder, "left"), "w") as file: file.write("left")
            os.makedirs(os.path.join(folder, "shut", "deep"))
            os.chmod(os.path.join(folder, "shut"), 0)
        except OSError: pass
    os.environ["LEFT"] = "left"
    builtins.left = json.left = math.left = sys.left = "left"
    sys.modules["left"] = json
    sys.path.append("/left")
    json.dumps = lambda *_: "left"
    sys.setrecursionlimit(7777)
    random.seed(1)
    os.umask(0o777)
    libc = ctypes.CDLL(None)
    print(libc.shmget(12345, 4096, 0o1666), libc.semget(12345, 1, 0o1666), libc.msgget(12345, 0o1666))
    """

LOOK = """
    import builtins, ctypes, json, math, os, sys, tempfile
    found = []
    for folder in {".", "..", "/tmp", "/dev/shm", tempfile.gettempdir(), os.environ["HOME"]}:
        try: found += {*os.listdir(folder)} & {"left", "shut"}
        except OSError: pass
    found += [name for name in os.environ if name == "LEFT"]
    found += [place for place in (builtins, json, math, sys) if hasattr(place, "left")]
    found += [name for name in ("left",) if name in sys.modules] + [path for path in sys.path if path == "/left"]
    found += [json.dumps] if json.dumps(1) != "1" else []
    found += [sys.getrecursionlimit()] if sys.getrecursionlimit() == 7777 else []
    found += ["umask"] if os.umask(0) == 0o777 else []
    libc = ctypes.CDLL(None)
    found += [name for name in ("shmget", "semget", "msgget") if getattr(libc, name)(12345, 1, 0) >= 0]
    print(found)
    """


def test_nothing_that_a_program_leaves_is_there_for_the_next(any_jail: Sandbox) -> None:
    assert run(any_jail, LEAVE).status == 0
    assert run(any_jail, LOOK)[:4] == (End.EXITED, 0, b"[]\n", b"")
    with any_jail.program("functions", textwrap.dedent(LEAVE).encode(), seconds=5) as running:
        running.tell({"id": 1})
        assert running.hear() == {"id": 1, "loaded": True}
    assert run(any_jail, LOOK)[:4] == (End.EXITED, 0, b"[]\n", b"")


def test_no_process_of_a_program_outlives_it(any_jail: Sandbox, descendants: Callable[[int], list[int]]) -> None:
    before = descendants(os.getpid())
    ended = run(
        any_jail,
        """
        import os, signal, time
        try:
            for _ in range(5):
                if os.fork() == 0:
                    os.setsid()
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    os.close(1), os.close(2)
                    time.sleep(100)
        except OSError: pass
        """,
    )
    assert ended.status == 0
    assert descendants(os.getpid()) == before


def test_the_environment_of_this_process_is_not_that_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLSD_SECRET", "secret")
    with Sandbox(Settings()) as sandbox:
        assert b"SECRET" not in run(sandbox, "import os; print(dict(os.environ))").stdout


def test_the_scratch_folder_of_a_program_is_cleared_away_whatever_is_in_it(any_jail: Sandbox) -> None:
    before = set(Path("/tmp").glob("rlsd-scratch-*"))
    run(any_jail, "import os\nfor _ in range(300): os.mkdir('d'); os.chdir('d')")
    run(any_jail, "import os; os.makedirs('a/b'); os.chmod('a/b', 0); os.chmod('a', 0)")
    left = set(Path("/tmp").glob("rlsd-scratch-*"))
    assert len(left) <= len(before)  # a launcher that was replaced meanwhile has another folder
    assert not [name for folder in left for name in ("a", "d") if (folder / name).exists()]


# -- the jail itself ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tidy() -> Iterator[None]:
    """Clear away the scratch folders that zygotes in no namespace leave when they are killed."""
    before = set(Path("/tmp").glob("rlsd-scratch-*"))
    yield
    for folder in set(Path("/tmp").glob("rlsd-scratch-*")) - before:
        shutil.rmtree(folder)


def children(pid: int, command: bytes) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and command in (path / "cmdline").read_bytes():
                found.add(int(path.name))
    return found


def num_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open_here_by_fifty_runs(jail: Sandbox) -> None:
    run(jail, "")
    before = num_open()
    for place in range(50):
        if place % 5 == 0:
            with jail.program("functions", b"def f(): pass", seconds=5) as running:
                running.tell({"id": place})
                running.hear()
        else:
            run(jail, ["", "1 / 0", "import os; os.abort()", "import os; os.closerange(0, 9)"][place % 4], b"in")
    assert num_open() == before


def test_no_descriptor_is_left_open_here_by_a_jail_that_died() -> None:
    def die(sandbox: Sandbox) -> int:
        run(sandbox, "")
        (launcher,) = children(os.getpid(), b"rlsd_sandbox") - others
        os.kill(launcher, signal.SIGKILL)
        time.sleep(0.1)
        with pytest.raises(SandboxError):
            run(sandbox, "")
        return num_open()

    others = children(os.getpid(), b"rlsd_sandbox")
    with Sandbox(Settings()) as sandbox:
        assert len({die(sandbox) for _ in range(4)}) == 1


def test_a_jail_that_is_closed_leaves_no_process_and_no_descriptor(descendants: Callable[[int], list[int]]) -> None:
    before, processes = num_open(), descendants(os.getpid())
    for _ in range(2):
        sandbox = Sandbox(Settings())
        run(sandbox, "")
        sandbox.close()
        sandbox.close()
        del sandbox
    assert num_open() == before
    assert descendants(os.getpid()) == processes


def test_a_jail_comes_up_again_after_it_was_closed() -> None:
    with Sandbox(Settings()) as sandbox:
        run(sandbox, "")
        name = sandbox.name
        sandbox.close()
        assert run(sandbox, "print(1)").stdout == b"1\n"
        assert sandbox.name == name


@pytest.mark.parametrize("level", [Level.NAMESPACES, Level.BUBBLEWRAP, Level.LANDLOCK])
def test_a_zygote_that_dies_at_rest_is_an_error_once_and_the_next_run_works(
    jails: Callable[..., Sandbox], zygote_of: Callable[[Sandbox], int], level: Level
) -> None:
    sandbox = jails(str(level))
    os.kill(zygote_of(sandbox), signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(SandboxError):
        run(sandbox, "print(1)")
    assert run(sandbox, "print(1)").stdout == b"1\n"


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("level", [Level.NAMESPACES, Level.BUBBLEWRAP, Level.LANDLOCK])
def test_a_zygote_that_dies_while_a_program_runs_is_an_error_and_the_next_run_works(
    jails: Callable[..., Sandbox], zygote_of: Callable[[Sandbox], int], level: Level
) -> None:
    sandbox = jails(str(level))
    zygote = zygote_of(sandbox)

    def die_meanwhile() -> None:
        with sandbox.program("functions", b"", seconds=5) as running:
            running.tell({"id": 1})
            running.hear()
            os.kill(zygote, signal.SIGKILL)
            running.tell({"id": 2})
            with suppress(OverError):
                running.hear()

    with pytest.raises(SandboxError):
        die_meanwhile()
    assert run(sandbox, "print(1)").stdout == b"1\n"


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from rlsd_sandbox import Sandbox, Settings
sandbox = Sandbox(Settings(level=sys.argv[2]))
sandbox.start()
with sandbox.program("functions", b"import time; time.sleep(1000)", seconds=1000) as running:
    print("started", flush=True)
    running.tell({"id": 1})
    running.hear()
"""


def control_groups_of(pids: list[int]) -> list[Path]:
    name = re.compile(f"rlsd-sandbox-({'|'.join(map(str, pids))})-")
    return [Path(found) / sub for found, subs, _ in os.walk("/sys/fs/cgroup") for sub in subs if name.match(sub)]


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("level", [Level.NAMESPACES, Level.LANDLOCK])
def test_a_parent_that_is_killed_leaves_no_process_and_no_control_group(
    jails: Callable[..., Sandbox], descendants: Callable[[int], list[int]], level: Level
) -> None:
    has_group = "cgroup" in jails(str(level)).name
    command = [sys.executable, "-c", PARENT, str(PACKAGE_ROOT), level]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"started\n"
        time.sleep(0.1)
        left = descendants(parent.pid)
        assert len(left) >= 3
        assert bool(control_groups_of(left)) is has_group
        parent.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        remaining = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        if not remaining and not control_groups_of(left):
            break
        time.sleep(0.05)
    assert remaining == []
    assert control_groups_of(left) == []


@pytest.mark.skipif(find_spec("numpy") is None, reason="numpy is not installed")
def test_a_module_can_be_imported_if_the_settings_name_it_and_only_then(
    jails: Callable[..., Sandbox], jail: Sandbox
) -> None:
    source = "import numpy; print(numpy.arange(4).sum(), numpy.linalg.det(numpy.eye(2)))"
    for level in (Level.NAMESPACES, Level.LANDLOCK):
        ended = run(jails(str(level), imports=("numpy",)), source)
        assert ended.stdout == b"6 1.0\n", ended.stderr.decode()
    ended = run(jail, source)
    assert ended.status == 1
    assert b"ModuleNotFoundError" in ended.stderr
