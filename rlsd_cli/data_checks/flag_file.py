"""A file of the faults and notes that a check found."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlsd_cli.data_checks.check import Checked
from rlsd_cli.errors import EXIT_BUSY, RlsdError

FLAG_BEGINS = b'{"where": '


@contextmanager
def flag_file(out: Path, source: str) -> Iterator[Callable[[Checked], None]]:
    """Give a function that writes the flags of a row to a file, which takes its name when it is complete.

    A pipe is written as it is.
    """
    if out == Path("-"):
        raise RlsdError("`--out` needs a file: stdout holds the report", hint="`--out /dev/stderr`, or a name")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise RlsdError(f"`--out {out}` is {source} itself", hint="name another file")
    is_regular = out.is_file() or not out.exists()
    if out.is_file() and not _holds_flags(out):
        hint = "it is left as it is: name another file"
        raise RlsdError(f"`--out {out}` exists and holds no flags", hint=hint, exit_code=EXIT_BUSY)
    place = out.with_name(f".{out.name}.{os.getpid()}") if is_regular else out
    try:
        with place.open("w", encoding="ascii") as file:
            yield lambda checked: file.writelines(_lines(checked))
        if is_regular:
            place.replace(out)
    except OSError as error:
        raise RlsdError(f"cannot write {out}: {error.strerror}") from error
    finally:
        if is_regular:
            place.unlink(missing_ok=True)


def _holds_flags(path: Path) -> bool:
    """True where a file is empty or was written by an earlier check."""
    with path.open("rb") as file:
        begins = file.read(len(FLAG_BEGINS))
    return begins in (b"", FLAG_BEGINS)


def _lines(checked: Checked) -> Iterator[str]:
    """One row of JSON for each flag of a row."""
    problem = checked.found.problem
    for flag in checked.flags:
        row: dict[str, Any] = {"where": checked.found.where, "id": problem.id if problem else None}
        row |= {"reason": flag.reason, "kind": "fault" if flag.is_fault else "note", "detail": flag.detail}
        yield json.dumps(row) + "\n"
