"""Texts as hashed word n-grams: what near duplicates and contamination are measured with.

Words are folded to lower case and compatibility forms (NFKC); sentence punctuation, `$` and what LaTeX has for looks
are left out, and a text in a script without blanks is cut into its characters. Hashes are the same on every machine.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_WORD = re.compile(
    r"\d+(?:[.,]\d+)*|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+"
    r"|[^\w\s.,;:?!\"'`\u2018\u2019\u201c\u201d\u3001\u3002\u300c\u300d$\\{}]|_"
)
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|[,;:! ()\[\]])|(?<=\\)[dt](?=frac)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_INDENT = re.compile(r"\n([ \t]*)(?=\S)")
_DASHES = str.maketrans("\u2212\u2010\u2011\u2013\u2014", "-----")
_SYMBOL = re.compile(
    r"(?<=[\d)])!|(?<=\b[^\W\d_])[!'](?![^\W\d_])|[^\w\s.,;:?!\"'`\u2018\u2019\u201c\u201d\u3001\u3002$\\{}]"
)
_NUMBER_WORDS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million".split()
)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(31)


class Grams(NamedTuple):
    """The n-grams of several texts in one array; those of text `i` are `values[offsets[i] : offsets[i + 1]]`."""

    values: Hashes
    offsets: NDArray[np.int64]

    def of(self, index: int) -> Hashes:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def owners(self) -> NDArray[np.int64]:
        """The index of the text that each n-gram belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def words(text: str, *, masked: bool = False) -> list[str]:
    """The words of a text; with `masked`, every number, in digits or as a word, is the same word."""
    found: list[str] = _WORD.findall(_folded(text).lower())
    return ["0" if word[0].isdigit() or word in _NUMBER_WORDS else word for word in found] if masked else found


def details(text: str) -> list[str]:
    """What makes another problem of a text with the same words: numbers, signs, and how its lines are indented."""
    folded = _folded(text)
    numbers = [number.replace(",", "") for number in _NUMBER.findall(folded)]
    indents = _INDENT.findall(text) if "\n" in text else []
    return [*numbers, "", *_SYMBOL.findall(folded), "", *(indents if any(indents) else [])]


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_DASHES)
    return _LOOKS.sub("", text) if "\\" in text else text


def ngrams(texts: Iterable[Sequence[str]], n: int) -> Grams:
    """Hashed n-grams of texts given as words. A text of fewer than n words is one short gram; one of none has none."""
    gap = [0] * (n - 1)
    hashed: list[int] = []
    counted = []
    for text in texts:
        counted.append(len(text))
        hashed += [zlib.crc32(word.encode()) + 1 for word in text]
        hashed += gap
    lengths, padded = np.array(counted, dtype=np.int64), np.array(hashed, dtype=np.uint64)
    starts = np.concatenate(([0], np.cumsum(lengths + n - 1)))
    combined = np.zeros(max(0, len(padded) - n + 1), dtype=np.uint64)
    for place in range(n):
        combined = _mixed(combined * _STEP + padded[place : place + len(combined)])
    counts = np.where(lengths > 0, np.maximum(lengths - n + 1, 1), 0)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    within = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    return Grams(combined[np.repeat(starts[:-1], counts) + within], offsets)


def _mixed(values: Hashes) -> Hashes:
    """A bijection of 64 bits that lets every bit depend on those above it (the middle of splitmix64)."""
    values = (values ^ (values >> _SHIFT)) * _MIX
    return values ^ (values >> _SHIFT)


def jaccard(first: Hashes, second: Hashes) -> float:
    """Shared n-grams over all n-grams of both, each counted once; 0 for two empty sets."""
    shared = len(np.intersect1d(first, second))
    total = len(np.unique(first)) + len(np.unique(second)) - shared
    return shared / total if total else 0.0
