"""Tiny Llamas that read characters: the embedded policy, and an untrained one for tasks in plain English.

The embedded policy has the alphabet of the arithmetic task. Its trained weights lie beside this file;
`rlsd train quickstart-warmup` makes them from `quickstart-untrained`. `tiny-untrained` has the same layers and reads
printable ASCII.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

UNTRAINED = "quickstart-untrained"
PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
ALPHABET = [PAD, EOS, *"0123456789+-=;#|QH"]
CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}|{% endif %}"


class Shape(NamedTuple):
    """What tells two tiny policies apart. `character` matches one; those outside the alphabet become `unknown`."""

    alphabet: Sequence[str]
    character: str
    unknown: str
    chat_template: str
    context_length: int


SHAPES = {
    UNTRAINED: Shape(ALPHABET, ".", PAD, CHAT_TEMPLATE, 256),
    "tiny-untrained": Shape(
        [PAD, EOS, UNK, "\n", *map(chr, range(32, 127))], r".|\n", UNK, CHAT_TEMPLATE.replace("|", "{{ '\\n' }}"), 1024
    ),
}
"""Untrained policies by name."""


def tokenizer(name: str = UNTRAINED) -> Any:
    """One token a character; the chat template only ends the question, with `|` or with a new line."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    shape = SHAPES[name]
    ids = {token: index for index, token in enumerate(shape.alphabet)}
    characters = Tokenizer(models.WordLevel(ids, unk_token=shape.unknown))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(shape.character), "isolated")
    characters.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=characters, pad_token=PAD, eos_token=EOS, padding_side="left")
    fast.chat_template = shape.chat_template
    return fast


def architecture(name: str = UNTRAINED) -> dict[str, Any]:
    """What `LlamaConfig` takes."""
    alphabet = SHAPES[name].alphabet
    return {
        "vocab_size": len(alphabet),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": SHAPES[name].context_length,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": alphabet.index(EOS),
        "pad_token_id": alphabet.index(PAD),
    }


def untrained(seed: int, name: str = UNTRAINED) -> tuple[Any, Any]:
    """A randomly initialised policy and its tokenizer; about 0.86 million parameters, 1.7 MB in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**architecture(name))), tokenizer(name)
