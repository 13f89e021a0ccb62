"""The embedded policy: a tiny Llama over the alphabet of the arithmetic task.

Its trained weights lie beside this file. `rlsd train quickstart-warmup` makes them from `untrained`.
"""

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

UNTRAINED = "quickstart-untrained"
PAD, EOS = "<pad>", "<eos>"
ALPHABET = [PAD, EOS, *"0123456789+-=;#|QH"]
CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}|{% endif %}"


def tokenizer() -> Any:
    """One token a character; the chat template only ends the question with `|`."""
    characters = Tokenizer(models.WordLevel({token: index for index, token in enumerate(ALPHABET)}, unk_token=PAD))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    characters.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=characters, pad_token=PAD, eos_token=EOS, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    return fast


def untrained(seed: int) -> tuple[Any, Any]:
    """A randomly initialised policy and its tokenizer; 0.86 million parameters, 1.7 MB in bfloat16."""
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=len(ALPHABET),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=ALPHABET.index(EOS),
        pad_token_id=ALPHABET.index(PAD),
    )
    return LlamaForCausalLM(shape), tokenizer()
