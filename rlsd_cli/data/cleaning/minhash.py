"""Near duplicates among any number of texts: MinHash signatures in bands (Broder 1997; Leskovec et al., ch. 3).

A signature of `BANDS * ROWS` minima is cut into bands. Two texts of Jaccard similarity s share a band with probability
1 - (1 - s^ROWS)^BANDS: 0.998 at s = 0.8, 0.27 at s = 0.5. What shares one is only a candidate: the caller compares.

Bands are kept in temporary files and sorted one at a time: in memory are some 40 bytes a text.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from rlsd_cli.data.cleaning.ngrams import Grams, Hashes

BANDS = 20
ROWS = 6
SEED = 1
MOST = 3
"""Earlier texts that are proposed to one."""

BLOCK = 2**16


class MinHashLSH:
    """Signatures of texts as they come, and the pairs that they propose."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bands: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        self._bands = [self._stack.enter_context(tempfile.TemporaryFile()) for _ in range(BANDS)]  # noqa: SIM115
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, grams: Grams, keys: Hashes) -> None:
        """Texts by their n-grams. Only texts of the same key are ever proposed as a pair."""
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            grams.values, grams.offsets.astype(np.uint64), BANDS * ROWS, SEED
        )
        signatures = np.array(matrix.to_rows(), dtype=np.uint64).reshape(-1, BANDS, ROWS)
        powers = np.cumprod(np.full(ROWS, 0x9E3779B97F4A7C15, dtype=np.uint64))
        hashed = (signatures * powers).sum(axis=2, dtype=np.uint64) ^ keys[:, None]
        for band, file in enumerate(self._bands):
            file.write(hashed[:, band].tobytes())

    def candidates(self) -> Iterator[tuple[int, list[int]]]:
        """Every text that shares a band with an earlier one, and those, the one it shares most bands with first.

        In a band, a text is only put beside the first that has its hash, and at most `MOST` of those are given: n texts
        that are all alike cost n comparisons and not n^2 / 2.
        """
        for start, partners in self._partners():
            for later in np.flatnonzero((partners >= 0).any(axis=1)).tolist():
                found, counts = np.unique(partners[later][partners[later] >= 0], return_counts=True)
                yield start + later, found[np.argsort(-counts, kind="stable")][:MOST].tolist()

    def _partners(self) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """In blocks of texts, by band: the first text of the same hash, or -1 for the first itself."""
        with tempfile.TemporaryFile() as file:
            for band in self._bands:
                file.write(_firsts(band).tobytes())
            size = file.tell() // (4 * BANDS)
            for start in range(0, size, BLOCK):
                count = min(BLOCK, size - start)
                partners = np.empty((count, BANDS), dtype=np.int32)
                for place in range(BANDS):
                    file.seek(4 * (place * size + start))
                    partners[:, place] = np.frombuffer(file.read(4 * count), dtype=np.int32)
                yield start, partners


def _firsts(file: IO[bytes]) -> NDArray[np.int32]:
    file.seek(0)
    values = np.frombuffer(file.read(), dtype=np.uint64)
    order = np.argsort(values, kind="stable")
    values = values[order]
    opens = np.concatenate(([True], values[1:] != values[:-1]))[: len(order)]
    firsts = np.full(len(order), -1, dtype=np.int32)
    firsts[order[~opens]] = order[np.flatnonzero(opens)[np.cumsum(opens)[~opens] - 1]]
    return firsts
