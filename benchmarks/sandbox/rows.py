"""Labelled programs, what their labels allow as an outcome, and what a machine looks like before and after they ran.

Standard library only, and run as a program too: it then grades the catalogue of attacks at one level and prints the
verdicts, which is how that is done as another user.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.policy.meter import free_bytes, resident_bytes
from rlsd_sandbox import Settings
from rlsd_verifiers import Job, Outcome, Pool, Submission, Verdict

ALLOWED = {
    "pass": {Outcome.CORRECT},
    "fail": {Outcome.WRONG, Outcome.NO_ANSWER, Outcome.UNPARSEABLE},
    "error": {Outcome.WRONG, Outcome.NO_ANSWER, Outcome.UNPARSEABLE},
    "timeout": {Outcome.TIMEOUT},
    "memory": {Outcome.MEMORY},
    "output_limit": {Outcome.OUTPUT_LIMIT},
}
"""A label to the outcomes it allows. A program that raises is `wrong` here, and `error` in the labels."""


class Row(NamedTuple):
    """A program with its tests. `label`: verdicts it may get, with `|` between them."""

    id: str
    submission: Submission
    label: str
    kind: str

    @property
    def must_pass(self) -> bool:
        return self.label == "pass"

    def allows(self, outcome: Outcome) -> bool:
        return any(outcome in ALLOWED[word] for word in self.label.split("|"))


def hostile(data: Path) -> list[Row]:
    """The catalogue of attacks, with its controls; its problem is to add two integers."""
    problem = json.loads((data / "hostile_code_problem.json").read_text())["add"]
    rows = []
    for row in _lines(data / "hostile_code_submissions.jsonl"):
        given = problem[row["mode"]]
        submission = Submission(row["code"], tests=given["tests"], entry_point=given.get("entry_point"))
        rows.append(Row(row["id"], submission, row["expected_verdict"], row["category"]))
    return rows


def labelled(data: Path, name: str) -> list[Row]:
    """Canonical solutions and mutants of HumanEval or MBPP, and programs from the tests of other projects."""
    rows = []
    for row in _lines(data / f"{name}.jsonl"):
        submission = Submission(row["code"], tests=_tests(row), entry_point=row["entry_point"])
        rows.append(Row(row["task_id"], submission, row["expected_verdict"], row.get("kind", row["mode"])))
    return rows


def _tests(row: dict[str, Any]) -> Any:
    if "tests" in row:
        return row["tests"]
    pairs = zip(row["inputs"], row["outputs"], strict=True)
    if row["mode"] == "stdio":
        return [{"input": given, "output": output} for given, output in pairs]
    return [{"args": given, "expected": output[0]} for given, output in pairs]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def grade(rows: Iterable[Row], settings: Settings, workers: int = 2) -> list[Verdict]:
    """Verdicts in order, by the pool that everything uses."""
    with Pool(workers, sandbox=settings) as pool:
        return [*pool.verify(Job(row.submission, "code") for row in rows)]


# -- the machine -------------------------------------------------------------------------------------------------------


def machine() -> dict[str, int]:
    """What a jail could leave behind, counted."""
    processes = [process for process in Path("/proc").iterdir() if process.name.isdigit()]
    listening = [line for name in ("tcp", "tcp6") for line in _text(f"/proc/net/{name}").splitlines() if " 0A " in line]
    return {
        "processes": len(processes),
        "sandbox processes": sum("rlsd_sandbox" in _text(process / "cmdline") for process in processes),
        "control groups": sum(
            len(list(Path("/sys/fs/cgroup").glob(f"{'*/' * deep}rlsd-sandbox-*"))) for deep in range(5)
        ),
        "mounts": len(_text("/proc/self/mounts").splitlines()),
        "listening sockets": len(listening),
        "files in scratch": len(list(Path("/tmp").glob("rlsd-scratch-*"))) + len(list(Path("/dev/shm").glob("*"))),
        "own descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "own memory, MB": resident_bytes() // 2**20,
        "free memory, MB": free_bytes("cpu") // 2**20,
        "free disk, MB": os.statvfs("/tmp").f_bavail * os.statvfs("/tmp").f_frsize // 2**20,
    }


def _text(path: Path | str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    folder, level, timeout = sys.argv[1:]
    found = grade(hostile(Path(folder)), Settings(level=level, timeout_seconds=float(timeout)))
    print(json.dumps(found))
