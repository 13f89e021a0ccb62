"""A model that cannot be trained, as a user meets it: before other work, and without traces."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from rlsd_cli.app import app
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.quickstart import tokenizer

Rlsd = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    policy = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=24, eos_token_id=1, pad_token_id=0, bos_token_id=None))
    policy.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def quantised(model: Path) -> Path:
    config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    """What is said: an error and a hint, and nothing else."""
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    error, hint = done.stderr.strip().split("\n\n")
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert "fault of rlsd" not in hint
    return error


def refused_here(*command: str) -> str:
    """The same within this process, which has loaded the libraries already."""
    done = CliRunner().invoke(app, command)
    failure = done.exception
    assert isinstance(failure, RlsdError)
    assert done.output == ""
    assert failure.exit_code == 3
    return failure.message


def test_what_the_files_tell_is_refused_before_problems_are_read(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is quantised (gptq)" in refused_here("train", f"model={quantised}", "data=nowhere.jsonl")
    assert "is quantised (gptq)" in refused_here("eval", str(quantised), "--data", "nowhere.jsonl")
    assert "is quantised (gptq)" in refused_here("data", "check", "arithmetic", f"model={quantised}")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_the_weights_tell_is_refused_before_answers_are_checked_or_a_run_is_made(
    rlsd: Rlsd, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][2] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    rows = [{"question": str(n), "answer": "none" if n % 2 else str(n)} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = ["data=rows.jsonl", "verifier=numeric", "evaluation.problems=4"]
    said = f"not finite: `model.norm.weight` of {model / 'model.safetensors'}"
    assert said in refusal(rlsd("train", f"model={model}", *settings))
    monkeypatch.chdir(tmp_path)
    assert said in refused_here("eval", str(model), *settings)
    assert not (tmp_path / "runs").exists()


def test_a_measurement_is_not_started_over_for_a_model_that_is_refused(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "measured.jsonl"
    out.write_text("a day's work\n", encoding="utf-8")
    refused_here("data", "difficulty", "arithmetic", str(quantised), "--out", str(out), "--again")
    assert out.read_text(encoding="utf-8") == "a day's work\n"
    refused_here("data", "difficulty", "arithmetic", str(quantised), "--out", str(tmp_path / "new.jsonl"))
    assert not (tmp_path / "new.jsonl").exists()
