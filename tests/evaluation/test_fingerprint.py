"""What a config names, as digests: any change that matters gives another, and nothing is loaded for it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.evaluation.fingerprint import inputs_of, model_digest
from rlsd_cli.runs.digests import file_digest


def make_model(folder: Path, **files: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in ({"config": "{}", "model": "weights", "tokenizer": "tokens"} | files).items():
        ending = "safetensors" if name == "model" else "json"
        (folder / f"{name}.{ending}").write_text(text)
    return str(folder)


def test_a_model_is_its_config_weights_and_tokenizer_wherever_they_lie(tmp_path: Path) -> None:
    digest = model_digest(make_model(tmp_path / "a"))
    assert digest == model_digest(make_model(tmp_path / "b"))
    (tmp_path / "b" / "README.md").write_text("about it")
    (tmp_path / "b" / "trainer_state").write_text("of a checkpoint")
    assert digest == model_digest(str(tmp_path / "b"))
    changed = [make_model(tmp_path / name, **{name: "another"}) for name in ("config", "model", "tokenizer")]
    changed.append(make_model(tmp_path / "more", chat="template"))
    assert len({digest, *map(model_digest, changed)}) == 5


def test_an_adapter_is_another_on_another_base(tmp_path: Path) -> None:
    adapter, base = tmp_path / "adapter", make_model(tmp_path / "base")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    before = model_digest(str(adapter))
    make_model(tmp_path / "base", model="other weights")
    assert model_digest(str(adapter)) != before
    (adapter / "adapter_config.json").write_text("no JSON")
    assert model_digest(str(adapter))


def test_a_model_of_the_hub_is_the_commit_of_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert model_digest("some/model") is None
    (tmp_path / "models--some--model" / "refs").mkdir(parents=True)
    (tmp_path / "models--some--model" / "refs" / "main").write_text("0123abcd")
    assert model_digest("some/model") == "commit 0123abcd"
    assert model_digest("no-such-model") is None


def test_a_run_is_made_from_files_a_verifier_of_the_users_and_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., Config]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(inputs_of(configure())) == ["model"]
    assert list(inputs_of(configure({"data": "countdown:" + "0" * 300, "eval_data": "a\0b"}))) == ["model"]
    (tmp_path / "d.jsonl").write_text("{}")
    (tmp_path / "own_verifier.py").write_text("")
    make_model(tmp_path / "m")
    overrides = {"data": "d.jsonl", "eval_data": "sums", "verifier": "own_verifier:grade", "model": "m"}
    found = inputs_of(configure(overrides))
    assert {key: value.where for key, value in found.items()} == {
        "data": "d.jsonl",
        "verifier": str(tmp_path / "own_verifier.py"),
        "model": "m",
    }
    assert found["data"].digest == file_digest(tmp_path / "d.jsonl")
    assert list(inputs_of(configure(overrides | {"model": "gone", "data": "gone.jsonl"}))) == ["verifier"]
