"""The sandbox: attacks, labelled programs, speed, and what is left after many.

    python benchmarks/sandbox/bench.py [DATA] [--leg attacks|labelled|speed|endurance]... [--programs N]

DATA is a folder with `hostile_code_submissions.jsonl` and its problem, `code_humaneval.jsonl`, `code_mbpp.jsonl` and
`code_stdio_tests.jsonl`. Attacks run at every level this machine has, as this user and, for root, as an ordinary user
too; never outside a jail. Speeds are medians of rounds that take turns, in programs a second, pinned to one core or
two, with everything that a verdict takes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, SHARED, write
from benchmarks.sandbox.rows import Row, grade, hostile, labelled, machine
from rlsd_sandbox import SandboxError, Settings
from rlsd_sandbox.selftest import self_test
from rlsd_verifiers import Job, Outcome, Pool, Submission, Verdict

DATA = SHARED / "verifier_data"
LEVELS = ("namespaces", "bubblewrap", "landlock")
ATTACK_SECONDS, GRACE_SECONDS, LABELLED_SECONDS = 6.0, 1.0, 20.0
LABELLED = ("code_humaneval", "code_mbpp", "code_stdio_tests")
ROUNDS, PROGRAMS_A_ROUND = 7, 200
QUICK_SECONDS = 0.03
"""Solutions that take longer are left out of the legs for speed and endurance: their work is not what is measured."""

SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = 65534


# -- attacks -----------------------------------------------------------------------------------------------------------


def attacks(data: Path) -> dict[str, Any]:
    """Every attack and every control, at each level and as each user."""
    print("\nattacks\nuser\tlevel\twrong passes\tcontrols failed\tother outcome\tover time\tslowest s\tleft over")
    result = {}
    for user in ("root", "ordinary") if os.getuid() == 0 else ("this",):
        for level in LEVELS:
            before = machine()
            try:
                verdicts, walls = _attacks(data, level, user)
            except (SandboxError, OSError, subprocess.CalledProcessError) as error:
                print(f"{user}\t{level}\tnot to be had: {error}")
                continue
            time.sleep(0.5)
            found = _judge(hostile(data), verdicts, ATTACK_SECONDS) | {"walls": walls, "left": _left(before, machine())}
            result[f"{user}, {level}"] = found
            columns = ("wrong_passes", "controls_failed", "other_outcome", "over_time")
            counts = "\t".join(str(len(found[name])) for name in columns)
            print(f"{user}\t{level}\t{counts}\t{found['slowest_seconds']:.2f}\t{found['left']}")
            for name in columns:
                for example in found[name]:
                    print(f"  {name}: {example}")
            for claim in found["walls"]["not so"]:
                print(f"  does not hold: {claim}")
    return result


def _attacks(data: Path, level: str, user: str) -> tuple[list[Verdict], dict[str, Any]]:
    settings = Settings(level=level, timeout_seconds=ATTACK_SECONDS)
    if user != "ordinary":
        name, checks = self_test(settings)
        return grade(hostile(data), settings), {"name": name, "not so": [c.claim for c in checks if not c.holds]}
    with tempfile.TemporaryDirectory() as folder:
        _publish(data, Path(folder))
        walls = _as_nobody(folder, "-c", _SELF_TEST, level)
        verdicts = _as_nobody(folder, f"{folder}/rows.py", folder, level, str(ATTACK_SECONDS))
    return [Verdict(Outcome(outcome), *rest) for outcome, *rest in verdicts], walls


_SELF_TEST = """
import json, sys
from rlsd_sandbox import Settings
from rlsd_sandbox.selftest import self_test
name, checks = self_test(Settings(level=sys.argv[1]))
print(json.dumps({"name": name, "not so": [c.claim for c in checks if not c.holds]}))
"""


def _publish(data: Path, folder: Path) -> None:
    """Copies that an ordinary user can read, of what needs nothing but the standard library."""
    folder.chmod(0o755)
    for package in ("rlsd_cli", "verifiers/rlsd_sandbox", "verifiers/rlsd_verifiers"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=ignored)
    for file in (Path(__file__).with_name("rows.py"), *data.glob("hostile_code_*")):
        shutil.copy(file, folder)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)


def _as_nobody(folder: str, *arguments: str) -> Any:
    done = subprocess.run(
        [SYSTEM_PYTHON, *arguments], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
        env={"PYTHONPATH": folder, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def _judge(rows: Sequence[Row], verdicts: Sequence[Verdict], seconds: float) -> dict[str, Any]:
    pairs = list(zip(rows, verdicts, strict=True))

    def named(wrong: Callable[[Row, Verdict], bool]) -> list[str]:
        return [f"{row.id}: {row.label}, got {v.outcome} ({v.reason})" for row, v in pairs if wrong(row, v)]

    return {
        "programs": len(rows),
        "wrong_passes": named(lambda row, v: v.outcome is Outcome.CORRECT and not row.allows(v.outcome)),
        "controls_failed": named(lambda row, v: row.must_pass and v.outcome is not Outcome.CORRECT),
        "other_outcome": named(
            lambda row, v: not row.must_pass and v.outcome is not Outcome.CORRECT and not row.allows(v.outcome)
        ),
        "over_time": named(lambda _, v: v.seconds > seconds + GRACE_SECONDS),
        "slowest_seconds": max(verdict.seconds for verdict in verdicts),
    }


def _left(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What there is more of, or less: memory and disk within what other processes move."""
    slack = {"free memory, MB": 200, "free disk, MB": 200, "own memory, MB": 30, "processes": 3}
    return {name: after[name] - before[name] for name in before if abs(after[name] - before[name]) > slack.get(name, 0)}


