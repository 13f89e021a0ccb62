"""Files that a command writes line by line and continues where it stopped, such as those of `rlsd verify --out`."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from rlsd_cli.errors import EXIT_BUSY, EXIT_MACHINE, RlsdError
from rlsd_cli.grading.answer_rows import Row
from rlsd_verifiers import Job, Leniency, Outcome, Verdict
from rlsd_verifiers.code.extract import extract_code
from rlsd_verifiers.job import begin
from rlsd_verifiers.verdict import shorten


class LineFile:
    """A file of JSON objects that begin alike: opened, locked, and left with whole lines only.

    Raises RlsdError where it cannot be written or another process writes it. `content` is what a line is called.
    """

    content = "row"
    beginning = b'{"id": '

    def __init__(self, path: Path, *, again: bool) -> None:
        self.path = path
        self.is_regular = path.is_file() or not path.exists()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT if self.is_regular else os.O_WRONLY, 0o666)
            if self.is_regular:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise RlsdError(f"{path} is being written by another process", exit_code=EXIT_BUSY) from error
        except OSError as error:
            raise RlsdError(f"cannot write {path}: {error.strerror}") from error
        if again and self.is_regular:
            if not self.beginning.startswith(begins := os.pread(self._descriptor, len(self.beginning), 0)):
                os.close(self._descriptor)
                raise RlsdError(
                    f"{path} begins with `{shorten(begins.decode(errors='replace'))}`, which is no {self.content}",
                    hint="it is not changed: name another `--out`",
                    exit_code=EXIT_BUSY,
                )
            os.ftruncate(self._descriptor, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, line: str) -> None:
        data = line.encode("ascii") + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            hint = "the same command continues"
            raise RlsdError(f"cannot write {self.path}: {error.strerror}", hint=hint, exit_code=EXIT_MACHINE) from error

    def lines(self) -> Iterator[bytes]:
        """The lines that are there already. A last one that a dying process left unfinished is not among them."""
        if not self.is_regular:
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if not (line.startswith(self.beginning) or self.beginning.startswith(line)):
                        raise self.mismatch(f"its last line is not a {self.content}")
                    return
                yield line

    def go_on_at(self, end: int) -> None:
        """Keep this many bytes, cut off what is behind them, and write there."""
        if self.is_regular:
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)

    def mismatch(self, why: str) -> RlsdError:
        return RlsdError(
            f"{self.path} does not belong to this command: {why}",
            hint="`--again` starts it over, another `--out` leaves it as it is",
            exit_code=EXIT_BUSY,
        )


class VerdictFile(LineFile):
    """The verdicts on the rows of a file, in their order."""

    content = "verdict"

    def match(self, rows: Iterator[Row | None], leniency: Leniency) -> Iterator[tuple[Row, Outcome] | None]:
        """The rows whose verdicts are there already; those after them are left in `rows`. None where rows are None.

        Each must be the verdict that its row would get: with its id, answer and verifier, and with the outcome and the
        answer that a quick verifier finds. Raises RlsdError at the first that is not.
        """
        for number, values in enumerate(self._earlier(), start=1):
            for row in rows:
                if row is not None:
                    break
                yield None
            else:
                raise self.mismatch("it holds more rows than there are")
            if why := _difference(values, row, leniency):
                raise self.mismatch(f"in row {number}, {why}")
            yield row, Outcome(values["outcome"])

    def _earlier(self) -> Iterator[Mapping[str, Any]]:
        """The rows that are there already, after which the file goes on."""
        end = 0
        for line in self.lines():
            try:
                values = json.loads(line)
                Outcome(values["outcome"])
                _ = values["id"], values["answer"], values["verifier"], values["extracted"]
            except (ValueError, TypeError, KeyError, RecursionError):
                raise self.mismatch("it holds lines that are no verdicts") from None
            yield values
            end += len(line)
        self.go_on_at(end)


def _difference(values: Mapping[str, Any], row: Row, leniency: Leniency) -> str | None:
    for name, here in (("id", row.id), ("answer", row.answer), ("verifier", row.verifier)):
        if values[name] != here:
            return f"{name} was `{shorten(str(values[name]))}` and is `{shorten(str(here))}`"
    if row.submission is None or row.verifier is None:
        same = values["outcome"] == Outcome.INVALID_ROW
    else:
        found = begin(Job(row.submission, row.verifier, leniency))
        known = (found.outcome, found.extracted) if isinstance(found, Verdict) else None
        same = known in (None, (values["outcome"], values["extracted"]))
        if row.verifier == "code" and known is None and values["extracted"] is not None:
            code = extract_code(row.submission.response)
            same = code is not None and code.text == values["extracted"]
    return None if same else "the response, a setting or the verifier is another"
