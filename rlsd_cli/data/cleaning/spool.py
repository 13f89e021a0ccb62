"""Rows on disk between the time they are read and the time it is known which of them stay."""

import json
import os
import re
import tempfile
from array import array
from collections.abc import Mapping
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from rlsd_cli.data.cleaning.ngrams import Hashes, details
from rlsd_cli.data.jsons import json_line
from rlsd_cli.data.problems import Problem, asked, folded, hash64


class Spool:
    """Rows in the order they came, read again by their index. In memory are some 60 bytes a row.

    Of every row there are hashes: of what it asks (`questions`), of what an answer is checked against (`references`),
    of that with the details of the question (`kinds`), and of the id it came with (`own_ids`, 0 for none). `held` says
    which rows are held out.
    """

    def __init__(self, seed: int | None) -> None:
        self._lines, self._places = _Texts(), _Texts()
        self._seed = seed
        self._hashes = {name: array("Q") for name in ("questions", "references", "kinds", "own_ids", "ranks")}
        self._held = array("B")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._places.close()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, problem: Problem, row: Mapping[str, Any], where: str, *, held: bool) -> None:
        question, reference = question_of(problem), reference_of(problem)
        rank = len(self) if self._seed is None else hash64(f"{self._seed}/{question}")
        found = {
            "questions": hash64(question),
            "references": hash64(reference),
            "kinds": hash64("\0".join([reference, *details(problem.question)])),
            "own_ids": 0 if problem.id == problem.fingerprint else hash64(problem.id),
            "ranks": rank,
        }
        for name, value in found.items():
            self._hashes[name].append(value)
        self._held.append(held)
        self._lines.add(json_line(row))
        self._places.add(where.encode(errors="backslashreplace"))

    def line(self, index: int) -> bytes:
        return self._lines.get(index)

    def row(self, index: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line(index))
        return found

    def where(self, index: int) -> str:
        return self._places.get(index).decode()

    def hashes(self, name: str) -> Hashes:
        """A column as a view: it must be let go of before the next row is added."""
        return np.frombuffer(self._hashes[name], dtype=np.uint64)

    @property
    def held(self) -> NDArray[np.bool_]:
        return np.frombuffer(self._held, dtype=np.bool_)

    def order(self) -> NDArray[np.int64]:
        """The rows in the order of their ranks; equal ranks in the order they came."""
        return np.argsort(self.hashes("ranks"), kind="stable")


class _Texts:
    """Texts in a temporary file, by their index."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, text: bytes) -> None:
        self._file.write(text)
        self._ends.append(self._ends[-1] + len(text))

    def get(self, index: int) -> bytes:
        self._file.flush()
        return os.pread(self._file.fileno(), self._ends[index + 1] - self._ends[index], self._ends[index])

    def close(self) -> None:
        self._file.close()


def question_of(problem: Problem) -> str:
    """What is asked, in one text with its white space folded; where lines are indented, their indents stay."""
    text = asked(problem.question, problem.choices)
    return "".join(part if part.startswith("\n") else folded(part) for part in _INDENT.split(text))


_INDENT = re.compile(r"(\n[ \t]+)(?=\S)")


def reference_of(problem: Problem) -> str:
    """What an answer is checked against, in one text: a letter depends on its choices."""
    return "\n".join([folded(problem.answer), tests_text(problem.tests), *map(folded, problem.choices or ())])


def tests_text(tests: object) -> str:
    """Tests in one text, without blanks at the ends of lines."""
    if isinstance(tests, str):
        return "\n".join(line.rstrip() for line in tests.strip().split("\n"))
    return "" if tests is None else json_line(tests).decode()
