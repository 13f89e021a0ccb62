"""How a model reads: its tokenizer and the room it has, without its weights."""

from typing import Any, NamedTuple

from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging as transformers_logging

from rlsd_cli.errors import EXIT_MACHINE, RlsdError, first_line
from rlsd_cli.policy.catalog import base_of, locate
from rlsd_cli.policy.quickstart import SHAPES, tokenizer

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Kinds of rotary positions whose factors depend on how long a sequence is."""


class Room(NamedTuple):
    """The tokenizer of a model, and how many tokens prompt and response may have together."""

    tokenizer: Any
    context_length: int


def load_room(name: str) -> Room:
    """How the model that `load_policy` loads by this name reads; raises RlsdError (exit 3) when it cannot be had."""
    if name in SHAPES:
        return Room(tokenizer(name), SHAPES[name].context_length)
    where = locate(name)
    try:
        config = AutoConfig.from_pretrained(locate(base_of(where) or where))
        return Room(AutoTokenizer.from_pretrained(where), context_length(config))
    except (OSError, ValueError) as error:
        raise cannot_load(where, error) from error


def context_length(config: Any) -> int:
    """The tokens a model reads as it should; a billion where its config does not say.

    Where rotary factors depend on a sequence's length (LongRoPE, dynamic), it is the length up to which they do not
    change. A token beyond it changes what all before it were, and no response would be what it was sampled as. YaRN's
    are the same at all lengths, so its room is the stretched one even where the config does not raise it.
    """
    text = config.get_text_config()
    longest = int(getattr(text, "max_position_embeddings", None) or 1 << 30)
    for rope in rope_parameters(text):
        original = int(rope.get("original_max_position_embeddings") or longest)
        if rope["rope_type"] in LENGTH_DEPENDENT:
            longest = min(longest, original)
        elif rope["rope_type"] == "yarn":
            longest = max(longest, int(original * rope["factor"]))
    return longest


def rope_parameters(config: Any) -> list[dict[str, Any]]:
    """The settings of a text model's rotary positions, of each kind of layer that has its own; none without any."""
    found = getattr(config, "rope_parameters", None) or {}
    return [each for each in (found, *found.values()) if isinstance(each, dict) and "rope_type" in each]


def cannot_load(name: str, error: Exception) -> RlsdError:
    """That a model is not to be had, in one line."""
    return RlsdError(
        f"cannot load model `{name}`: {first_line(error)}",
        hint="give a directory, a hub name that can be reached, or a name of `rlsd models list`",
        exit_code=EXIT_MACHINE,
    )
