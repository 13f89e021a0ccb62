"""How a model reads: its tokenizer and the room it has, without its weights."""

from typing import Any, NamedTuple

from rlsd_cli.policy.quickstart import SHAPES, tokenizer
from rlsd_cli.policy.source import look_at, read_tokenizer

UNKNOWN_LENGTH = 1 << 30


LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Kinds of rotary positions whose factors depend on how long a sequence is."""


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
    """The tokens a model reads as it should; a billion where its config does not say.

    Where rotary factors depend on a sequence's length (LongRoPE, dynamic), it is the length up to which they do not
    change. A token beyond it changes what all before it were, and no response would be what it was sampled as. YaRN's
    are the same at all lengths, so its room is the stretched one even where the config does not raise it.
    """
    text = config.get_text_config()
    longest = int(getattr(text, "max_position_embeddings", None) or UNKNOWN_LENGTH)
    for rope in rope_parameters(text):
        original = int(rope.get("original_max_position_embeddings") or longest)
        if rope["rope_type"] in LENGTH_DEPENDENT:
            longest = min(longest, original)
        elif rope["rope_type"] == "yarn" and rope.get("factor"):
            longest = max(longest, int(original * rope["factor"]))
    return longest


def rope_parameters(config: Any) -> list[dict[str, Any]]:
    """The settings of a text model's rotary positions, of each kind of layer that has its own; none without any."""
    found = getattr(config, "rope_parameters", None) or {}
    return [each for each in (found, *found.values()) if isinstance(each, dict) and "rope_type" in each]
