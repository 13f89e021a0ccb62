"""`rlsd train` and `rlsd eval` as a user types them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import resolve
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.subject import find_subject
from rlsd_cli.policy import meter
from rlsd_cli.policy.memory_parts import MB, PHASES
from rlsd_cli.training.forecast import forecast, refuse_what_cannot_fit
from tests.forked import Command, rlsd

FEW = ["data=arithmetic:count=400", "prompts_per_step=4", "samples_per_prompt=4", "evaluation.problems=10"]
SMALL = ["steps=3", *FEW]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def finished(folder: Path) -> dict[str, Any]:
    """In a process that has loaded nothing, and says all that it does; others here are forks."""
    command = [sys.executable, "-m", "rlsd_cli.app", "train", "--mode", "rlsd", *SMALL, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_train_prints_one_object_and_writes_what_it_says(finished: dict[str, Any], folder: Path) -> None:
    keys = ["run", "status", "method", "steps", "seconds", "start", "final", "reward_last10", "peak_memory_mb"]
    assert list(finished) == keys
    assert (finished["status"], finished["method"], finished["steps"]) == ("done", "rlsd", 3)
    run = folder / finished["run"]
    for name in [
        "config.toml",
        "command.txt",
        "environment.json",
        "status.json",
        "metrics.jsonl",
        "rollouts",
        "evals",
        "checkpoints",
        "logs",
    ]:
        assert (run / name).exists(), name
    assert (folder / "runs" / "latest").resolve() == run.resolve()
    assert "train --mode rlsd" in (run / "command.txt").read_text()


def test_the_same_command_says_that_it_is_done(finished: dict[str, Any], folder: Path) -> None:
    again = rlsd("train", "--mode", "rlsd", *SMALL, "--json", cwd=folder)
    assert again.returncode == 0
    assert "is finished" in again.stderr
    assert json.loads(again.stdout) == finished


def test_a_dry_run_of_a_finished_run_shows_its_memory_beside_the_estimate(
    finished: dict[str, Any], folder: Path
) -> None:
    dry = rlsd("train", "--mode", "rlsd", *SMALL, "--dry-run", "--json", cwd=folder)
    assert dry.returncode == 0, dry.stderr
    memory = json.loads(dry.stdout)["memory"]
    assert memory["measured_bytes"] == finished["peak_memory_mb"] * MB
    assert memory["peak_bytes"] == sum(
        part["num_bytes"] for part in memory["components"] if part["phase"] in PHASES[memory["highest"]]
    )
    status = json.loads((folder / finished["run"] / "status.json").read_text())
    assert 0.7 < finished["peak_memory_mb"] / status["estimated_memory_mb"] < 1.1
    said = next(line for line in dry.stderr.splitlines() if line.startswith("memory "))
    assert f"the run of this config took {finished['peak_memory_mb']} MiB" in said
    assert "activations" in dry.stderr


def test_a_dry_run_says_in_one_line_that_a_model_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLSD_HOME", str(tmp_path))
    for model, why in (
        ("smollm2-135m-instruct", "is not on this machine"),
        ("some/model", "is not on this machine yet"),
    ):
        found = forecast(resolve([], {"model": model}), tmp_path)
        (line,) = found.in_lines()
        assert line.startswith("memory   no estimate: ")
        assert why in line
        assert why in found.as_json()["unknown"]


def test_a_run_that_cannot_fit_is_refused_before_its_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "free_bytes", lambda _: 20 * MB)
    with pytest.raises(RlsdError, match=r"takes at least .* and 20 MiB are free") as caught:
        refuse_what_cannot_fit(resolve([], {}), tmp_path)
    assert caught.value.exit_code == 3
    assert "the largest part is process" in str(caught.value.hint)
    monkeypatch.setattr(meter, "free_bytes", lambda _: None)
    assert refuse_what_cannot_fit(resolve([], {}), tmp_path) is None


def test_the_runs_own_config_names_the_same_run(finished: dict[str, Any], folder: Path) -> None:
    shown = rlsd("config", "show", f"{finished['run']}/config.toml", "--json", cwd=folder)
    values = {key: entry["value"] for key, entry in json.loads(shown.stdout).items()}
    assert values["steps"] == 3
    assert values["method"] == "rlsd"


def test_eval_takes_the_newest_finished_run_a_run_a_checkpoint_and_a_model(
    finished: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    checkpoint = Path(finished["run"]) / "checkpoints" / "000003"
    for target in (None, Path(finished["run"]).name, finished["run"], str(checkpoint), "runs/latest"):
        subject = find_subject(target, Path("runs"))
        assert subject.run is not None
        assert (subject.run.path.resolve(), subject.step) == (Path(finished["run"]).resolve(), 3)
        assert Path(subject.layers[-1].values["model"]).resolve() == checkpoint.resolve()
    done = rlsd("eval", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"model", "data", "n", "samples", "mean", "ci95", "pass_at_k", "outcomes", "tokens_per_response"} <= set(
        result
    )
    assert result["mean"] == finished["final"]["accuracy"]
    plain = rlsd("eval", "quickstart", "data=arithmetic:count=400", "evaluation.problems=10", "--json", cwd=folder)
    assert json.loads(plain.stdout)["mean"] == finished["start"]["accuracy"]


def test_eval_on_a_file_with_samples_reports_pass_at_k(finished: dict[str, Any], folder: Path) -> None:
    rows = [{"question": f"Q{n}+1=", "answer": str(n + 1), "verifier": "exact"} for n in range(1, 13)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = rlsd("eval", finished["run"], "--data", "mine.jsonl", "--samples", "4", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["n"] == 12
    assert result["samples"] == 4
    assert list(result["pass_at_k"]) == ["1", "2", "4"]
    assert result["pass_at_k"]["1"] <= result["pass_at_k"]["2"] <= result["pass_at_k"]["4"]
    assert list(folder.glob(f"{finished['run']}/evals/mine-k4-*/000003/samples.jsonl"))


def wait_for_steps(run: Path, count: int) -> None:
    for _ in range(1200):
        metrics = run / "metrics.jsonl"
        if metrics.is_file() and metrics.read_text().count("\n") >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{run} did not reach step {count}")


def only_run(root: Path) -> Path:
    for _ in range(600):
        found = [path.parent for path in root.glob("*/status.json") if not path.parent.is_symlink()]
        if found and not found[0].name.startswith("."):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no run under {root}")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_the_state_and_the_same_command_continues(tmp_path: Path, number: int, code: int) -> None:
    arguments = ["train", "steps=40", *FEW, "evaluation.every=0"]
    process = Command(arguments, tmp_path)
    run = only_run(tmp_path / "runs")
    wait_for_steps(run, 2)

    busy = rlsd(*arguments, cwd=tmp_path)
    assert busy.returncode == 4, busy.stderr
    assert "is in use by process" in busy.stderr

    process.send_signal(number)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == code, talk
    assert "state saved" in talk
    assert "hint: the same command continues" in talk
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "interrupted"
    done = status["step"]
    assert (run / "checkpoints" / f"{done:06d}" / "model.safetensors").is_file()
    assert (run / "metrics.jsonl").read_text().count("\n") == done

    again = Command(arguments, tmp_path)
    wait_for_steps(run, done + 1)
    again.send_signal(signal.SIGKILL)
    _, talk = again.communicate(timeout=60)
    assert f"continuing at step {done + 1} of 40" in talk


def test_errors_leave_nothing_half_written(tmp_path: Path) -> None:
    for arguments, code in (
        (["model=no-such-model"], 3),
        (["data=nowhere.jsonl"], 2),
        (["verifier=exactly", "data=bad.jsonl"], 2),
    ):
        (tmp_path / "bad.jsonl").write_text('{"question": "q", "answer": "1"}\n' * 3)
        done = rlsd("train", *arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("error: ")
        assert not (tmp_path / "runs").exists()


def test_a_trained_policy_is_exported_without_the_trainers_state(finished: dict[str, Any], folder: Path) -> None:
    done = rlsd("models", "export", finished["run"], "plain", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "plain\n"
    assert not (folder / "plain" / "trainer_state").exists()
    again = rlsd("models", "export", finished["run"], "plain", cwd=folder)
    assert again.returncode == 2
    assert "--force" in again.stderr
    settings = ["prompt.template={question}", "data=arithmetic", "evaluation.problems=10"]
    too_long = rlsd("eval", "plain", *settings, cwd=folder)
    assert too_long.returncode == 2
    assert "do not fit the model's 256" in too_long.stderr
    scored = rlsd("eval", "plain", *settings, "evaluation.max_new_tokens=56", "--json", cwd=folder)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["n"] == 10
