"""What becomes of rows that repeat, contradict or give away others.

Every step looks only at rows that the steps before it have left, so no row goes for the sake of one that goes too.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsd_cli.data.cleaning.contamination import Contamination, ContaminationIndex, Target
from rlsd_cli.data.cleaning.minhash import MinHashLSH
from rlsd_cli.data.cleaning.ngrams import Hashes, jaccard, ngrams, words
from rlsd_cli.data.cleaning.spool import Spool, tests_text
from rlsd_cli.data.problems import asked, content_hash, folded
from rlsd_verifiers import Leniency, Submission
from rlsd_verifiers.maths.quick import grade_math_quickly

SHINGLE = 3
BATCH, BATCH_CHARS = 2000, 2**24

STAYS, DUPLICATE, CONFLICT, CONTAMINATED, NEAR = range(5)
REASONS = ("", "duplicate", "conflict", "overlap", "near_duplicate")


class Fates(NamedTuple):
    """What becomes of every row, as an index into `REASONS`; the row it repeats or contradicts, and how similar."""

    reasons: NDArray[np.uint8]
    others: NDArray[np.int64]
    similarities: NDArray[np.float32]

    @classmethod
    def of(cls, spool: Spool) -> "Fates":
        """Every row stays."""
        size = len(spool)
        return cls(np.zeros(size, np.uint8), np.zeros(size, np.int64), np.zeros(size, np.float32))

    def set(self, rows: Any, reason: int, other: Any = -1, similarity: float = 1.0) -> None:
        self.reasons[rows], self.others[rows], self.similarities[rows] = reason, other, similarity

    def gone(self, index: int, spool: Spool, *, keep_duplicates: bool) -> tuple[str, str] | None:
        """The reason and the detail for a row that goes. A repeat that may stay shares the fate of the first."""
        reason, other = int(self.reasons[index]), int(self.others[index])
        if reason == DUPLICATE and keep_duplicates:
            return self.gone(other, spool, keep_duplicates=True)
        if reason == STAYS:
            return None
        if reason == CONTAMINATED:
            return REASONS[reason], "see overlap.tsv"
        near = f"similarity {self.similarities[index]:.3f} to " if reason == NEAR else "see "
        return REASONS[reason], near + spool.where(other)


# -- repeats -------------------------------------------------------------------------------------------------------


def mark_repeats(spool: Spool, fates: Fates) -> None:
    """Mark all rows but the first of a question, or all of a question whose references differ."""
    for same in groups(spool.hashes("questions")):
        if _agree(same, spool):
            fates.set(same[1:], DUPLICATE, same[0])
        else:
            fates.set(same, CONFLICT, same[0])
            fates.set(same[0], CONFLICT, same[1])


def groups(values: Hashes) -> Iterator[NDArray[np.int64]]:
    """The indices of equal values, in rising order, for every value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(values[order]) != 0))[: len(order)])
    ends = np.append(starts[1:], len(order))
    for place in np.flatnonzero(ends - starts > 1):
        yield order[starts[place] : ends[place]]


def _agree(same: NDArray[np.int64], spool: Spool) -> bool:
    """True where rows with one question have one reference: the same text up to case, or one that equals it."""
    _, firsts = np.unique(spool.hashes("references")[same], return_index=True)
    first, *rest = (spool.row(index) for index in same[np.sort(firsts)].tolist())
    tests = tests_text(first.get("tests"))
    return all(tests_text(row.get("tests")) == tests and _are_equal(row, first) for row in rest)


def _are_equal(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    answer, reference = (folded(each.get("answer", "")) for each in (row, other))
    if answer.casefold() == reference.casefold():
        return True
    verdict = grade_math_quickly(Submission(rf"\boxed{{{answer}}}", reference), Leniency())
    return verdict is not None and verdict.correct is True


# -- contamination and near repeats ---------------------------------------------------------------------------------


def _left(spool: Spool, fates: Fates, chosen: NDArray[np.bool_]) -> Iterator[tuple[list[int], list[str]]]:
    """The chosen rows that still stay, some at a time, with what they ask."""
    indices: list[int] = []
    questions: list[str] = []
    chars = 0
    for index in map(int, np.flatnonzero(chosen & (fates.reasons == STAYS))):
        indices.append(index)
        questions.append(_asked(spool, index))
        chars += len(questions[-1])
        if len(indices) == BATCH or chars > BATCH_CHARS:
            yield indices, questions
            indices, questions, chars = [], [], 0
    if indices:
        yield indices, questions


def _asked(spool: Spool, index: int) -> str:
    row = spool.row(index)
    return asked(row["question"], row.get("choices"))


def held_out_targets(spool: Spool, fates: Fates, suite: str) -> Iterator[Target]:
    """The held-out rows that stay, as problems that no training row should hold."""
    for indices, questions in _left(spool, fates, spool.held):
        for index, question in zip(indices, questions, strict=True):
            yield Target(suite, spool.row(index)["id"], content_hash(question), question)


def find_contamination(
    spool: Spool, fates: Fates, targets: Sequence[Target]
) -> Iterator[tuple[int, str, Contamination]]:
    """The training rows that hold one of these problems, what they ask, and what was found."""
    if not targets:
        return
    index = ContaminationIndex(targets)
    for indices, questions in _left(spool, fates, ~spool.held):
        for found in index.find(questions):
            yield indices[found.place], questions[found.place], found


def mark_near(spool: Spool, fates: Fates, near: float) -> None:
    """Mark rows whose question is nearly that of an earlier row of the same kind."""
    rows = array("q")
    with MinHashLSH() as lsh:
        for indices, questions in _left(spool, fates, np.ones(len(spool), dtype=np.bool_)):
            kinds = spool.hashes("kinds")[indices]
            lsh.add(ngrams([words(question) for question in questions], SHINGLE), kinds)
            rows.extend(indices)

        @lru_cache(maxsize=256)
        def grams(index: int) -> Hashes:
            return ngrams([words(_asked(spool, index))], SHINGLE).values

        kinds = spool.hashes("kinds")
        for place, candidates in lsh.candidates():
            later = rows[place]
            for first in (rows[candidate] for candidate in candidates):
                leader = int(fates.others[first]) if fates.reasons[first] == NEAR else first
                if fates.reasons[later] == NEAR or kinds[later] != kinds[leader]:
                    continue
                similarity = jaccard(grams(later), grams(leader))
                if similarity >= near:
                    fates.set(later, NEAR, leader, similarity)
