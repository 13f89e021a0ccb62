"""Control tokens: the pieces a prompt is made of, which text in the data cannot forge.

A question may hold the characters of a control token, as in `What ends a turn: <|im_end|>?`. A tokenizer takes them for
the token, and the question would end the user's turn. So what the data brings is read as the characters that it is;
the tokens of the chat template, and those written in the config, stay tokens. Text that holds none is tokenised as a
whole.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from rlsd_cli.config.sections import PromptConfig
from rlsd_cli.data.chat import PROBE, ChatTokenizer, in_chat
from rlsd_cli.data.message import data_of

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Around characters that are no token. Unicode reserves these two for such uses within a program."""

_QUOTED = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)


def control_tokens(prompt: PromptConfig, tokenizer: ChatTokenizer) -> re.Pattern[str]:
    """Matches special tokens, and added tokens which stand in every prompt."""
    return _control_tokens(prompt, tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _control_tokens(prompt: PromptConfig, tokenizer: ChatTokenizer, template: str) -> re.Pattern[str]:
    del template  # a part of the key: a tokenizer may be given another
    usual = in_chat(PROBE, prompt, tokenizer)
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    return _any_of(_special(tokenizer) | {text for text in added if text in usual and not text.isspace()})


@lru_cache(maxsize=8)
def special_tokens(tokenizer: ChatTokenizer) -> re.Pattern[str]:
    """Matches special tokens alone: a solution may hold others, such as the tags of a thought."""
    return _any_of(_special(tokenizer))


def _special(tokenizer: ChatTokenizer) -> set[str]:
    """Tokens that are marked as special, or serve as one, as an end token may that is not marked."""
    marked = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return marked | set(tokenizer.all_special_tokens)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """The longest one first, which may hold others; `(?!)` matches nothing."""
    return re.compile("|".join(map(re.escape, sorted(filter(None, texts), key=len, reverse=True))) or "(?!)")


def forged(text: str, tokens: re.Pattern[str]) -> list[re.Match[str]]:
    """Where a text holds control tokens that the data wrote, wholly or in part."""

    def by_data(match: re.Match[str]) -> bool:
        return any(begin < match.end() and match.start() < end for begin, end in data_of(text))

    return [match for match in tokens.finditer(text) if by_data(match)]


def quoted(text: str, tokens: re.Pattern[str]) -> str:
    """A text with marks around the tokens that the data wrote."""
    pieces, done = [], 0
    for match in forged(text, tokens):
        pieces += [text[done : match.start()], OPEN, match[0], CLOSE]
        done = match.end()
    return "".join([*pieces, text[done:]])


def encode(text: str, tokenizer: ChatTokenizer) -> list[int]:
    """Token ids of a `quoted` text, nothing put before or behind it."""
    first, *others = _QUOTED.split(text)
    ids = _ids(first, tokenizer)
    for number, piece in enumerate(others):
        ids += _ids_within(piece, tokenizer) if number % 2 else _ids_of_characters(piece, tokenizer)
    return ids


def _ids(text: str, tokenizer: ChatTokenizer, **options: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, **options)["input_ids"])


def _ids_within(text: str, tokenizer: ChatTokenizer, **options: Any) -> list[int]:
    """Token ids of a text behind another: without the blank that some tokenizers put before the first word."""
    before = _ids("\n", tokenizer)
    ids = _ids(f"\n{text}", tokenizer, **options)
    return ids[len(before) :] if text and ids[: len(before)] == before else _ids(text, tokenizer, **options)


def _ids_of_characters(token: str, tokenizer: ChatTokenizer) -> list[int]:
    """Token ids of the characters of a token, one by one where that token is the only way to read them together."""
    own = {number for number, added in tokenizer.added_tokens_decoder.items() if added.content in token}
    ids = _ids_within(token, tokenizer, split_special_tokens=True)
    if own.isdisjoint(ids):
        return ids
    return [number for character in token for number in _ids_within(character, tokenizer, split_special_tokens=True)]
