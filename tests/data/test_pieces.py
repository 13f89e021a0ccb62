"""Where tokens begin: whatever a tokenizer does between them, the pieces are the text."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from rlsd_cli.data.pieces import Pieces

TEXTS = ("reason step by step", "and put 12 boxes", "  two  blanks ", "déjà vu ½ 🙂🙂 x", "", "x")


class Counting:
    """A tokenizer whose pieces are given."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(self.pieces[each] for each in ids)


def test_tokens_of_several_characters_begin_where_the_text_before_them_ends() -> None:
    assert Pieces(Counting(["ab", "", "c"])).starts([0, 1, 2], "abc") == [0, 2, 2, 3]
    assert Pieces(Counting([])).starts([], "") == [0]


@pytest.mark.parametrize("kind", ["bytes", "pieces", "sentencepiece"])
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_the_text_in_order(kind: str, text: str, make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(None, kind=kind)
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")]
    shown = tokenizer.decode(ids, skip_special_tokens=True)
    starts = Pieces(tokenizer).starts(ids, shown)
    assert (len(starts), starts[0], starts[-1]) == (len(ids) + 1, 0, len(shown))
    assert starts == sorted(starts)
    pieces = [shown[begin:end] for begin, end in pairwise(starts)]
    for count in range(1, len(ids)):  # where a prefix is whole characters, it ends where its text does
        prefix = tokenizer.decode(ids[:count], skip_special_tokens=True)
        if "�" not in prefix and shown.startswith(prefix):
            assert "".join(pieces[:count]) == prefix