# -- labelled programs -------------------------------------------------------------------------------------------------


def labels(data: Path) -> dict[str, Any]:
    """Canonical solutions must pass, and mutants that the labels fail must not."""
    print("\nlabelled programs\nfile\tprograms\tcanonical passed\tmutants passed\tweak\tdisagreements")
    result = {}
    for name in LABELLED:
        rows = labelled(data, name)
        verdicts = grade(rows, Settings(timeout_seconds=LABELLED_SECONDS))
        right = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if row.must_pass]
        wrong = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if not row.must_pass]
        found = {
            "programs": len(rows),
            "must_pass": len(right),
            "passed": sum(verdict.correct is True for _, verdict in right),
            "must_fail": len(wrong),
            "wrong_passes": sum(verdict.correct is not False for _, verdict in wrong),
            "weak": sum(verdict.weak for verdict in verdicts),
            "outcomes": Counter(str(verdict.outcome) for verdict in verdicts),
            "disagreements": [
                f"{row.id} ({row.kind}): {row.label}, got {verdict.outcome} ({verdict.reason})"
                for row, verdict in zip(rows, verdicts, strict=True)
                if not row.allows(verdict.outcome)
            ],
        }
        result[name] = found
        shares = f"{found['passed']} of {len(right)}\t{found['wrong_passes']} of {len(wrong)}"
        print(f"{name}\t{len(rows)}\t{shares}\t{found['weak']}\t{len(found['disagreements'])}")
        for words in found["disagreements"]:
            print(f"  {words}")
    return result


# -- speed -------------------------------------------------------------------------------------------------------------

ADD = Row(
    "add",
    Submission(
        "def add(a, b):\n    return a + b\n",
        tests=[{"args": [a, b], "expected": a + b} for a, b in ((2, 3), (-1, 1), (10**6, 7))],
        entry_point="add",
    ),
    "pass",
    "function",
)
ADD_SCRIPT = (
    ADD.submission.response + "assert add(2, 3) == 5\nassert add(-1, 1) == 0\nassert add(10**6, 7) == 10**6 + 7\n"
)


def speed(data: Path) -> dict[str, Any]:
    """Programs a second, tests included: plain interpreters and bubblewrap beside the pool, on one core and on two."""
    quick = _quick_solutions(data)
    result = {}
    print("\nspeed\nprograms\thow\tper second (range)\tratio to python -I -S")
    for title, rows in (("add, 3 tests", [ADD]), (f"{len(quick)} solutions of HumanEval and MBPP", quick)):
        ways: dict[str, Callable[[Path, list[Row]], float]] = {
            "python -I -S, one core": lambda folder, some: _plain([], folder, some),
            "bubblewrap + python -I -S, one core": lambda folder, some: _plain(_bubblewrap(folder), folder, some),
            "rlsd, one core": lambda _, some: _pooled(some, cores=1),
            "rlsd, two cores": lambda _, some: _pooled(some, cores=2),
        }
        if not shutil.which("bwrap"):
            del ways["bubblewrap + python -I -S, one core"]
        rates: dict[str, list[float]] = {name: [] for name in ways}
        with tempfile.TemporaryDirectory() as folder:
            for number in range(ROUNDS):
                start = number * PROGRAMS_A_ROUND
                some = [*islice(cycle(rows), start, start + PROGRAMS_A_ROUND)]
                _write_scripts(Path(folder), some)
                for name, way in ways.items():
                    rates[name].append(way(Path(folder), some))
        base = rates["python -I -S, one core"]
        one = rates["rlsd, one core"]
        result[title] = {
            name: {"per_second": found, "ratio": statistics.median(a / b for a, b in zip(found, base, strict=True))}
            for name, found in rates.items()
        } | {
            "two cores to one": statistics.median(
                a / b for a, b in zip(rates["rlsd, two cores"], one, strict=True)
            )
        }  # fmt: skip
        for name, found in rates.items():
            spread = f"{statistics.median(found):.0f} ({min(found):.0f}-{max(found):.0f})"
            print(f"{title}\t{name}\t{spread}\t{result[title][name]['ratio']:.2f}")
        print(f"{title}\ttwo cores to one\t{result[title]['two cores to one']:.2f}")
    return result


