"""The pool, with real processes: every row gets its verdict, in order, whatever the verifiers do."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlsd_verifiers import VERIFIERS, Job, Leniency, Outcome, Pool, Submission, Verdict, Verifier, pool, process

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 0.5

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="the pool needs POSIX")


def job(name: str, response: str = "", answer: str | None = None) -> Job:
    return Job(Submission(response, answer), f"hostile_verifiers:{name}")


@pytest.fixture(scope="module", autouse=True)
def hostile() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    with Pool(2, timeout_seconds=TIMEOUT_SECONDS) as pool:
        yield pool


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(*pids: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(map(is_running, pids))


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


ENDINGS = [
    ("echo", None, "correct", ""),
    ("chatter", None, "correct", ""),
    ("sleep", None, "timeout", "more than 0.5 s"),
    ("compute", None, "timeout", "more than 0.5 s"),
    ("backtrack", None, "timeout", "more than 0.5 s"),
    ("stop", None, "timeout", "more than 0.5 s"),
    ("allocate", None, "memory", "more than 512 MB"),
    ("hoard", None, "memory", "more than 512 MB"),
    ("fail", None, "crash", "ZeroDivisionError: on purpose"),
    ("fail_mutely", None, "crash", "failed with MuteError"),
    ("leave", None, "crash", "SystemExit: 3"),
    ("recurse", None, "crash", "RecursionError"),
    ("leave_at_once", None, "crash", "died twice (exit status 3)"),
    ("abandon_a_child", None, "crash", "died twice (exit status 3)"),
    ("die", None, "crash", "died twice (SIGKILL)"),
    ("crash", None, "crash", "died twice (SIGSEGV)"),
    ("close_everything", None, "crash", "died twice"),
]


@pytest.mark.parametrize(("name", "answer", "outcome", "words"), ENDINGS)
def test_whatever_a_verifier_does_its_row_gets_an_outcome(
    shared: Pool, name: str, answer: str | None, outcome: str, words: str
) -> None:
    verdict = shared.submit(job(name, answer=answer)).result(20)
    assert (verdict.outcome, words in verdict.reason) == (outcome, True), verdict
    assert verdict.score == float(outcome == "correct")
    assert shared.submit(job("echo", "next")).result(20).extracted == "next"


def test_rows_keep_their_order_and_their_neighbours_between_hostile_ones(shared: Pool) -> None:
    names = ["leave_at_once", "allocate", "sleep", "fail", "die", "compute"]
    jobs = [each for number, name in enumerate(names) for each in (job("echo", str(number)), job(name))]
    verdicts = [*shared.verify(jobs)]
    assert [v.extracted for v in verdicts[::2]] == [str(number) for number in range(len(names))]
    assert [v.outcome for v in verdicts[1::2]] == ["crash", "memory", "timeout", "crash", "crash", "timeout"]


def test_a_hang_ends_at_the_time_limit(shared: Pool) -> None:
    shared.submit(job("echo")).result(20)
    started = time.monotonic()
    verdict = shared.submit(job("compute")).result(20)
    assert TIMEOUT_SECONDS <= verdict.seconds < TIMEOUT_SECONDS + 0.5
    assert time.monotonic() - started < TIMEOUT_SECONDS + 1.5


def test_time_is_that_of_the_row_without_its_wait() -> None:
    with Pool(1, timeout_seconds=5) as pool:
        slow, fast = pool.verify([job("sleep", answer="0.3"), job("echo")])
    assert 0.3 <= slow.seconds < 2
    assert 0 < fast.seconds < 0.3


def test_a_row_whose_worker_died_is_graded_by_a_fresh_one(shared: Pool, tmp_path: Path) -> None:
    jobs = [job("die_once", answer=str(tmp_path / str(number))) for number in range(3)]
    assert [v.outcome for v in shared.verify(jobs)] == ["correct"] * 3


def test_an_interrupt_is_none_of_a_workers_business(shared: Pool) -> None:
    pids = {int(shared.submit(job("echo")).result(20).reason) for _ in range(10)}
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    assert {int(shared.submit(job("echo")).result(20).reason) for _ in range(10)} <= pids


def test_killing_workers_from_outside_loses_no_row(shared: Pool) -> None:
    verdicts = []
    for verdict in shared.verify(job("echo_slowly", str(number)) for number in range(200)):
        verdicts.append(verdict)
        if len(verdicts) in (20, 60, 100):
            os.kill(int(verdict.reason), signal.SIGKILL)
    assert [v.extracted for v in verdicts] == [str(number) for number in range(200)]
    assert len({v.reason for v in verdicts}) > 2


def test_fifty_threads_share_a_pool(shared: Pool) -> None:
    def grade(thread: int) -> list[str | None]:
        return [v.extracted for v in shared.verify(job("echo", f"{thread}/{row}") for row in range(20))]

    with ThreadPoolExecutor(50) as threads:
        results = [*threads.map(grade, range(50))]
    assert results == [[f"{thread}/{row}" for row in range(20)] for thread in range(50)]


def test_futures_can_be_awaited(shared: Pool) -> None:
    async def grade() -> list[Verdict]:
        return await asyncio.gather(*(asyncio.wrap_future(shared.submit(job("echo", str(n)))) for n in range(100)))

    assert [v.extracted for v in asyncio.run(grade())] == [str(n) for n in range(100)]


def test_a_row_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    with Pool(1, timeout_seconds=5) as pool:
        first = pool.submit(job("sleep", answer="0.3"))
        pool.submit(job("echo"))
        unwanted = [pool.submit(job("die_once", answer=str(tmp_path / str(n)))) for n in range(20)]
        last = pool.submit(job("echo"))
        cancelled = [future.cancel() for future in unwanted]
        assert first.result(20).correct
        assert last.result(20).correct
    assert sum(cancelled) >= 10
    assert sum((tmp_path / str(n)).exists() for n in range(20)) == 20 - sum(cancelled)


@pytest.mark.parametrize(
    "text",
    ["", "\ud800", "\ud83d" + "\ude00", "\N{GRINNING FACE}", "a\0b", "a\nb\r\u2028\u2029\x1c", "x\u00e9" * 500_000],
    ids=["empty", "lone surrogate", "two surrogates", "emoji", "NUL", "line ends", "1 MB"],
)
def test_every_text_arrives_as_it_was(shared: Pool, text: str) -> None:
    assert shared.submit(job("echo", text)).result(20).extracted == text


def test_every_field_arrives(shared: Pool) -> None:
    submission = Submission("r", "a", [{"input": "1\n"}, None], "f", ("x", "y"), "q")
    leniency = Leniency(last_number=False, relative_tolerance=0.01)
    verdict = shared.submit(Job(submission, "hostile_verifiers:echo_all", leniency)).result(20)
    assert verdict.reason == repr((submission, leniency))


BAD_ROWS = [
    (Job(Submission("1", "1"), "numerik"), "did you mean `numeric`?"),
    (Job(Submission("1", "1"), "hostile_verifiers:ekho"), "did you mean `echo`?"),
    (Job(Submission("1", "1"), "no_such_module:f"), "no module named `no_such_module`"),
    (Job(Submission("1", "1"), "os:"), "no verifier named `os:`"),
    (Job(Submission("1", "1"), None), "name of the verifier is not text"),  # type: ignore[arg-type]
    (Job(Submission(None, "1"), "exact"), "not text"),  # type: ignore[arg-type]
    (Job(Submission("1", 1), "exact"), "not text"),  # type: ignore[arg-type]
    (Job(Submission("1", "1", tests={1}), "hostile_verifiers:echo"), "not JSON"),
]


@pytest.mark.parametrize(("bad", "words"), BAD_ROWS)
def test_a_bad_row_is_said_to_be_one(shared: Pool, bad: Job, words: str) -> None:
    verdict, after = shared.verify([bad, job("echo")])
    assert (verdict.outcome, words in verdict.reason) == ("invalid_row", True), verdict
    assert after.correct


def test_a_row_that_the_quick_part_decides_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(*_: object) -> Verdict:
        return Verdict(Outcome.CORRECT, 1.0, None, "")

    monkeypatch.setitem(VERIFIERS, "quick", Verifier(quick, "hostile_verifiers:die"))
    before = threading.active_count()
    with Pool() as pool:
        future = pool.submit(Job(Submission(""), "quick"))
        assert future.done()
        assert future.result().correct
        assert future.result().seconds > 0
        assert threading.active_count() == before


def test_the_thorough_part_decides_what_the_quick_one_left(shared: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(submission: Submission, _: Leniency) -> Verdict | None:
        return None if submission.response else Verdict(Outcome.NO_ANSWER, 0.0, None, "")

    monkeypatch.setitem(VERIFIERS, "both", Verifier(quick, "hostile_verifiers:echo"))
    monkeypatch.setitem(VERIFIERS, "neither", Verifier(quick))
    cases = [("both", ""), ("both", "x"), ("neither", "x")]
    verdicts = shared.verify(Job(Submission(response), name) for name, response in cases)
    assert [v.outcome for v in verdicts] == ["no_answer", "correct", "crash"]


def test_time_is_that_of_both_parts(shared: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERIFIERS, "both", Verifier(lambda *_: time.sleep(0.1), "hostile_verifiers:sleep"))
    assert 0.3 <= shared.submit(Job(Submission("", "0.2"), "both")).result(20).seconds < TIMEOUT_SECONDS + 0.5


def test_jobs_are_read_as_they_are_needed(shared: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AHEAD_ROWS", 10)
    numbers = itertools.count()
    verdicts = shared.verify(job("sleep" if n == 3 else "echo", str(n)) for n in numbers)
    assert [next(verdicts).extracted for _ in range(5)] == ["0", "1", "2", None, "4"]
    assert next(numbers) <= 5 + 10 * shared.workers
    verdicts.close()  # type: ignore[attr-defined]


def test_a_verdict_that_is_there_is_given_at_once(shared: Pool) -> None:
    numbers = itertools.count()
    next(shared.verify(Job(Submission(str(n)), "no such verifier") for n in numbers))
    assert next(numbers) == 1


def test_long_responses_are_read_less_far_ahead(shared: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AHEAD_CHARS", 5_000)
    numbers = itertools.count()
    verdicts = shared.verify(job("sleep" if n == 0 else "echo", "x" * 1_000) for n in numbers)
    assert next(verdicts).outcome is Outcome.TIMEOUT
    assert next(numbers) <= 6
    verdicts.close()  # type: ignore[attr-defined]


def test_workers_work_at_the_same_time(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with Pool(2, timeout_seconds=15) as pool:
        assert [v.outcome for v in pool.verify([job("meet", a, b), job("meet", b, a)])] == ["correct", "correct"]


def test_rows_behind_a_hanging_one_are_graded_meanwhile(shared: Pool) -> None:
    finished: list[str] = []
    slow = shared.submit(job("sleep"))
    slow.add_done_callback(lambda _: finished.append("slow"))
    futures = [shared.submit(job("echo")) for _ in range(100)]
    for future in futures:
        future.add_done_callback(lambda _: finished.append("fast"))
    assert slow.result(20).outcome is Outcome.TIMEOUT
    assert all(future.result(20).correct for future in futures)
    assert finished.index("slow") >= 90


def test_long_rows_do_not_block_behind_a_hanging_one() -> None:
    with Pool(1, timeout_seconds=TIMEOUT_SECONDS) as pool:
        verdicts = [*pool.verify([job("compute"), *[job("echo", "x" * 1_000_000)] * 5])]
    assert [v.outcome for v in verdicts] == ["timeout", *["correct"] * 5]


def test_workers_hash_alike(shared: Pool) -> None:
    hashed = "Verdict(Outcome.CORRECT, 1.0, str(hash('x')), '')"
    with Pool(1) as other:
        one, two = (pool.submit(job("evaluate", answer=hashed)).result(20) for pool in (shared, other))
    assert one.correct
    assert one.extracted == two.extracted


def test_a_worker_is_replaced_after_so_many_rows() -> None:
    with Pool(1, recycle_after=10) as pool:
        verdicts = [*pool.verify(job("echo", str(n)) for n in range(30))]
    assert [v.extracted for v in verdicts] == [str(n) for n in range(30)]
    assert sorted(Counter(v.reason for v in verdicts).values()) == [10, 10, 10]


def test_closing_leaves_nothing_behind() -> None:
    before, threads = descriptors(), threading.active_count()
    pool = Pool(2, timeout_seconds=100)
    pids = {int(pool.submit(job("echo")).result(20).reason)}
    pids.add(int(pool.submit(job("have_a_child")).result(20).reason))
    hanging = [pool.submit(job("compute")) for _ in range(40)]
    time.sleep(0.2)
    pool.close()
    verdicts = [future.result(0) for future in hanging]
    assert {(v.outcome, v.reason) for v in verdicts} == {(Outcome.CRASH, "the pool was closed")}
    assert wait_until_gone(*pids)
    assert descriptors() == before
    assert threading.active_count() == threads
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(job("echo"))


def test_closing_is_no_second_death(tmp_path: Path) -> None:
    pool = Pool(1, timeout_seconds=100)
    row = pool.submit(job("die_once", "100", str(tmp_path / "mark")))
    while not (tmp_path / "mark.again").exists():
        time.sleep(0.01)
    pool.close()
    assert row.result(0).reason == "the pool was closed"


def own_children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for file in tasks for pid in file.read_text().split()}


def test_killed_workers_leave_nothing_behind() -> None:
    earlier = own_children()
    with Pool(1, timeout_seconds=0.1) as pool:
        pool.submit(job("echo")).result(20)
        before = len(descriptors())
        assert [v.outcome for v in pool.verify([job("sleep"), job("die")] * 2)] == ["timeout", "crash"] * 2
        pool.submit(job("echo")).result(20)
        assert len(descriptors()) == before
        assert all(is_running(pid) for pid in own_children() - earlier)


LOADING = {
    "slow_to_load": "import time; time.sleep(1)\ndef grade(submission): return True\n",
    "fails_to_load": "1 / 0\n",
    "lacks_a_module": "import no_such_module\n",
    "hangs_to_load": "import time; time.sleep(1000)\n",
    "dies_to_load": "import os; os._exit(7)\n",
    "greedy_to_load": "memory = bytearray(700 * 2**20)\ndef grade(submission): return True\n",
    "mpmath": "def grade(submission): return True\n",
    "json": "raise RuntimeError('shadowed')\n",
}


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in LOADING.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize(
    ("module", "outcome", "words"),
    [
        ("slow_to_load", "correct", ""),
        ("greedy_to_load", "correct", ""),
        ("mpmath", "correct", ""),
        ("fails_to_load", "crash", "`fails_to_load:grade` does not load: ZeroDivisionError"),
        ("lacks_a_module", "crash", "No module named 'no_such_module'"),
        ("dies_to_load", "crash", "died twice (exit status 7)"),
    ],
)
def test_loading_a_verifier_is_not_part_of_its_rows(module: str, outcome: str, words: str) -> None:
    with Pool(1, timeout_seconds=TIMEOUT_SECONDS) as pool:
        before, verdict, after = pool.verify([job("echo"), Job(Submission(""), f"{module}:grade"), job("echo")])
    assert (verdict.outcome, words in verdict.reason) == (outcome, True), verdict
    assert verdict.seconds < TIMEOUT_SECONDS
    assert before.correct
    assert after.correct


@pytest.mark.usefixtures("loading")
def test_a_verifier_that_does_not_finish_loading_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 1.0)
    started = time.monotonic()
    with Pool(1) as pool:
        verdicts = [*pool.verify([Job(Submission(""), "hangs_to_load:grade")] * 10), *pool.verify([job("echo")])]
    assert {v.reason for v in verdicts[:10]} == {"the verifier `hangs_to_load:grade` did not load within 1 s"}
    assert verdicts[10].correct
    assert time.monotonic() - started < 8


def run(script: str, **kwargs: object) -> subprocess.Popen[str]:
    setup = (
        f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1] / 'verifiers')!r}]\n"
        "import os, signal, time\nfrom rlsd_verifiers import *\nfrom rlsd_verifiers import process\n"
        "def job(name, answer=None): return Job(Submission('', answer), f'hostile_verifiers:{name}')\n"
        "def say(*words): print(*words, flush=True)\n"
    )
    python = str(Path(sys.executable).resolve())
    return subprocess.Popen([python, "-I", "-c", setup + script], stdout=subprocess.PIPE, text=True, **kwargs)  # type: ignore[call-overload,no-any-return]


def test_the_interpreter_ends_while_a_pool_lives_and_after_its_workers() -> None:
    script = (
        "import atexit\natexit.register(lambda: say(os.path.exists(f'/proc/{pid}')))\n"
        "pool = Pool(2, timeout_seconds=100)\npid = pool.submit(job('echo')).result().reason\n"
        "verify(Submission(''), 'hostile_verifiers:echo')\nwaiting = [pool.submit(job('compute')) for _ in range(9)]"
    )
    started = time.monotonic()
    with run(script) as ended:
        out, _ = ended.communicate(timeout=20)
    assert (out, ended.returncode) == ("False\n", 0)
    assert time.monotonic() - started < 10


LONELY = (
    "text = process._START.read_text().replace('from rlsd_verifiers.worker import main', 'from rlsd_verifiers import "
    "worker; worker._end_with_the_parent = lambda: False; worker.GRACE_SECONDS = 0.2; main = worker.main')\n"
    "process._START = process.Path(os.environ['LONELY'])\nprocess._START.write_text(text)\n"
)


@pytest.mark.parametrize("setup", ["", LONELY], ids=["by the system", "by itself"])
def test_a_worker_ends_with_a_parent_that_was_killed_and_not_before(
    setup: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONELY", str(tmp_path / "start.py"))
    script = (
        "pool = Pool(1, timeout_seconds=0.3)\nsay(pool.submit(job('echo')).result().reason)\n"
        "time.sleep(0.7)\nsay(pool.submit(job('echo')).result().reason)\n"
        "pool.submit(job('compute'))\ntime.sleep(0.1)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    with run(setup + script) as killed:
        out, _ = killed.communicate(timeout=20)
    first, second = map(int, out.split())
    assert first == second
    assert wait_until_gone(first)


def test_an_interrupt_ends_a_run_and_its_workers() -> None:
    script = (
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "try:\n with Pool(1, timeout_seconds=100) as pool:\n"
        "  for verdict in pool.verify([job('echo'), *[job('sleep')] * 9]): say(verdict.reason)\n"
        "except KeyboardInterrupt: say('interrupted')\n"
    )
    with run(script, start_new_session=True) as interrupted:
        assert interrupted.stdout
        pid = int(interrupted.stdout.readline())
        os.killpg(interrupted.pid, signal.SIGINT)
        out, _ = interrupted.communicate(timeout=20)
    assert (out, interrupted.returncode) == ("interrupted\n", 0)
    assert wait_until_gone(pid)


def test_a_forked_process_leaves_its_parents_pool_alone() -> None:
    script = (
        "pool = Pool(1)\nbefore = pool.submit(job('echo')).result().reason\n"
        "verify(Submission(''), 'hostile_verifiers:echo')\nchild = os.fork()\n"
        "if not child:\n"
        "  try: pool.submit(job('echo'))\n"
        "  except RuntimeError: sys.exit(5 if verify(Submission(''), 'hostile_verifiers:echo').correct else 7)\n"
        "  sys.exit(6)\n"
        "say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pool.submit(job('echo')).result().reason == before)\n"
    )
    with run(script) as ended:
        out, _ = ended.communicate(timeout=20)
    assert out == "5 True\n"


ELSEWHERE = ["sh", "-c", """cat | setsid sh -c '"$@"; exit' sh "$@" | cat""", "sh"]
"""What `ssh` does: it connects pipes, and killing it kills nothing at the other end."""


def test_verifiers_may_run_elsewhere() -> None:
    with Pool(2, timeout_seconds=TIMEOUT_SECONDS, launchers=[ELSEWHERE, ["env", "-u", "HOME"]]) as pool:
        verdicts = [*pool.verify([job("echo_slowly", str(number)) for number in range(60)])]
        assert [verdict.extracted for verdict in verdicts] == [str(number) for number in range(60)]
        pids = {int(verdict.reason) for verdict in verdicts}
        assert len(pids) == 2
        hung = pool.submit(job("sleep")).result()
        assert hung.outcome is Outcome.TIMEOUT
    assert wait_until_gone(*pids, seconds=10.0)


def test_a_verifier_elsewhere_that_hangs_ends_itself(tmp_path: Path) -> None:
    with Pool(1, timeout_seconds=TIMEOUT_SECONDS, launchers=[ELSEWHERE]) as pool:
        pid = int(pool.submit(job("echo")).result().reason)
        answer = f"(__import__('pathlib').Path({str(tmp_path / 'begun')!r}).touch(), 10**10**8)"
        assert pool.submit(job("evaluate", answer=answer)).result().outcome is Outcome.TIMEOUT
        assert (tmp_path / "begun").exists()
        assert wait_until_gone(pid, seconds=10.0)
        assert pool.submit(job("echo")).result().outcome is Outcome.CORRECT


def test_a_launcher_that_fails_is_told_of() -> None:
    with Pool(1, launchers=[["sh", "-c", "exit 7"], ["no-such-command"]]) as pool:
        verdict = pool.submit(job("echo")).result()
    assert verdict.outcome is Outcome.CRASH
    assert "exit status 7" in verdict.reason
    with Pool(1, launchers=[["no-such-command"]]) as pool:
        assert "no-such-command" in pool.submit(job("echo")).result().reason
