"""Rows on disk between the time they are read and the time it is known which of them stay."""

import hashlib
import json
import os
import tempfile
from array import array
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rlsd_cli.data.problems import Problem


class Spool:
    """Rows in the order they came, read again by their index. In memory are 40 bytes a row.

    `questions`, `references`, `own_ids` and `ranks` are hashes of what a problem asks (with its choices), of what its
    answer is checked against, of the id it came with (0 for none) and of its content with a seed.
    """

    def __init__(self, seed: int | None) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._seed = seed
        self._ends = array("Q", [0])
        self._columns = [array("Q") for _ in range(4)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, problem: Problem, row: Mapping[str, Any]) -> None:
        line = json_line(row)
        self._file.write(line)
        self._ends.append(self._ends[-1] + len(line))
        own_id = 0 if problem.id == problem.fingerprint else hash64(problem.id)
        rank = len(self) if self._seed is None else hash64(f"{self._seed}/{question_of(problem)}")
        hashes = hash64(question_of(problem)), hash64(reference_of(problem)), own_id, rank
        for column, value in zip(self._columns, hashes, strict=True):
            column.append(value)

    def line(self, index: int) -> bytes:
        self._file.flush()
        return os.pread(self._file.fileno(), self._ends[index + 1] - self._ends[index], self._ends[index])

    def row(self, index: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line(index))
        return found

    @property
    def questions(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._columns[0], dtype=np.uint64)

    @property
    def references(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._columns[1], dtype=np.uint64)

    @property
    def own_ids(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._columns[2], dtype=np.uint64)

    def order(self) -> NDArray[np.int64]:
        """The rows in the order of their ranks; equal ranks in the order they came."""
        ranks = np.frombuffer(self._columns[3], dtype=np.uint64)
        return np.argsort(ranks, kind="stable")


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON in UTF-8; half a character, which UTF-8 does not have, as an escape."""
    return json.dumps(row, ensure_ascii=False, default=str).encode(errors="backslashreplace") + b"\n"


def question_of(problem: Problem) -> str:
    """What is asked, in one text with its white space folded."""
    return " ".join("\n".join([problem.question, *(problem.choices or ())]).split())


def reference_of(problem: Problem) -> str:
    """What an answer is checked against, in one text with its white space folded: a letter depends on its choices."""
    tests = "" if problem.tests is None else json.dumps(problem.tests, sort_keys=True)
    return " ".join("\n".join([problem.answer, tests, *(problem.choices or ())]).split())


def hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