def _quick_solutions(data: Path) -> list[Row]:
    solutions = [row for name in LABELLED[:2] for row in labelled(data, name) if row.must_pass]
    verdicts = grade(solutions, Settings())
    return [row for row, verdict in zip(solutions, verdicts, strict=True) if verdict.seconds < QUICK_SECONDS]


def _write_scripts(folder: Path, rows: Sequence[Row]) -> None:
    for number, row in enumerate(rows):
        tests = row.submission.tests
        script = f"{row.submission.response}\n{tests}" if isinstance(tests, str) else ADD_SCRIPT
        (folder / f"{number}.py").write_text(script, encoding="utf-8")


def _bubblewrap(folder: Path) -> list[str]:
    prefix = os.path.realpath(sys.base_prefix)
    own = [] if prefix.startswith("/usr") else ["--ro-bind", prefix, prefix]
    links = [part for name in ("/bin", "/lib", "/lib64") for part in ("--symlink", f"usr{name}", name)]
    return [
        "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", *links, *own,
        "--ro-bind", str(folder), str(folder), "--proc", "/proc", "--dev", "/dev", "--",
    ]  # fmt: skip


def _plain(before: list[str], folder: Path, rows: Sequence[Row]) -> float:
    python = os.path.realpath(sys.executable)
    with _Cores(1):
        started = time.perf_counter()
        for number in range(len(rows)):
            done = subprocess.run([*before, python, "-I", "-S", str(folder / f"{number}.py")], capture_output=True)
            assert done.returncode == 0, done.stderr
        return len(rows) / (time.perf_counter() - started)


def _pooled(rows: Sequence[Row], cores: int) -> float:
    jobs = [Job(row.submission, "code") for row in rows]
    with _Cores(cores), Pool(cores, sandbox=Settings()) as pool:
        assert all(verdict.correct for verdict in pool.verify(jobs[: 20 * cores]))
        started = time.perf_counter()
        assert all(verdict.correct for verdict in pool.verify(jobs))
        return len(rows) / (time.perf_counter() - started)


class _Cores:
    """This process, and what it starts, on so many cores."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        self.before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(self.before)[-self.number :])

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self.before)


# -- endurance ---------------------------------------------------------------------------------------------------------


def endurance(data: Path, programs: int) -> dict[str, Any]:
    """Many programs in a row, a third of them hostile, by two workers; what the machine looks like before and after."""
    attack = cycle(row for row in hostile(data) if not row.must_pass)
    solution = cycle(_quick_solutions(data))
    rows = [next(attack) if number % 3 == 0 else next(solution) for number in range(programs)]
    settings = Settings(timeout_seconds=0.5, memory_mb=512)
    grade(rows[:12], settings)
    before, started = machine(), time.perf_counter()
    verdicts = grade(rows, settings)
    seconds = time.perf_counter() - started
    time.sleep(0.5)
    after = machine()
    solved = [verdict.correct for row, verdict in zip(rows, verdicts, strict=True) if row.must_pass]
    wrong = [row.id for row, v in zip(rows, verdicts, strict=True) if v.correct and not row.allows(v.outcome)]
    result = {
        "programs": programs,
        "verdicts": sum(verdict.is_verdict for verdict in verdicts),
        "seconds": seconds,
        "solutions": len(solved),
        "solutions passed": sum(solved),
        "wrong passes": wrong,
        "outcomes": Counter(str(verdict.outcome) for verdict in verdicts),
        "before": before,
        "after": after,
    }
    print(f"\nendurance: {programs} programs in {seconds:.0f} s, {result['verdicts']} verdicts")
    print(f"{len(wrong)} wrong passes, {result['solutions passed']} of {len(solved)} solutions passed")
    print("what\tbefore\tafter")
    for name in before:
        print(f"{name}\t{before[name]}\t{after[name]}")
    return result


LEGS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "attacks": lambda data, _: attacks(data),
    "labelled": lambda data, _: labels(data),
    "speed": lambda data, _: speed(data),
    "endurance": endurance,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help=f"the labelled programs ({DATA})")
    parser.add_argument("--leg", action="append", choices=LEGS)
    parser.add_argument("--programs", type=int, default=10_000, help="of the endurance leg")
    given = parser.parse_args()
    if not (given.data / "hostile_code_submissions.jsonl").is_file():
        parser.error(f"no labelled programs in {given.data}")
    path = RESULTS / "sandbox.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    result.pop("environment", None)
    for name in given.leg or LEGS:
        result[name] = LEGS[name](given.data, given.programs)
    write("sandbox", result)


if __name__ == "__main__":
    main()
