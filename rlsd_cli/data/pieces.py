"""Where in a response each token begins."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

Decode = Callable[..., str]
WINDOW = 6
"""Tokens before one that may decide how it is written: blanks at the start of a piece, characters of several tokens."""


class Pieces:
    """The text of single tokens, which is decoded once for each token of the vocabulary that occurs."""

    def __init__(self, tokenizer: Any) -> None:
        self._decode: Decode = tokenizer.decode
        self._known: dict[int, str] = {}

    def starts(self, token_ids: Sequence[int], text: str) -> list[int]:
        """The character of a response at which each token begins, and where the last one ends [n + 1].

        Tokens that are not shown are of no length; a character of several tokens belongs to the last of them. Where the
        pieces alone are not the text, as with pieces that begin with a blank, each is decoded behind those before it.
        """
        pieces = [self._piece(token) for token in token_ids]
        if "".join(pieces) == text:
            return [0, *accumulate(map(len, pieces))]
        lengths, begin, whole = [0], 0, 0
        for end in range(1, len(token_ids) + 1):
            now = self._text(token_ids[begin:end])
            lengths.append(lengths[whole])
            if not now.endswith("�"):
                grown = len(now) - len(self._text(token_ids[begin:whole]))
                lengths[end] = min(len(text), lengths[whole] + max(grown, 0))
                begin, whole = (whole, end) if end - begin >= WINDOW else (begin, end)
        return [*lengths[:-1], len(text)]

    def _piece(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._text([token])
        return self._known[token]

    def _text(self, token_ids: Sequence[int]) -> str:
        return self._decode(token_ids, skip_special_tokens=True)
