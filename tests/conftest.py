"""Configs for tests, made the way the command line makes them, and tokenizers of several kinds."""

import json
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, target_layer
from rlsd_cli.config.schema import Config

QUICK = {"prompts_per_step": 4, "samples_per_prompt": 4, "evaluation.problems": 8, "steps": 2}


FIRST = ("test_readme.py", "test_oracle.py", "test_trainer.py", "test_run.py")
"""Files that take longest: begun first, or else one process works on them at the end while the others wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture(scope="session")
def configure() -> Callable[..., Config]:
    """`configure(overrides)`: the quickstart preset, small as far as the method reads that, with dotted keys on top."""

    def make(overrides: dict[str, Any] | None = None, preset: str = "quickstart") -> Config:
        return merge([target_layer(preset)[1], Layer("tests", QUICK)], Layer(COMMAND_LINE, overrides or {})).config

    return make


CONTROL = ("<|im_start|>", "<|im_end|>", "<bos>", "<eos>")
ENGLISH = ["user system assistant be brief reason step by step, and put your final answer within a box"] * 9


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """`make(template, kind=..., around=..., special=...)`: a tokenizer with the control tokens of ChatML.

    `bytes`: a token a byte; `pieces`: bytes merged as in English text; `words`: whole words; `sentencepiece`: pieces
    that hold the blank before a word, with one before the first. `around`: what is put around a text.
    """

    def make(template: str | None, *, kind: str = "bytes", around: str = "$A", special: bool = True) -> Any:
        from transformers import PreTrainedTokenizerFast

        made = KINDS[kind]()
        made.add_tokens([AddedToken(text, special=special, normalized=False) for text in CONTROL])
        made.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<think>", "</think>")])
        ids = [(text, made.token_to_id(text)) for text in ("<bos>", "<eos>")]
        made.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **({"eos_token": "<|im_end|>"} if special else {}))
        tokenizer.chat_template = template
        return tokenizer

    return make


def _bytes(vocab_size: int = 256) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(ENGLISH, trainer)
    return made


def _words() -> Tokenizer:
    words = ["<unk>", *CONTROL, "user", "assistant", "system", "be", "brief", "12", "and", "7", "36", "<", ">", "|"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def _sentencepiece() -> Tokenizer:
    trained = Tokenizer(models.BPE())
    blank = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trained.pre_tokenizer = blank
    trained.train_from_iterator(ENGLISH, trainers.BpeTrainer(vocab_size=60, show_progress=False))
    learnt = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt["vocab"]]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [(left, right) for left, right in learnt["merges"]]
    made = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = blank
    made.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()]
    )
    return made


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": _bytes,
    "pieces": lambda: _bytes(300),
    "words": _words,
    "sentencepiece": _sentencepiece,
}
