"""Digests of what a config names: data files, the source of its verifier, its model. Nothing is loaded."""

import contextlib
import hashlib
from pathlib import Path

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.catalog import base_of, locate
from rlsd_cli.runs.digests import data_input, file_digest, verifier_input, weights_digest
from rlsd_cli.runs.inputs import Input

WEIGHTS = frozenset((".safetensors", ".bin"))
MODEL_FILES = WEIGHTS | {".json", ".model", ".txt", ".jinja"}
"""Endings of the files that make a model: config, weights, tokenizer."""
DATA, PINNED = ("data", "eval_data"), ("verifier", "model", "reward")
"""The keys of inputs: those that stand for problems, and those that a run cannot be continued without."""


def inputs_of(config: Config) -> dict[str, Input]:
    """What a run of this config is made from, by key. Left out is what its config or rlsd's version decides."""
    inputs = {key: data_input(name) for key in DATA if (name := getattr(config, key)) is not None}
    inputs |= {"verifier": verifier_input(config.verifier), "model": model_input(config.model)}
    inputs |= {f"reward.parts.{name}": verifier_input(name) for name in config.reward.functions}
    return {key: found for key, found in inputs.items() if found is not None}


def model_input(name: str) -> Input | None:
    """A model by the content of its directory, one of the hub by its commit; None where it is not on this machine."""
    digest = model_digest(name)
    return None if digest is None else Input(name, digest)


def model_digest(name: str) -> str | None:
    """The SHA-256 of the names and digests of the files of a model directory, and of the digest of an adapter's base.

    Of a model of the hub it is the commit that the local cache last took for `main`. None where there is no model.
    """
    try:
        folder = Path(locate(name))
    except RlsdError:
        return None
    if not folder.is_dir():
        return _cached_commit(name)
    parts = []
    with contextlib.suppress(RlsdError, ValueError):  # what names no base is in the digest as a file
        parts += [f"base {model_digest(base)}"] if (base := base_of(str(folder))) else []
    for path in sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES and path.is_file()):
        parts.append(f"{path.name} {weights_digest(path) if path.suffix in WEIGHTS else file_digest(path)}")
    return f"sha256 {hashlib.sha256(repr(parts).encode()).hexdigest()}"


def _cached_commit(name: str) -> str | None:
    from huggingface_hub.constants import HF_HUB_CACHE

    path = Path(HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "refs", "main")
    return f"commit {path.read_text(encoding='utf-8').strip()}" if path.is_file() else None
