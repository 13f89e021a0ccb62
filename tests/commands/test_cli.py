"""What the commands do: results, refusals with a way out, exit codes."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import resolve
from rlsd_cli.errors import RlsdError
from rlsd_cli.runs.rundir import RunDir, create, run_name

Call = Callable[..., Any]


def a_run(root: Path, method: str = "rlsd", **status: object) -> RunDir:
    """The folder of the run that `rlsd train --mode METHOD` would make under a root."""
    resolved = resolve([], {"method": method})
    run = RunDir(root / run_name(resolved))
    create(run, resolved)
    run.set_status(**status)
    return run


DONE = {
    "status": "done",
    "steps": 40,
    "seconds": 1.5,
    "start": {"accuracy": 0.25, "ci95": [0.2, 0.3]},
    "final": {"accuracy": 0.5, "ci95": [0.4, 0.6]},
    "reward_last10": 0.5,
    "peak_memory_mb": 512,
}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["trian"], 2, "'train'"),
        (["train", "--dry-rnu"], 2, "--dry-run"),
        (["presets", "shw"], 2, "'show'"),
        (["train", "quickstrt"], 2, "hint: did you mean `quickstart`"),
        (["train", "missing.toml"], 2, "error: no file `missing.toml`"),
        (["train", "--mode", "rlsdd"], 2, "hint: did you mean `rlsd`"),
        (["train", "--mode", "grop"], 2, "hint: did you mean `grpo`"),
        (["train", "--mode", "rlvr", "credit.mix=0.9"], 2, "hint: `credit.mix`: read by `rlsd`"),
        (["train", "gsm8k-rlvr", "teacher.view=none"], 2, "hint: `teacher.view`: read by `opsd`, `rlsd`"),
        (["train", "--mode", "sft", "loss.kl_coef=0.1"], 2, "`loss.kl_coef` = 0.1 (command line): method `sft`"),
        (["config", "show", "method=rlvr", "distill.beta=0.5"], 2, "hint: `distill.beta`: read by `opsd`"),
        (["config", "keys", "credit", "--mode", "rlvr"], 2, "error: method `rlvr` does not read `credit`"),
        (["config", "keys", "distill", "--method", "rlsd"], 2, ": read by `opsd`"),
        (["config", "keys", "--mode", "rlsdd"], 2, "hint: did you mean `rlsd`"),
        (["train", "mix=0.3"], 2, "hint: did you mean `credit.mix`?"),
        (["train", "data=arithmetik"], 2, "hint: did you mean `arithmetic`"),
        (["train", "data=missing.jsonl"], 2, "error: no task or file named `missing.jsonl`"),
        (["train", "data=p.jsonl", "verifier=numerik"], 2, "hint: did you mean `numeric`?"),
        (["train", "data=countdown:numbers=9", "--dry-run"], 2, "`numbers` = 9 is not in 3..6"),
        (["train", "model=quickstrat"], 3, "hint: did you mean `quickstart`?"),
        (["train", "device=cuda:x"], 2, "hint: auto, cpu, cuda or cuda:N"),
        (["eval", "quickstrat"], 3, "hint: did you mean `quickstart`"),
        (["eval", "quickstart", "runs/other"], 2, "one thing is evaluated at a time"),
        (["presets", "show", "quickstrt"], 2, "hint: did you mean `quickstart`"),
        (["config", "show", "seed=-1"], 2, "`seed` = -1 (command line): input should be greater than or equal to 0"),
        (["config", "keys", "optimm"], 2, "hint: did you mean `optim`"),
        (["models", "get", "smollm2-135m-instuct"], 2, "hint: did you mean `smollm2-135m-instruct`?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_with_a_way_out_and_leaves_no_run(
    arguments: list[str], code: int, words: str, call: Call, tmp_path: Path
) -> None:
    problems = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(100)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
    done = call(*arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert not (tmp_path / "runs").exists()


def test_an_unforeseen_error_is_one_line_and_the_traceback_is_there_for_the_asking(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("rlsd_cli.config.resolve.resolve", broken)
    done = call("config", "show")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ZeroDivisionError: on purpose\n\nhint: this is a fault of rlsd")
    assert "Traceback" not in done.err
    monkeypatch.setenv("RLSD_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in call("config", "show").err


def test_a_finished_run_says_so_and_shows_its_result_again(call: Call, tmp_path: Path) -> None:
    run = a_run(tmp_path / "runs", **DONE)
    table, as_json = call("train"), call("train", "--json")
    assert (table.code, as_json.code) == (0, 0)
    assert "is finished; more `steps` extend it, `--again` makes another attempt beside it" in table.err
    assert "0.500 [0.400, 0.600]" in table.out
    assert json.loads(as_json.out) == DONE | {"run": f"runs/{run.name}", "method": "rlsd"}


def test_mode_and_method_are_one_option_and_another_name_of_a_method_is_said_and_is_its_run(
    call: Call, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "runs", method="rlvr", **DONE)
    asked = (["--mode", "rlvr"], ["--method", "rlvr"], ["method=rlvr"], ["--mode", "grpo"], ["method=grpo"])
    for arguments in asked:
        done = call("train", *arguments, "--json")
        assert json.loads(done.out)["run"] == f"runs/{run.name}", arguments
        assert ("`grpo` is the method `rlvr`: " in done.err) == ("grpo" in arguments[-1])


def test_what_a_method_does_not_read_of_a_preset_is_left_out_and_said(call: Call) -> None:
    shown = call("config", "show", "gsm8k-opsd", "method=rlvr", "--json")
    assert "preset gsm8k-opsd: method `rlvr` does not read `teacher.weights`, `teacher.view`: left out\n" in shown.err
    listed = [key["name"] for key in json.loads(call("config", "keys", "--mode", "rlvr", "--json").out)]
    assert list(json.loads(shown.out)) == listed
    assert not [key for key in listed if key.startswith(("teacher.", "distill.", "credit."))]
    dry = call("train", "gsm8k-opsd", "--mode", "rlvr", "--dry-run")
    assert "does not read `teacher.weights`, `teacher.view`: left out\n" in dry.err
    assert "left out" not in call("train", "gsm8k-opsd", "--mode", "rlvr", "--dry-run", "--quiet").err


def test_the_root_can_be_set_for_one_command_or_for_all(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run(tmp_path / "elsewhere", **DONE)
    assert call("--root", "elsewhere", "train").code == 0
    monkeypatch.setenv("RLSD_ROOT", "elsewhere")
    assert call("train").code == 0


def test_a_run_in_use_is_left_alone(call: Call, tmp_path: Path) -> None:
    run = a_run(tmp_path / "runs", status="running", step=3)
    with run.lock():
        done = call("train")
    assert (done.code, done.out) == (4, "")
    assert "is in use by process" in done.err
    assert "`--again`" in done.err
    assert run.status()["status"] == "running"


def test_a_run_of_another_config_is_left_alone(call: Call, tmp_path: Path) -> None:
    run = a_run(tmp_path / "runs")
    config = run.path / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("seed = 0", "seed = 1"), encoding="utf-8")
    done = call("train")
    assert (done.code, done.out) == (4, "")
    assert "holds a run of another config" in done.err


def test_a_run_without_a_checkpoint_cannot_be_evaluated(call: Call, tmp_path: Path) -> None:
    run = a_run(tmp_path / "runs")
    done = call("eval", run.name)
    assert (done.code, done.out) == (2, "")
    assert "has no checkpoint yet" in done.err


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation ends where its model would begin to answer."""

    def stop(*_: object) -> None:
        raise RlsdError("nobody answers", exit_code=3)

    monkeypatch.setattr("rlsd_cli.evaluation.evaluate.evaluate", stop)


