"""Programs as answers, as a user meets them: verified, trained on, refused, and the doctor who looks at the jail."""

import gzip
import json
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.grading.jobs import check_problems, open_pool, stop_on_sandbox_error
from rlsd_cli.rollout.records import Pending, Prompt, Rollout
from rlsd_cli.training.judging import judge
from rlsd_sandbox import RefusedError, Sandbox, Settings
from rlsd_verifiers import Outcome, Verdict
from tests.commands.conftest import Rlsd

ADD = {"tests": [{"args": [2, 3], "expected": 5}], "entry_point": "add"}
RIGHT = {"response": "so\n```python\ndef add(a, b):\n    return a + b\n```\n", **ADD, "id": "right"}
WRONG = {"response": "def add(a, b):\n    return a - b", "tests": "assert add(2, 3) == 5", "id": "wrong"}
PRINTS = {"response": "print(int(input()) + 1)", "tests": [{"input": "1\n", "output": "2\n"}], "id": "prints"}
SILENT = {"response": "", **ADD, "id": "silent"}
BROKEN = {"response": "def add(a, b) return", **ADD, "id": "broken"}
UNTESTED = {"response": "1", "tests": [{"args": [1]}], "entry_point": "add", "id": "untested"}


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(done: CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module", autouse=True)
def _needs_a_jail() -> None:
    try:
        with Sandbox() as sandbox:
            sandbox.start()
    except RefusedError as error:
        pytest.skip(f"programs cannot be jailed here: {error}")


def test_rows_with_tests_are_verified_by_running_them(rlsd: Rlsd, tmp_path: Path) -> None:
    write(tmp_path / "code.jsonl", RIGHT, WRONG, PRINTS, SILENT, BROKEN, UNTESTED)
    done = rlsd("verify", "code.jsonl")
    assert done.returncode == 1, done.stderr
    rows = rows_of(done)
    assert [row["outcome"] for row in rows] == [
        "correct", "wrong", "correct", "no_answer", "unparseable", "bad_reference",
    ]  # fmt: skip
    assert [row["correct"] for row in rows] == [True, False, True, False, False, None]
    assert {row["verifier"] for row in rows} == {"code"}
    for row in rows[:3] + rows[4:5]:
        assert "seccomp" in row["sandbox"]
        assert row["weak"] is False
    assert "add(2, 3) is -1, not 5" in rows[1]["reason"]
    assert "programs run in a sandbox: " in done.stderr


def test_a_time_limit_on_the_command_line_is_the_programs(rlsd: Rlsd, tmp_path: Path) -> None:
    write(tmp_path / "code.jsonl", RIGHT | {"response": "while True:\n    pass"})
    done = rlsd("verify", "code.jsonl", "--timeout", "0.5")
    assert done.returncode == 0
    row = rows_of(done)[0]
    assert row["outcome"] == "timeout"
    assert 0.5 <= row["seconds"] < 1.5


def test_a_file_of_verdicts_continues_and_notices_another_program(rlsd: Rlsd, tmp_path: Path) -> None:
    write(tmp_path / "code.jsonl", RIGHT, WRONG)
    assert rlsd("verify", "code.jsonl", "--out", "v.jsonl").returncode == 0
    again = rlsd("verify", "code.jsonl", "--out", "v.jsonl")
    assert again.returncode == 0
    assert "v.jsonl is complete" in again.stderr
    write(tmp_path / "code.jsonl", RIGHT, WRONG | {"response": "def add(a, b):\n    return 5"})
    assert rlsd("verify", "code.jsonl", "--out", "v.jsonl").returncode == 4


CONTAINER = """
import os, platform, sys
from rlsd_sandbox import kernel, seccomp
calls = seccomp._MACHINES[platform.machine()].calls | {"landlock_create_ruleset": 444}
refuse = [(seccomp._RETURN, 0, 0, seccomp._EPERM)]
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
seccomp._set([
    (seccomp._LOAD, 0, 0, seccomp._NUMBER),
    *seccomp._if(calls, sys.argv[1].split(), refuse),
    *seccomp._if(calls, ["clone3"], [(seccomp._RETURN, 0, 0, seccomp._ENOSYS)]),
    *seccomp._if(calls, ["clone"], seccomp._refuse_bits(0, seccomp._NEW_NAMESPACE)),
    (seccomp._RETURN, 0, 0, seccomp._ALLOW),
])
os.execv(sys.executable, [sys.executable, "-m", "rlsd_cli.app", *sys.argv[2:]])
"""
"""`rlsd` where some system calls and all new namespaces are refused, as in a container with few rights."""


def contained(refused: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> CompletedProcess[str]:
    command = [sys.executable, "-c", CONTAINER, refused, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_in_a_container_without_namespaces_landlock_holds(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / "code.jsonl", RIGHT, WRONG, PRINTS)
    done = contained("unshare mount", ["verify", "code.jsonl"], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert [row["correct"] for row in rows_of(done)] == [True, False, True]
    for row in rows_of(done):
        assert row["sandbox"].startswith("landlock")


def test_where_nothing_can_be_had_programs_are_refused_and_the_reasons_given(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    write(tmp_path / "code.jsonl", RIGHT)
    refused = "unshare mount landlock_create_ruleset"
    done = contained(refused, ["verify", "code.jsonl"], tmp_path, environment)
    assert (done.returncode, done.stdout) == (3, "")
    for level in ("namespaces: ", "bubblewrap: ", "landlock: "):
        assert level in done.stderr
    unsafe = contained(refused, ["verify", "code.jsonl", "sandbox.allow_unsafe=true"], tmp_path, environment)
    assert unsafe.returncode == 0, unsafe.stderr
    assert rows_of(unsafe)[0]["sandbox"].startswith("UNSAFE")


def test_without_a_jail_nothing_is_run(rlsd: Rlsd, tmp_path: Path) -> None:
    write(tmp_path / "code.jsonl", RIGHT)
    done = rlsd("verify", "code.jsonl", "sandbox.level=none")
    assert (done.returncode, done.stdout) == (3, "")
    assert "programs cannot be run safely here" in done.stderr
    assert "sandbox.allow_unsafe=true" in done.stderr
    problems = {"question": "1+1=", "tests": [{"input": "", "output": "2\n"}], "solution": "print(2)"}
    write(tmp_path / "problems.jsonl", *[problems | {"question": f"{number}+1="} for number in range(40)])
    done = rlsd("train", "data=problems.jsonl", "sandbox.level=none")
    assert done.returncode == 3, done.stderr
    assert "programs cannot be run safely here" in done.stderr


def test_without_a_jail_a_harmless_program_runs_when_that_is_asked_for_and_every_result_says_so(
    rlsd: Rlsd, tmp_path: Path
) -> None:
    write(tmp_path / "code.jsonl", RIGHT)
    done = rlsd("verify", "code.jsonl", "sandbox.level=none", "sandbox.allow_unsafe=true")
    assert done.returncode == 0, done.stderr
    row = rows_of(done)[0]
    assert row["correct"] is True
    assert row["sandbox"].startswith("UNSAFE")
    assert "warning: programs run without a sandbox" in done.stderr


def test_math_needs_no_jail(rlsd: Rlsd, tmp_path: Path) -> None:
    write(tmp_path / "math.jsonl", {"response": r"\boxed{1}", "answer": "1"})
    done = rlsd("verify", "math.jsonl", "sandbox.level=none")
    assert done.returncode == 0
    assert "sandbox" not in rows_of(done)[0]


def test_a_run_is_rewarded_by_tests(rlsd: Rlsd, tmp_path: Path) -> None:
    problems = [
        {"question": f"{n}+1=", "tests": [{"input": "", "output": f"{n + 1}\n"}], "solution": f"print({n + 1})"}
        for n in range(60)
    ]
    write(tmp_path / "problems.jsonl", *problems)
    small = [
        "steps=1",
        "prompts_per_step=2",
        "samples_per_prompt=4",
        "evaluation.problems=2",
        "rollout.max_new_tokens=12",
    ]
    done = rlsd("train", "data=problems.jsonl", *small, "--mode", "rlvr", "--json")
    assert done.returncode == 0, done.stderr
    run = tmp_path / json.loads(done.stdout)["run"]
    metrics = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert sum(metrics["outcomes"].values()) == 8
    assert set(metrics["outcomes"]) <= {"correct", "wrong", "unparseable", "no_answer"}
    assert "allow_unsafe = false" in (run / "config.toml").read_text()
    (rollouts,) = (run / "rollouts").glob("*.jsonl.gz")
    row = json.loads(gzip.decompress(rollouts.read_bytes()).splitlines()[0])
    assert "seccomp" in row["sandbox"]
    assert row["weak"] is False


def test_a_failing_sandbox_stops_a_step_and_scores_nothing() -> None:
    config = merge([], Layer(COMMAND_LINE, {"method": "rlvr", "verifier_error_limit": 1.0})).config
    verdict: Future[Verdict] = Future()
    verdict.set_result(Verdict(Outcome.SANDBOX_ERROR, 0.0, None, "the sandbox failed: it came down"))
    problem = Problem("p", "p", "question", "", tests="assert f()")
    pending = Pending(Rollout(problem, 0, Prompt(()), (1,), None, False, "response"), verdict)
    with pytest.raises(RlsdError, match="it came down") as caught:
        judge(pending, config)
    assert caught.value.exit_code == EXIT_MACHINE
    with pytest.raises(RlsdError):
        stop_on_sandbox_error([Verdict(Outcome.CORRECT, 1.0, "", ""), verdict.result()])


def test_a_reference_program_must_pass_its_own_tests() -> None:
    config = merge([], Layer(COMMAND_LINE, {})).config
    tests = "assert double(2) == 4"
    solutions = {"right": "def double(n):\n    return 2 * n", "wrong": "def double(n):\n    return n", "none": None}
    problems = [Problem(name, name, name, "", solution=code, tests=tests) for name, code in solutions.items()]
    unreadable = Problem("unreadable", "unreadable", "unreadable", "", tests="assert (")
    with open_pool(config) as pool:
        faults = check_problems([*problems, unreadable], config, pool)
    assert set(faults) == {"wrong", "unreadable"}
    assert "double(2) is 2, not 4" in faults["wrong"]
    assert "not Python" in faults["unreadable"]


def test_the_doctor_names_the_jail_and_what_holds(rlsd: Rlsd) -> None:
    done = rlsd("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["fail"] == 0
    sandbox = [check for check in found["checks"] if check["about"] == "sandbox"]
    assert "seccomp" in sandbox[0]["found"]
    assert "self-test, 18 of 18 hold" in sandbox[0]["found"]


def test_the_doctor_says_no_where_programs_cannot_be_jailed(rlsd: Rlsd) -> None:
    done = rlsd("doctor", "sandbox.level=none")
    assert done.returncode == 1
    assert "fail  sandbox: level `none` needs `allow_unsafe`" in done.stdout
    assert rlsd("doctor", "nothing").returncode == 2


def test_settings_of_the_config_are_those_of_the_sandbox() -> None:
    from rlsd_cli.grading.jobs import sandbox_of

    keys = {f"sandbox.{name}": value for name, value in Settings()._asdict().items()}
    config = merge([], Layer(COMMAND_LINE, keys | {"sandbox.imports": [*Settings().imports]})).config
    assert sandbox_of(config) == Settings() == sandbox_of(merge([], Layer(COMMAND_LINE, {})).config)
