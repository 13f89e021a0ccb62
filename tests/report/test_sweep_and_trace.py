"""`rlsd sweep`, `rlsd trace`, what shells complete, and loops that a signal ends."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import resolve
from rlsd_cli.console import bar_words
from rlsd_cli.errors import RlsdError
from rlsd_cli.report.sweeps import plan, point, values_of
from rlsd_cli.runs.rundir import RunDir, create, find_run, run_name
from rlsd_cli.training.trackers import Mirrored
from tests.forked import rlsd
from tests.report.conftest import SHORT

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RLSD_")},
    "PYTHONPATH": f"{ROOT}:{ROOT / 'verifiers'}",
    "COLUMNS": "120",
}


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return rlsd(*arguments, cwd=folder, environment=ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0..2", ["0", "1", "2"]),
        ("-1..0", ["-1", "0"]),
        ("1e-6,2e-6", ["1e-6", "2e-6"]),
        ("[1, 2],[3]", ["[1, 2]", "[3]"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ("one", ["one"]),
    ],
)
def test_values_are_listed_as_a_shell_user_writes_them(text: str, values: list[str]) -> None:
    assert values_of(text) == values


def test_a_plan_is_the_same_twice_and_a_done_one_starts_nothing(trained: Path) -> None:
    asked = ["sweep", "plan", "quickstart", *SHORT, "--mode", "rlvr,rlsd", "seed=0..1"]
    first, second = run(trained, *asked), run(trained, *asked)
    assert first.stdout == second.stdout
    lines = first.stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("seed=1")
    assert "4 commands, all valid, 4 already done" in first.stderr
    again = subprocess.run(
        [sys.executable, "-m", "rlsd_cli", *lines[0].split()[1:]],
        cwd=trained,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "is finished" in again.stderr


def test_the_status_of_a_plan_reads_the_runs_and_counts_what_is_missing(trained: Path) -> None:
    commands = run(trained, "sweep", "plan", "quickstart", *SHORT, "--mode", "rlvr,rlsd", "seed=0..2").stdout
    (trained / "plan.txt").write_text("# a comment\n\n" + commands)
    done = run(trained, "sweep", "status", "plan.txt", "--json")
    assert done.returncode == 0
    assert [row["status"] for row in json.loads(done.stdout)] == ["done", "done", "waiting"] * 2
    table = run(trained, "sweep", "status", "plan.txt", "--table", "accuracy", "--by", "method", "--json")
    cells = json.loads(table.stdout)
    assert [(cell["values"], cell["metric"]["n"], cell["missing"]) for cell in cells] == [
        (["rlvr"], 2, 1),
        (["rlsd"], 2, 1),
    ]
    assert run(trained, "sweep", "status", "plan.txt", "--table", "acuracy").returncode == 2
    failed = trained / "runs" / json.loads(done.stdout)[0]["run"] / "status.json"
    before = failed.read_text()
    failed.write_text(json.dumps(json.loads(before) | {"status": "failed", "error": "step 1: the loss is not finite"}))
    shown = run(trained, "sweep", "status", "plan.txt")
    failed.write_text(before)
    assert shown.returncode == 1
    assert "the loss is not finite" in shown.stdout


def test_lines_of_a_plan_may_have_what_a_shell_user_puts_around_a_command(tmp_path: Path) -> None:
    plain = point("rlsd train quickstart seed=1", tmp_path)
    for line in (
        "CUDA_VISIBLE_DEVICES=1 rlsd train quickstart seed=1 --json >> results.jsonl",
        "srun -n 1 rlsd train quickstart seed=1 -q || echo failed",
        "rlsd train --mode=rlsd quickstart seed=1",
    ):
        assert point(line, tmp_path).run == plain.run
    for line, words in (
        ("rlsd eval quickstart", "does not train"),
        ("rlsd train quickstart --again", "has no place in a sweep"),
        ("rlsd train quickstart 'seed=1", "no line of a shell"),
        ("rlsd train quickstart sed=1", "unknown key"),
    ):
        with pytest.raises(RlsdError, match=words):
            point(line, tmp_path)


def test_nothing_is_planned_where_one_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RlsdError, match="input should be greater than 0"):
        plan(["quickstart", "optim.lr=1e-5,-1"], None, tmp_path)
    with pytest.raises(RlsdError, match="are one run"):
        plan(["quickstart", "seed=0,0"], None, tmp_path)
    with pytest.raises(RlsdError, match="is empty"):
        plan(["quickstart", "seed=3..1"], None, tmp_path)


@pytest.mark.parametrize("mode", ["rlsd", "opsd"])
def test_a_trace_has_every_number_of_a_step(mode: str, tmp_path: Path) -> None:
    done = run(tmp_path, "trace", "--mode", mode, "--json", "data=arithmetic:count=50")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["rollouts"]) == 8
    assert found["views"]
    assert found["metrics"]["trained_tokens"] > 0
    key = "credit" if mode == "rlsd" else "pull"
    assert any(rollout[key] for rollout in found["rollouts"])
    assert not (tmp_path / "runs").exists()
    shown = run(tmp_path, "trace", "--mode", mode, "data=arithmetic:count=50")
    assert found["problem"]["question"] in shown.stdout
    assert run(tmp_path, "trace", "--problem", "nothing").returncode == 2


def test_a_run_is_a_model_for_the_next(trained: Path, tmp_path: Path) -> None:
    name = next(path.name for path in (trained / "runs").glob("quickstart-rlvr-*"))
    done = run(trained, "train", "--mode", "rlsd", f"model={name}", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["value"] == f"runs/{name}/checkpoints/000002"
    assert f"model={name} is its checkpoint of step 2" in done.stderr
    status = json.loads((trained / "runs" / name / "status.json").read_text())
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    (tmp_path / "runs" / "empty" / "status.json").write_text(json.dumps(status))
    refused = run(tmp_path, "train", "model=empty", "--dry-run")
    assert refused.returncode == 2
    assert "has no checkpoint yet" in refused.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("rlsd train gsm8k-rl", {"gsm8k-rlsd", "gsm8k-rlvr"}),
        ("rlsd train --mode rls", {"rlsd"}),
        ("rlsd train optim.sched", {"optim.schedule="}),
        ("rlsd train data=knig", {"data=knights"}),
        ("rlsd runs show lat", {"latest"}),
        ("rlsd config show optim.schedule=c", {"optim.schedule=constant", "optim.schedule=cosine"}),
    ],
)
def test_shells_complete_without_torch(words: str, found: set[str], trained: Path) -> None:
    code = (
        "import sys; sys.argv = ['rlsd']\n"
        "from rlsd_cli.app import app\n"
        "try:\n    app(prog_name='rlsd')\n"
        "finally:\n    assert 'torch' not in sys.modules\n"
    )
    completing = {"_RLSD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=trained,
        env=ENVIRONMENT | completing,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == found, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_loop_around_a_command(number: signal.Signals, trained: Path, tmp_path: Path) -> None:
    """bash goes on to the next command unless the one before died of the signal itself."""
    run_folder = next(path for path in (trained / "runs").glob("quickstart-rlvr-*"))
    folder = tmp_path / "runs" / run_folder.name
    folder.mkdir(parents=True)
    for name in ("status.json", "config.toml", "metrics.jsonl"):
        (folder / name).write_text((run_folder / name).read_text())
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"status": "running", "pid": os.getpid()}))
    command = f"{sys.executable} -m rlsd_cli runs tail {folder.name} --follow"
    loop = subprocess.Popen(
        ["bash", "-c", f"for turn in 1 2 3; do {command}; echo after $?; done"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert loop.stdout is not None
    while not loop.stdout.readline().startswith("step     2"):
        pass
    time.sleep(0.2)
    if number is signal.SIGINT:  # as a terminal does: to the whole group
        os.killpg(loop.pid, number)
    else:
        subprocess.run(["pkill", "-TERM", "-P", str(loop.pid)], check=True)
    if number is signal.SIGINT:
        assert loop.wait(timeout=20) == -signal.SIGINT
        assert "after" not in loop.stdout.read()
    else:
        assert loop.stdout.readline() == "after 143\n"
        os.killpg(loop.pid, signal.SIGKILL)
        loop.wait()


def test_the_bar_says_what_lines_say_in_sixty_columns() -> None:
    names = "reward_mean loss entropy response_tokens_mean zero_variance_rate".split()
    metrics = dict(zip(names, (0.4567, -0.00123, 0.171, 2048.4, 0.0625), strict=True)) | {"seconds": 123.4}
    narrow, wide = (bar_words(metrics, wide=each) for each in (False, True))
    assert narrow == "r 0.457 l -0.001 H 0.17 T 2048 zv 0.06"
    assert len("1000/1000 1:00:00 " + narrow) <= 60
    assert wide == "reward 0.457  loss -0.001  entropy 0.17  tokens 2048  zero-variance 0.06  123.4 s"
    assert bar_words(metrics | {"reward_mean": None}, wide=False).startswith("l ")


def test_more_steps_extend_a_run_to_what_it_would_have_been(trained: Path, tmp_path: Path) -> None:
    short = [word for word in SHORT if not word.startswith("steps=")]
    arguments = ["train", "--mode", "rlsd", "seed=0", *short, "--json"]
    extended = tmp_path / "extended"
    shutil.copytree(trained / "runs", extended / "runs", symlinks=True)
    done = [run(extended, *arguments, "steps=3"), run(tmp_path, *arguments, "steps=3")]
    for each in done:
        assert each.returncode == 0, each.stderr
    assert "continuing at step 3 of 3" in done[0].stderr
    names = [json.loads(each.stdout)["run"] for each in done]
    assert names[0] == names[1]
    rows = [
        [json.loads(line) for line in (folder / names[0] / "metrics.jsonl").read_text().splitlines()]
        for folder in (extended, tmp_path)
    ]
    for one, other in zip(*rows, strict=True):
        assert one["weights_digest"] == other["weights_digest"]
        assert one["rollouts_sha256"] == other["rollouts_sha256"]
    again = run(extended, *arguments, "steps=2")
    assert "is finished; more `steps` extend it" in again.stderr
    assert json.loads(again.stdout)["steps"] == 3


def test_a_run_whose_rate_follows_its_steps_is_not_extended(tmp_path: Path) -> None:
    first = resolve(["quickstart"], {"optim.schedule": "cosine", "steps": 4})
    place = RunDir(tmp_path / run_name(first))
    assert "steps4" in place.name
    create(place, first)
    longer = resolve([str(place.path / "config.toml")], {"steps": 8})
    with pytest.raises(RlsdError, match="cannot have 8 steps: its learning rate follows its 4") as caught:
        find_run(tmp_path, longer, again=False)
    assert caught.value.exit_code == 4


def test_numbers_go_to_a_tracker_and_its_failure_is_a_warning(tmp_path: Path) -> None:
    said: list[str] = []

    class Report:
        def step(self, metrics: Mapping[str, Any], steps: int) -> None:
            said.append(f"step {metrics['step']} of {steps}")

        def evaluation(self, step: int, summary: Mapping[str, Any]) -> None:
            said.append(f"evaluation {step} {summary['mean']}")

        def warning(self, kind: str, text: str) -> None:
            said.append(f"{kind}: {text}")

    class Tracker:
        def __init__(self) -> None:
            self.got: list[tuple[dict[str, float], int]] = []

        def log(self, numbers: Mapping[str, float], step: int) -> None:
            if step == 3:
                raise OSError("no room")
            self.got.append((dict(numbers), step))

        def close(self) -> None:
            said.append("closed")

    tracker = Tracker()
    mirror = Mirrored(Report(), "tensorboard", lambda: tracker)
    mirror.step({"step": 1, "loss": 0.5, "kl": None, "outcomes": {"wrong": 2}, "weights_digest": "ab"}, 4)
    mirror.evaluation(2, {"mean": 0.25, "data": "d"})
    mirror.step({"step": 3, "loss": 0.5}, 4)
    mirror.step({"step": 4, "loss": 0.5}, 4)
    mirror.close()
    assert tracker.got == [({"loss": 0.5, "outcomes/wrong": 2.0}, 1), ({"eval/mean": 0.25}, 2)]
    assert said == [
        "step 1 of 4",
        "evaluation 2 0.25",
        "step 3 of 4",
        "tracker: tensorboard is not written any more: OSError: no room",
        "step 4 of 4",
    ]
    del tmp_path


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_that_is_installed_is_written(name: str, tmp_path: Path) -> None:
    installed = importlib.util.find_spec(name) is not None
    short = ["data=arithmetic:count=50", "steps=1", "prompts_per_step=2", "evaluation.problems=2", f"tracker={name}"]
    done = run(tmp_path, "train", "--mode", "rlvr", *short)
    if not installed:
        assert done.returncode == 3
        assert f"needs the package `{name}`" in done.stderr
        assert not (tmp_path / "runs").exists()
        return
    assert done.returncode == 0, done.stderr
    assert "not written any more" not in done.stderr
    assert any((tmp_path / "runs" / "latest" / "logs").rglob("*tfevents*" if name == "tensorboard" else f"*{name}*"))
