import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import pytest

from rlsd_cli import console
from rlsd_cli.app import main
from tests import forked

Rlsd = Callable[..., "CompletedProcess[str]"]

HIDDEN = ("RLSD_", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS")
PLAIN = {"COLUMNS": "100", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "TERM": "xterm-256color"}


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)} | PLAIN


@pytest.fixture
def rlsd(tmp_path: Path, environment: dict[str, str]) -> Rlsd:
    """`rlsd` with these arguments, in an empty folder, its output captured."""

    def run(*arguments: str, **variables: str) -> "CompletedProcess[str]":
        return forked.rlsd(*arguments, cwd=tmp_path, environment=environment | variables)

    return run


class Done(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`rlsd` in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.delenv("RLSD_ROOT", raising=False)
    monkeypatch.delenv("RLSD_TRACEBACK", raising=False)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["rlsd", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return Done(int(caught.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def make_model(make_tokenizer: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`make(template, ...)`: the directory of a tiny untrained model that reads 256 tokens with `make_tokenizer`'s."""

    def make(template: str | None, **options: Any) -> str:
        from transformers import LlamaConfig, LlamaForCausalLM

        folder, tokenizer = tmp_path_factory.mktemp("model"), make_tokenizer(template, **options)
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
        config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, eos_token_id=eos, **sizes)
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make
