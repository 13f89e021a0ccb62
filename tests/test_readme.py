"""Every command of the README is run: the tour for real, what needs a download as a dry run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.forked import rlsd

pytestmark = pytest.mark.timeout(900)
"""The tour trains for real, which takes what the machine takes."""

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_A_DOWNLOAD = ("smollm2", "Qwen", "gsm8k")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def tour() -> list[str]:
    """The commands behind `$` in the console blocks, in order."""
    return [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


SHORTER = {"rlsd train --mode opsd": "rlsd train --mode opsd steps=2"}
"""What the tour trains a second time, which no later command takes further. `make test-all` trains it as printed."""


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a shell; a plain one of `rlsd` without, which spares it its imports."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
    if command.startswith("rlsd ") and not set("|<>;&$*\n") & set(command):
        return rlsd(*shlex.split(command)[1:], cwd=cwd, environment=environment, timeout=280)
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, subprocess.CompletedProcess[str]]]:
    folder = tmp_path_factory.mktemp("tour")
    return folder, {command: shell(SHORTER.get(command, command), folder) for command in tour()}


def test_the_tour_runs_as_printed(toured: tuple[Path, dict[str, subprocess.CompletedProcess[str]]]) -> None:
    _, results = toured
    assert any("train --mode rlsd" in command for command in results)
    for command, done in results.items():
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", SHORTER)
def test_what_the_default_tests_shorten_runs_as_printed(command: str, tmp_path: Path) -> None:
    assert command in tour()
    done = shell(command, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_main_job_learns_what_the_readme_says(
    toured: tuple[Path, dict[str, subprocess.CompletedProcess[str]]],
) -> None:
    folder, _ = toured
    (path,) = (folder / "runs").glob("quickstart-rlsd-*/status.json")
    status: dict[str, Any] = json.loads(path.read_text())
    assert status["status"] == "done"
    assert status["method"] == "rlsd"
    assert status["start"]["accuracy"] < 0.40
    assert status["final"]["accuracy"] >= 0.85


def test_the_other_commands_are_commands(tmp_path: Path) -> None:
    """Shell blocks, line by line: `make` prints its recipe, and `rlsd` says what it would do."""
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1), "solution": "..."} for n in range(50)]
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    commands = [line.split("#")[0].strip() for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()]
    seen = [command for command in commands if command.startswith(("make ", "rlsd ", "torchrun "))]
    assert len(seen) >= 5
    for command in seen:
        if command.startswith("make "):
            done = shell(command.replace("make", "make -n", 1), ROOT)
        elif command.startswith("torchrun"):
            done = shell(command.replace("--nproc-per-node 8", "--nproc-per-node 1") + " --dry-run", tmp_path)
        elif command.startswith("rlsd train"):
            done = shell(f"{command} --dry-run", tmp_path)
        else:
            done = shell(
                " ".join(command.split()[: 3 if command.startswith("rlsd models") else 2]) + " --help", tmp_path
            )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_sweep_is_a_shell_loop_that_works(tmp_path: Path) -> None:
    """Its runs are there before, made by forks: the loop shows each again, and makes none."""
    (loop,) = [block for block in blocks("sh") if "for mode" in block]
    settings = "data=arithmetic:count=400 steps=1 prompts_per_step=2 evaluation.problems=4 evaluation.every=0"
    short = loop.replace("--mode $mode", f"--mode $mode {settings}").replace("seed in 0 1 2", "seed in 0")
    assert short.count(settings) == short.count("seed in 0;") == 1
    runs = [shell(f"rlsd train --mode {mode} {settings} seed=0 --json", tmp_path) for mode in ("rlvr", "opsd", "rlsd")]
    done = shell(short, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is finished") == 3
    assert (tmp_path / "results.jsonl").read_text() == "".join(run.stdout for run in runs)
    assert [json.loads(run.stdout)["method"] for run in runs] == ["rlvr", "opsd", "rlsd"]
    assert not (tmp_path / "failed.txt").exists()
    assert len(list((tmp_path / "runs").glob("*/status.json"))) == 4  # three runs and `latest`


def test_every_path_and_link_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / target).exists(), target
    tree = next(block for block in blocks("text") if "rlsd_cli/" in block)
    for folder in re.findall(r"^(?:  )?(\w+)/", tree, re.MULTILINE):
        assert any((ROOT / base / folder).is_dir() for base in (".", "rlsd_cli", "verifiers/rlsd_verifiers")), folder
    assert shutil.which("bash")
