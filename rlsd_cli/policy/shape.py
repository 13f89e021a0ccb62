"""How large a model is, read from its files in milliseconds: neither weights nor torch are loaded."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.catalog import base_of, locate
from rlsd_cli.policy.quickstart import SHAPES, architecture

_OTHER_NAMES = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "attention_heads"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "context_length"),
}
"""What other configs call the sizes of a decoder."""
_HEAD = "lm_head.weight"


class ModelShape(NamedTuple):
    """The sizes of a decoder that its memory depends on; counts of numbers, not bytes.

    intermediate: width of the gated layer, of all experts that a token goes through. queries, keys: width of the query
    and of the key projection, all heads together. num_parameters counts tied embeddings once.
    """

    num_parameters: int
    vocabulary: int
    hidden: int
    intermediate: int
    num_layers: int
    num_heads: int
    queries: int
    keys: int
    context_length: int
    tied: bool

    def adapter(self, rank: int) -> int:
        """Parameters of an adapter of all linear modules of the layers."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        return rank * self.num_layers * (attention + 3 * (self.hidden + self.intermediate))

    @property
    def head(self) -> int:
        """Parameters of the output head."""
        return self.vocabulary * self.hidden

    @property
    def trunk(self) -> int:
        """Parameters of the layers: all but the embeddings."""
        return self.num_parameters - self.head * (1 if self.tied else 2)


def read_shape(name: str) -> ModelShape:
    """The shape of the model that `load_policy` loads by this name.

    Raises:
        RlsdError: (exit 3) its files are not on this machine, or say too little.
    """
    if name in SHAPES:
        return llama_shape(architecture(name))
    folder = _folder(name)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        stored = _stored(folder)
        tied = bool(config.get("tie_word_embeddings", _HEAD not in stored))
        num_parameters = sum(count for name, count in stored.items() if not (tied and name == _HEAD))
        return _shape(config, num_parameters, tied=tied)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise RlsdError(
            f"the files of `{name}` do not say how large it is ({type(error).__name__}: {error})",
            hint="`rlsd train` without `--dry-run` says what is wrong with them",
            exit_code=EXIT_MACHINE,
        ) from error


def _folder(name: str) -> Path:
    where = Path(locate(name))
    if base := base_of(str(where)):
        return _folder(base)
    if where.is_dir():
        return where
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    if not isinstance(cached, str):
        raise RlsdError(f"`{name}` is not on this machine yet", exit_code=EXIT_MACHINE)
    return Path(cached).parent


def _shape(config: Mapping[str, Any], num_parameters: int, *, tied: bool) -> ModelShape:
    def size(key: str) -> int:
        names = (key, *_OTHER_NAMES.get(key, ()))
        return int(config[next((name for name in names if name in config), key)])

    hidden, num_heads = size("hidden_size"), size("num_attention_heads")
    head_width = int(config.get("head_dim") or hidden // num_heads)
    intermediate = _widest(config.get("intermediate_size")) or 4 * hidden
    if experts := config.get("num_experts_per_tok"):
        intermediate = int(config.get("moe_intermediate_size") or intermediate) * int(experts)
    return ModelShape(
        num_parameters=num_parameters,
        vocabulary=size("vocab_size"),
        hidden=hidden,
        intermediate=intermediate,
        num_layers=size("num_hidden_layers"),
        num_heads=num_heads,
        queries=num_heads * head_width,
        keys=int(config.get("num_key_value_heads") or num_heads) * head_width,
        context_length=size("max_position_embeddings"),
        tied=tied,
    )


def _widest(size: int | list[int] | None) -> int:
    """The size of all layers, or the largest where each has its own; 0 for none."""
    return max(size) if isinstance(size, list) else int(size or 0)


def _stored(folder: Path) -> dict[str, int]:
    """How many numbers each tensor of the weight files has, by their headers."""
    index = folder / "model.safetensors.index.json"
    files = {"model.safetensors"}
    if index.is_file():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    counts: dict[str, int] = {}
    for name in files:
        with (folder / name).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        counts |= {tensor: prod(entry["shape"]) for tensor, entry in header.items() if tensor != "__metadata__"}
    return counts


def llama_shape(config: Mapping[str, Any]) -> ModelShape:
    """Of a Llama whose embeddings are tied, by its config."""
    return _shape(config, _num_llama_parameters(config), tied=True)


def _num_llama_parameters(config: Mapping[str, Any]) -> int:
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    keys = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    layer = 2 * hidden * (hidden + keys) + 3 * hidden * config["intermediate_size"] + 2 * hidden
    return int(config["vocab_size"] * hidden + layers * layer + hidden)