@pytest.mark.usefixtures("unanswered")
def test_all_of_a_file_is_evaluated_unless_a_number_is_asked_for(call: Call, tmp_path: Path) -> None:
    rows = [{"question": f"question {n}", "answer": "not a number"} for n in range(400)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["eval", "quickstart", "verifier=numeric", "--data", "p.jsonl"]
    assert "warning: 400 problems, of which 400 cannot be graded" in call(*arguments).err
    assert "warning: 7 problems, of which 7 cannot be graded" in call(*arguments, "evaluation.problems=7").err


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prompt fits."""
    from rlsd_cli.policy.quickstart import tokenizer
    from rlsd_cli.policy.tokenizer import Room

    monkeypatch.setattr("rlsd_cli.policy.tokenizer.load_room", lambda _: Room(tokenizer("tiny-untrained"), 1 << 30))


@pytest.mark.usefixtures("unanswered", "roomy")
def test_all_of_a_benchmark_is_evaluated_and_none_of_it_trained_on(call: Call) -> None:
    settings = ["model=quickstart", "device=cpu", "verifier=numeric"]
    for arguments in (["humaneval"], ["gsm8k-rlvr", "--data", "humaneval"]):
        done = call("eval", *arguments, *settings)
        assert "warning: 164 problems, of which 164 cannot be graded" in done.err
        assert done.code == 3
    done = call("train", "humaneval", *settings)
    assert (done.code, done.out) == (2, "")
    assert "`humaneval` leaves no training problems" in done.err


def test_a_model_that_is_not_there_is_refused_before_anything_is_graded(call: Call, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"question": "1", "answer": "not a number"}\n' * 20, encoding="utf-8")
    for command in (["eval", "quickstart", "--data"], ["train", "quickstart", "data=arithmetic:count=50", "eval_data"]):
        *rest, key = command
        data = [key, "p.jsonl"] if key == "--data" else [f"{key}=p.jsonl"]
        done = call(*rest, *data, "model=quickstrat", "verifier=numeric")
        assert (done.code, done.out) == (3, "")
        assert "graded" not in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_fault_of_ours(call: Call, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(*_: object) -> None:
        try:
            raise OSError(code, os.strerror(code), "runs/x/metrics.jsonl")
        except OSError as error:
            raise ValueError("cannot write") from error

    monkeypatch.setattr("rlsd_cli.training.start.resolve", full)
    done = call("train")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error: the disk is full: ")
    assert "fault of rlsd" not in done.err


def test_too_little_memory_is_no_fault_of_ours(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("rlsd_cli.training.start.resolve", starved)
    done = call("train")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error: out of memory\n")
    assert "fault of rlsd" not in done.err


def test_a_preset_is_shown_as_it_is_and_copied_once(call: Call, tmp_path: Path) -> None:
    shown = call("presets", "show", "quickstart").out
    assert call("presets", "copy", "quickstart").out == "quickstart.toml\n"
    assert (tmp_path / "quickstart.toml").read_text(encoding="utf-8") == shown
    (tmp_path / "quickstart.toml").write_text("steps = 7\n", encoding="utf-8")
    for target in ([], ["quickstart.toml"], ["."]):
        again = call("presets", "copy", "quickstart", *target)
        assert (again.code, again.out) == (2, "")
        assert "quickstart.toml exists" in again.err
    assert (tmp_path / "quickstart.toml").read_text(encoding="utf-8") == "steps = 7\n"
    assert call("presets", "copy", "quickstart", "no/such/folder.toml").code == 2


def test_a_copied_preset_runs_as_a_file_and_keeps_its_values(call: Call) -> None:
    call("presets", "copy", "quickstart", "mine.toml")
    preset, file = (json.loads(call("config", "show", name, "--json").out) for name in ("quickstart", "mine.toml"))
    assert {key: row["value"] for key, row in file.items()} == {key: row["value"] for key, row in preset.items()}
    assert preset["steps"]["origin"] == "preset quickstart"
    assert file["steps"]["origin"] == "file mine.toml"


def test_a_config_shown_as_toml_is_a_complete_file(call: Call, tmp_path: Path) -> None:
    arguments = ["quickstart", "--toml", "credit.mix=0.25", "prompt.system=be brief"]
    shown = call("config", "show", *arguments).out
    (tmp_path / "f.toml").write_text(shown, encoding="utf-8")
    assert call("config", "show", "--toml", "f.toml").out == shown
    expected = resolve(["quickstart"], {"credit.mix": 0.25, "prompt.system": "be brief"}).config
    assert resolve([str(tmp_path / "f.toml")], {}).config.digest() == expected.digest()


def test_models_are_listed_with_whether_they_are_here(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLSD_HOME", "nowhere")
    rows = {row["name"]: row for row in json.loads(call("models", "list", "--json").out)}
    assert {"quickstart", "smollm2-135m-instruct"} <= set(rows)
    assert rows["smollm2-135m-instruct"]["path"] is None
    header, *lines = call("models", "list").out.splitlines()
    assert header.split("\t")[:5] == ["name", "parameters", "download", "licence", "here"]
    assert {line.split("\t")[0] for line in lines} == set(rows)
