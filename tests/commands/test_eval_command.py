"""What `rlsd eval` says, and where it keeps it: in the run that it is of, or else under the name of the model."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rlsd_cli import console
from rlsd_cli.app import app
from rlsd_cli.commands.evals import show
from rlsd_cli.config.resolve import Layer, merge, resolve
from rlsd_cli.config.schema import Config
from rlsd_cli.data.sources import load_source, load_splits
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation import score
from rlsd_cli.evaluation.evaluate import summarise
from rlsd_cli.evaluation.pass_rates import config_of
from rlsd_cli.evaluation.score import suite_of
from rlsd_cli.evaluation.subject import find_subject
from rlsd_cli.policy import catalog
from rlsd_cli.runs.rundir import TRAINER_STATE, RunDir, create, find_run, list_runs, newest_finished

PACKAGED = Path(catalog.__file__).parent / "quickstart"
TEMPLATE = "{question}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A finished run with a checkpoint, the newest under `runs`, and `p.jsonl` beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.jsonl").write_text("".join(row(n) for n in range(4)))
    resolved = resolve([], {"steps": 3, "prompt.system": "of the run"})
    made = find_run(Path("runs"), resolved, again=False)
    create(made, resolved)
    made.set_status(status="done")
    copy_model(made.checkpoints / "000003")
    (made.checkpoints / "000003" / TRAINER_STATE).touch()
    return made


def row(n: int) -> str:
    return json.dumps({"question": f"{n}+1=", "answer": str(n + 1), "verifier": "exact"}) + "\n"


def copy_model(folder: Path) -> None:
    shutil.copytree(PACKAGED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["eval", *arguments, "--json"])


def evaluated(*arguments: str) -> dict[str, Any]:
    """The JSON object, and `said`, what went to stderr."""
    done = invoke(*arguments)
    assert done.exit_code == 0, done.exception
    return {**json.loads(done.stdout), "said": done.stderr}


def kept(root: Path = Path("runs")) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_model_named_by_a_key_is_evaluated_as_itself_and_never_for_the_newest_run(run: RunDir) -> None:
    of_run, before = kept(run.path), list_runs(Path("runs"))
    copy_model(Path("m"))
    short = ["--data", "p.jsonl", f"prompt.template={TEMPLATE}", "evaluation.max_new_tokens=56"]
    by_key, by_name = evaluated("model=m", *short), evaluated("m", *short)
    assert by_key["folder"] == by_name["folder"]
    assert Path(by_key["folder"]).parts[:2] == ("runs", "models")
    assert Path(by_key["folder"]).parts[2].startswith("m-")
    assert "evaluating m on 4 problems x 1, with the defaults" in by_key["said"]
    assert f"written to {by_key['folder']}" in by_key["said"]
    summary = json.loads((Path(by_key["folder"]) / "summary.json").read_text())
    assert summary == {key: value for key, value in by_name.items() if key not in ("folder", "said")}
    assert 'model = "m"' in (Path(by_key["folder"]) / "config.toml").read_text()
    assert kept(run.path) == of_run
    assert (list_runs(Path("runs")), newest_finished(Path("runs"))) == (before, run)


def test_another_evaluation_of_a_model_overwrites_none(run: RunDir) -> None:
    del run
    copy_model(Path("m"))
    calls = ["model=m", "--data", "p.jsonl", f"prompt.template={TEMPLATE}", "evaluation.max_new_tokens=56"]
    folders = [evaluated(*calls, *more)["folder"] for more in ([], ["--samples", "2"], ["seed=1"])]
    first = kept(Path(folders[0]))
    Path("p.jsonl").write_text("".join(row(n) for n in range(1, 5)))
    folders.append(evaluated(*calls)["folder"])
    tokenizer = Path("m/tokenizer_config.json")
    tokenizer.write_text(tokenizer.read_text() + "\n")
    folders.append(evaluated(*calls)["folder"])
    assert len(set(folders)) == 5
    assert kept(Path(folders[0])) == first
    assert len({Path(folder).parts[2] for folder in folders}) == 2


def test_a_preset_is_kept_under_the_name_of_its_model(run: RunDir) -> None:
    del run
    found = evaluated("quickstart", "--data", "p.jsonl")
    assert found["folder"].startswith("runs/models/quickstart-")
    assert "with preset quickstart" in found["said"]
    assert evaluated("model=quickstart", "--data", "p.jsonl")["folder"] == found["folder"]


def test_a_run_is_kept_in_the_run_and_its_config_on_another_model_is_not(run: RunDir) -> None:
    own = evaluated("--data", "p.jsonl")
    assert Path(own["folder"]).parents[2] == run.path
    assert Path(own["folder"]).name == "000003"
    assert f"with the config of run {run.name}" in own["said"]
    other = evaluated(run.name, "model=quickstart", "--data", "p.jsonl")
    assert other["folder"].startswith("runs/models/quickstart-")
    assert Path(other["folder"]).name == Path(own["folder"]).parent.name, "the same suite: only the model is another"
    assert f"with the config of run {run.name}" in other["said"]
    assert "of the run" in (Path(other["folder"]) / "config.toml").read_text()


def test_two_models_are_one_too_many(run: RunDir) -> None:
    del run
    copy_model(Path("m"))
    done = invoke("m", "model=quickstart", "--data", "p.jsonl")
    assert isinstance(done.exception, RlsdError)
    assert done.exception.message == "`m` and `model=quickstart` are two models"
    assert done.exception.exit_code == 2


def test_a_checkpoint_named_by_a_key_is_a_model_and_as_the_target_its_runs(run: RunDir) -> None:
    checkpoint = run.checkpoints / "000003"
    assert find_subject(str(checkpoint), Path("runs")).run is not None
    subject = find_subject(None, Path("runs"), str(checkpoint))
    assert (subject.run, subject.settings) == (None, None)
    assert merge(subject.layers, Layer("", {})).config.prompt.system is None


def test_difficulty_is_measured_of_a_model_as_it_is_evaluated(run: RunDir) -> None:
    del run
    assert config_of([], None, Path("runs")).prompt.system == "of the run"
    assert config_of(["model=some/model"], None, Path("runs")).prompt == Config().prompt


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_sampled(run: RunDir) -> None:
    del run
    Path("runs/models").write_text("in the way")
    done = invoke("quickstart", "--data", "p.jsonl")
    assert done.stdout == ""
    assert "evaluating" not in done.stderr
    assert isinstance(done.exception, RlsdError)
    assert "cannot write runs/models/quickstart-" in done.exception.message
    assert done.exception.exit_code == 3


def test_what_is_there_is_shown_again_and_drawn_anew_when_asked(run: RunDir) -> None:
    first = evaluated("--data", "p.jsonl")
    folder = Path(first["folder"])
    before = kept(folder)
    second = evaluated("--data", "p.jsonl")
    assert "is there; `--again` makes it anew" in second["said"]
    assert "evaluating" not in second["said"]
    assert {**second, "said": ""} == {**first, "said": ""}
    assert kept(folder) == before
    third = evaluated("--data", "p.jsonl", "--again")
    assert "evaluating" in third["said"]
    assert (folder / "samples.jsonl").read_bytes() == before[str(folder / "samples.jsonl")]
    assert run.name in first["folder"]


def test_an_evaluation_goes_on_behind_what_was_written(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "BATCHES", 1)
    asked = ["--data", "p.jsonl", "--samples", "2", "rollout.batch_size=2"]
    folder = Path(evaluated(*asked)["folder"])
    whole = (folder / "samples.jsonl").read_text()
    (folder / "summary.json").unlink()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 8
    (folder / "samples.jsonl").write_text("".join(lines[:5]) + lines[5][:30])
    again = evaluated(*asked)
    assert "4 problems x 2, 2 of them done" in again["said"]
    assert (folder / "samples.jsonl").read_text() == whole
    (folder / "summary.json").unlink()
    (folder / "samples.jsonl").write_text("".join(lines[:1] + lines[2:]))
    refused = invoke(*asked)
    assert isinstance(refused.exception, RlsdError)
    assert refused.exception.exit_code == 4
    assert "its row 2 is not a response to the problem in that place" in refused.exception.message
    del run


def test_several_sets_of_problems_are_one_table_and_one_object_each(run: RunDir) -> None:
    Path("q.jsonl").write_text("".join(row(n) for n in range(4, 7)))
    calls = ["--data", "p.jsonl", "--data", "q.jsonl", "--samples", "4"]
    done = CliRunner().invoke(app, ["eval", *calls])
    assert done.exit_code == 0, done.exception
    header, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert header[:8] == ["data", "decoding", "problems", "mean@4", "pass@2", "pass@4", "maj@4", "tokens"]
    assert [each[:3] for each in rows] == [["p.jsonl", "T=1", "4"], ["q.jsonl", "T=1", "3"]]
    objects = [json.loads(line) for line in invoke(*calls).stdout.splitlines()]
    assert [(each["data"], each["n"]) for each in objects] == [("p.jsonl", 4), ("q.jsonl", 3)]
    assert all(run.name in each["folder"] for each in objects)


def test_problems_that_the_run_was_trained_on_are_said(run: RunDir) -> None:
    trained = load_splits(run.config()).train[:2]
    rows = [json.dumps({"question": each.question, "answer": each.answer}) + "\n" for each in trained]
    Path("seen.jsonl").write_text("".join([*rows, row(1)]))
    found = evaluated("--data", "seen.jsonl")
    assert found["in_training"] == 2
    assert f"2 of the 3 problems of seen.jsonl are among those that {run.name} was trained on" in found["said"]
    assert evaluated("--data", "p.jsonl")["in_training"] == 0
    assert evaluated("quickstart", "--data", "seen.jsonl")["in_training"] is None


def test_evaluations_that_differ_have_folders_of_their_own(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problems = load_source("arithmetic:count=5")
    plain = suite_of(configure(), problems)
    assert plain.startswith("arithmetic-k1-")
    for key, value in (("verification.workers", 3), ("evaluation.every", 9), ("steps", 9), ("optim.lr", 1.0)):
        assert suite_of(configure({key: value}), problems) == plain, key
    source = tmp_path / "own_verifier.py"
    source.write_text("def grade(submission): return True")
    own = configure({"verifier": "own_verifier:grade"})
    suites = [plain, suite_of(configure(), problems[1:]), suite_of(own, problems)]
    source.write_text("def grade(submission): return False")
    suites.append(suite_of(own, problems))
    others = {
        "verifier": "math",
        "verification.percent": "value",
        "verification.timeout_seconds": 9.0,
        "seed": 1,
        "prompt.system": "s",
        "evaluation.temperature": 0.5,
        "evaluation.max_new_tokens": 9,
        "rollout.dtype": "bfloat16",
        "sandbox.timeout_seconds": 3.0,
    }
    suites += [suite_of(configure({key: value}), problems) for key, value in others.items()]
    assert len(set(suites)) == len(suites)


def test_every_mean_says_what_it_leaves_out_and_nothing_where_nothing_is(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(scores: list[list[float | None]]) -> dict[str, str]:
        common = {"outcome": "any", "tokens": 1, "truncated": 0, "leaks": 0, "verifier": "exact"}
        rows = [
            {"score": score, "extracted": None if score is None else str(score), **common}
            for group in scores
            for score in group
        ]
        summary = summarise(rows, 2) | {"data": "d", "model": "m", "decoding": "T=1"}
        show([summary])
        header, row = capsys.readouterr().out.splitlines()
        return dict(zip(header.split("\t"), row.split("\t"), strict=True))

    whole = shown([[1.0, 0.0], [1.0, 1.0]])
    assert whole["mean@2"] == "0.750 [0.301, 0.954]"
    assert (whole["pass@2"], whole["maj@2"]) == ("1.000", "0.750")
    assert not {"pass@1", "without a verdict", "too long, left out", "trained on"} & whole.keys()
    partly = shown([[1.0, None], [1.0, 1.0], [None, None]])
    assert partly["mean@2"] == "1.000 [0.342, 1.000] (2 of 3)"
    assert (partly["pass@2"], partly["maj@2"]) == ("1.000 (1 of 3)", "1.000 (2 of 3)")
    assert partly["without a verdict"] == "3"
    assert shown([[1.0, None]])["pass@2"] == "- (0 of 1)"


def test_an_evaluation_in_training_says_how_many_problems_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"data": "d", "mean": 1.0, "ci95": [0.5, 1.0], "leakage_rate": 0.0}
    for n in (3, 2):
        console.Progress(1, io.StringIO()).evaluation(7, summary | {"n": n, "problems": 3})
    whole, partly = capsys.readouterr().err.splitlines()
    assert "n=3  leakage" in whole
    assert "n=2 of 3  leakage" in partly
