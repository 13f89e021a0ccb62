"""The responses of an evaluation, a line each, written as they are graded; what is there already is not drawn again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import EXIT_BUSY, EXIT_MACHINE, RlsdError
from rlsd_cli.grading.verdict_file import LineFile


class SamplesFile(LineFile):
    """`samples.jsonl` of an evaluation, in the order of its problems."""

    content = "sample"
    beginning = b'{"problem_id": '

    def match(self, problems: Sequence[Problem], samples: int, batch: int) -> list[dict[str, Any]]:
        """The rows of whole batches of problems that are there already; the file goes on behind them.

        Raises:
            RlsdError: a row is not that of its problem.
        """
        rows: list[dict[str, Any]] = []
        ends = [0]
        for place, line in enumerate(self.lines()):
            try:
                row = json.loads(line)
                problem = problems[place // samples]
                same = (row["problem_id"], row["sample"]) == (problem.id, place % samples)
                _ = row["score"], row["outcome"], row["tokens"], row["truncated"], row["leaks"], row["verifier"]
            except (ValueError, TypeError, KeyError, IndexError, RecursionError):
                same = False
            if not same:
                raise self.mismatch(f"its row {place + 1} is not a response to the problem in that place")
            rows.append(row)
            ends.append(ends[-1] + len(line))
        whole = batch * samples
        kept = len(rows) if len(rows) == len(problems) * samples else len(rows) // whole * whole
        self.go_on_at(ends[kept])
        return rows[:kept]

    def mismatch(self, why: str) -> RlsdError:
        return RlsdError(
            f"{self.path} does not belong to this evaluation: {why}",
            hint="`--again` makes it anew",
            exit_code=EXIT_BUSY,
        )


def open_samples(folder: Path, *, again: bool) -> SamplesFile:
    """The file in a folder, which is made.

    Raises:
        RlsdError: (exit 3) it cannot be written; (exit 4) another process writes it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if again:
            (folder / "summary.json").unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        return SamplesFile(folder / "samples.jsonl", again=again)
    except RlsdError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, BlockingIOError):
            raise cannot_write(folder, error.__cause__) from error
        raise


def cannot_write(folder: Path, error: OSError) -> RlsdError:
    return RlsdError(f"cannot write {folder}: {error.strerror}", exit_code=EXIT_MACHINE)
