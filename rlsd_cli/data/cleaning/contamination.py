"""Contamination: evaluation problems that occur in training problems.

Numbers are masked, so a problem asked again with other numbers is found too. An overlap is the share of an evaluation
problem's distinct n-grams that a training problem holds, which does not fall when the problem stands in a longer text.
N-grams that many evaluation problems have in common are a template, and count on neither side. A question of fewer
words than an n-gram is only found as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlsd_cli.data.cleaning.ngrams import Grams, ngrams, words
from rlsd_cli.data.problems import content_hash, hash64

Key = TypeVar("Key", int, str)

NGRAM = 8
NEAR = 0.5
MOST = 5
"""Overlaps that are named of one question."""

MAX_OWNERS = 32
"""What more evaluation problems have in common tells nothing about any of them."""


class Target(NamedTuple):
    """An evaluation problem, and the set it belongs to."""

    suite: str
    id: str
    fingerprint: str
    question: str


class Contamination(NamedTuple):
    """A training problem, by its place among those that were searched, and an evaluation problem that it holds.

    `exact`: the same question up to blanks; `numbers`: up to its numbers, case and punctuation; `near`: a share of
    n-grams of at least `NEAR`.
    """

    place: int
    target: Target
    kind: Literal["exact", "numbers", "near"]
    share: float


class ContaminationIndex:
    """Evaluation problems, ready to be looked for."""

    def __init__(self, targets: Iterable[Target], n: int = NGRAM, near: float = NEAR) -> None:
        self.targets = [*targets]
        self.n = n
        self.near = near
        masked = [words(target.question, masked=True) for target in self.targets]
        grams = ngrams(masked, n)
        pairs = _distinct(grams)
        order = np.argsort(pairs["gram"], kind="stable")
        telling = order[_counts(pairs["gram"][order]) <= MAX_OWNERS]
        self._grams, self._owners = pairs["gram"][telling], pairs["owner"][telling]
        self._sizes = np.bincount(self._owners, minlength=len(self.targets))
        self._exact = _by_key(target.fingerprint for target in self.targets)
        same = _by_key(map(_key, masked))
        self._masked = {key: owners for key, owners in same.items() if len(owners) <= MAX_OWNERS}

    def find(self, questions: Sequence[str]) -> list[Contamination]:
        """The evaluation problems that these questions hold, by question and then the largest first.

        Of each question there are at most `MOST`.
        """
        masked = [words(question, masked=True) for question in questions]
        found: dict[tuple[int, int], Contamination] = {}
        for index, owner, share in self._shares(ngrams(masked, self.n)):
            found[index, owner] = Contamination(index, self.targets[owner], "near", share)
        for index, (question, text) in enumerate(zip(questions, masked, strict=True)):
            for owner in self._masked.get(_key(text), []) if text else []:
                found[index, owner] = Contamination(index, self.targets[owner], "numbers", 1.0)
            for owner in self._exact.get(content_hash(question), [])[:MOST]:
                found[index, owner] = Contamination(index, self.targets[owner], "exact", 1.0)
        ranked = sorted(found.values(), key=lambda each: (each.place, KINDS.index(each.kind), -each.share))
        return [each for _, group in groupby(ranked, key=lambda each: each.place) for each in islice(group, MOST)]

    def _shares(self, grams: Grams) -> Iterator[tuple[int, int, float]]:
        pairs = _distinct(grams)
        low = np.searchsorted(self._grams, pairs["gram"], "left")
        counts = np.searchsorted(self._grams, pairs["gram"], "right") - low
        hits = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        shared = np.stack([np.repeat(pairs["owner"], counts), self._owners[hits]], axis=1)
        together, num_shared = np.unique(shared, axis=0, return_counts=True)
        shares = num_shared / self._sizes[together[:, 1]]
        for (index, owner), share in zip(together[shares >= self.near], shares[shares >= self.near], strict=True):
            yield int(index), int(owner), float(share)


KINDS = ("exact", "numbers", "near")


def _distinct(grams: Grams) -> NDArray[np.void]:
    """The distinct n-grams of every text, as records of `owner` and `gram`."""
    pairs = np.empty(len(grams.values), dtype=[("owner", np.int64), ("gram", np.uint64)])
    pairs["owner"], pairs["gram"] = grams.owners(), grams.values
    return np.unique(pairs)


def _counts(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How often each of these sorted values occurs."""
    return np.searchsorted(values, values, "right") - np.searchsorted(values, values, "left")


def _key(text: Sequence[str]) -> int:
    return hash64(" ".join(text))


def _by_key(keys: Iterable[Key]) -> dict[Key, list[int]]:
    places: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    return places
