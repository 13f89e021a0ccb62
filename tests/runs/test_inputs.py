import json
from pathlib import Path

import pytest

from rlsd_cli.errors import EXIT_BUSY, RlsdError
from rlsd_cli.runs.inputs import Change, Input, changes
from rlsd_cli.runs.rundir import RunDir, model_dir

ONE, OTHER = f"sha256 {'1' * 64}", f"sha256 {'2' * 64}"
BEGUN = {"data": Input("d.jsonl", ONE), "verifier": Input("/w/mine.py", ONE), "model": Input("m", ONE)}


def test_an_input_has_changed_where_its_digest_is_another_or_it_is_gone() -> None:
    now = {"data": Input("elsewhere.jsonl", ONE), "verifier": Input("/w/mine.py", OTHER), "eval_data": Input("e", ONE)}
    assert changes(BEGUN, now, [*BEGUN, "eval_data"]) == [
        Change("verifier", "/w/mine.py", "sha256 111111111111", "sha256 222222222222"),
        Change("model", "m", "sha256 111111111111", None),
    ]
    assert changes(BEGUN, now, ["data"]) == []
    words = [change.in_words() for change in changes(BEGUN, now, list(BEGUN))]
    assert words == [
        "verifier `/w/mine.py` has changed: sha256 111111111111 then, sha256 222222222222 now",
        "model `m` is not there any more; it was sha256 111111111111",
    ]


def test_a_run_is_continued_with_the_verifier_and_model_it_was_begun_with_and_no_others(tmp_path: Path) -> None:
    run, keys = RunDir(tmp_path), ("verifier", "model")
    assert run.inputs() == {}
    run.pin_inputs(BEGUN, keys)
    run.pin_inputs(BEGUN | {"data": Input("d.jsonl", OTHER)}, keys)
    others = BEGUN | {"verifier": Input("/w/mine.py", OTHER), "model": Input("m", OTHER)}
    with pytest.raises(RlsdError, match=r"verifier `/w/mine.py` has changed: .*\n.*model `m` has changed") as caught:
        run.pin_inputs(others, keys)
    assert caught.value.exit_code == EXIT_BUSY
    assert run.inputs() == BEGUN
    (tmp_path / "inputs.json").unlink()
    run.pin_inputs(others, keys)
    assert json.loads((tmp_path / "inputs.json").read_text(encoding="utf-8"))["model"] == {
        "where": "m",
        "digest": OTHER,
    }


def test_models_of_one_name_and_other_content_have_folders_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    assert model_dir(Path("runs"), str(folder), ONE) == Path("runs/models/my_model-11111111")
    assert model_dir(Path("runs"), f"{folder}/", OTHER) == Path("runs/models/my_model-22222222")
    assert model_dir(Path("runs"), "Qwen/Qwen3-0.6B", "commit abcdef0123456789") == Path(
        "runs/models/Qwen--Qwen3-0.6B-abcdef01"
    )
    assert model_dir(Path("runs"), "quickstart", None) == Path("runs/models/quickstart")
