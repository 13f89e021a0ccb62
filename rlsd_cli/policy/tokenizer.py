"""How a model reads: its tokenizer and the room it has, without its weights."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rlsd_cli.policy.quickstart import SHAPES, tokenizer
from rlsd_cli.policy.source import look_at, read_tokenizer

UNKNOWN_LENGTH = 1 << 30


class Room(NamedTuple):
    """The tokenizer of a model, and how many tokens prompt and response may have together."""

    tokenizer: Any
    context_length: int


def load_room(name: str) -> Room:
    """How the model that `load_policy` loads by this name reads.

    Raises:
        RlsdError: (exit 3) it cannot be had or trained, as far as its files tell without reading the weights.
    """
    if name in SHAPES:
        return Room(tokenizer(name), SHAPES[name].context_length)
    source = look_at(name)
    return Room(read_tokenizer(source), context_length(source.config))


def context_length(config: Any) -> int:
    """The tokens that a model, or the text part of one, was made for; a billion where its config does not say.

    YaRN (Peng et al. 2023) stretches the length that the model was first trained with by its factor, whether or not
    `max_position_embeddings` was raised as well.
    """
    text = config.get_text_config()
    stretched = [
        int(rope["original_max_position_embeddings"] * rope["factor"])
        for rope in _ropes(getattr(text, "rope_parameters", None) or {})
        if rope.get("rope_type") == "yarn" and rope.get("factor") and rope.get("original_max_position_embeddings")
    ]
    return max([int(getattr(text, "max_position_embeddings", None) or UNKNOWN_LENGTH), *stretched])


def _ropes(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rotary settings of a model: one set, or one of each type of layer."""
    yield parameters
    yield from (each for each in parameters.values() if isinstance(each, Mapping))
