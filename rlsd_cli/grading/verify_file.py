"""The rows of a file to verdicts, in order, as they come; a file of verdicts is continued where it stopped."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from rlsd_cli import console
from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.answer_rows import Lines, Reading, Row, graded, read_rows, record, to_line
from rlsd_cli.grading.jobs import leniency_of, open_pool
from rlsd_cli.grading.programs import with_sandbox
from rlsd_cli.grading.verdict_file import VerdictFile
from rlsd_cli.grading.verdict_summary import Table, Tally, tables
from rlsd_cli.interrupts import Interrupted, Interrupts
from rlsd_verifiers import Outcome, Verdict

MAX_WARNINGS = 5
REDRAW_SECONDS = 0.2
LINE_SECONDS = 10.0


class Verified(NamedTuple):
    """The summary of a file of verdicts."""

    summary: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """True where every row reached a verdict."""
        return bool(self.summary["verdicts"] == self.summary["rows"])

    def tables(self) -> list[Table]:
        return [*tables(self.summary)]


def verify_rows(source: str, out: Path | None, config: Config, verifier: str | None, *, again: bool) -> Verified:
    """Grade the rows of `source` and write a row for each to `out`, or to stdout if that is None.

    Raises:
        RlsdError: a file cannot be read or written, or programs cannot be run.
        SystemExit: a signal came; every row that was begun is written, and the code is the signal's.
    """
    name = "stdin" if source == "-" else source
    descriptor = _open(source, out)
    rows = read_rows(Lines(descriptor, name), Reading(name, verifier, config.verifier))
    rows = with_sandbox(rows, lambda row: row is not None and row.verifier == "code", config)
    leniency = leniency_of(config)
    with ExitStack() as stack:
        work = stack.enter_context(_Work(descriptor, to_file=out is not None))
        file = stack.enter_context(VerdictFile(out, again=again)) if out else None
        verdicts = graded(rows, stack.enter_context(open_pool(config)), leniency)
        stack.enter_context(work.interrupts.installed())
        work.interrupts.hold()
        try:
            earlier = work.count_all(file.match(rows, leniency) if file else ())
            work.deliver_all(verdicts, file.write if file else console.data)
        except Interrupted as interrupt:
            for item in verdicts.finished():
                work.deliver(*item, file.write if file else console.data)
            work.close()
            console.say(f"interrupted after row {work.tally.rows}")
            console.say("\nhint: the same command continues" if out else "\nhint: with `--out FILE` it could continue")
            raise SystemExit(interrupt.exit_code) from None
    work.end(name)
    if out and earlier and earlier == work.tally.rows:
        console.talk(f"{out} is complete: {earlier} rows; `--again` starts it over")
    seconds, new = time.perf_counter() - work.started, work.tally.rows - earlier
    rate = new / seconds if new else None
    return Verified({"file": name, **work.tally.summary(), "seconds": seconds, "rows_per_second": rate})


def _open(source: str, out: Path | None) -> int:
    """The descriptor to read from. Verdicts must not be written over the file they are read from."""
    try:
        if source == "-" and sys.stdin is None:
            raise RlsdError("stdin is closed")
        descriptor = sys.stdin.fileno() if source == "-" else os.open(source, os.O_RDONLY)
    except OSError as error:
        raise RlsdError(f"cannot read {source}: {error.strerror}") from error
    here = os.fstat(descriptor)
    if stat.S_ISDIR(here.st_mode):
        raise RlsdError(f"cannot read {source}: it is a directory")
    if out and out.is_file() and os.path.samestat(out.stat(), here):
        raise RlsdError(f"`--out {out}` is {source} itself", hint="name another file")
    return descriptor


class _Work:
    """What has been counted, and how far it is: on a terminal, unless the rows themselves scroll by there.

    Signals get through only between rows: no row is half written, and none is lost.
    """

    def __init__(self, descriptor: int, *, to_file: bool) -> None:
        self.tally = Tally()
        self.interrupts = Interrupts()
        self.started = time.perf_counter()
        self._place = 0
        self._faults = 0
        self._bar: Any = None
        self._style = console.progress_style(elsewhere="none")
        if self._style == "bar" and console.is_terminal(sys.stdout) and not to_file:
            self._style = "none"
        if self._style == "bar":
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

            here = os.fstat(descriptor)
            columns = (BarColumn(16), TimeRemainingColumn(compact=True), TextColumn("{task.description}"))
            self._bar = console.bar(*columns)
            self._task = self._bar.add_task("", total=here.st_size if stat.S_ISREG(here.st_mode) else None)
        self._every = REDRAW_SECONDS if self._bar else LINE_SECONDS
        self._due = self.started + self._every

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._bar:
            self._bar.stop()

    def count_all(self, known: Iterable[tuple[Row, Outcome] | None]) -> int:
        """Count the verdicts that are there already."""
        for item in known:
            if item:
                self.count(*item)
            self._breathe()
        return self.tally.rows

    def deliver_all(self, verdicts: Iterable[tuple[Row, Future[Verdict]] | None], write: Callable[[str], None]) -> None:
        """Write and count verdicts as they come."""
        earlier = self.tally.rows
        for item in verdicts:
            if item:
                if self.tally.rows == earlier > 0:
                    console.talk(f"continuing at row {earlier + 1}")
                self.deliver(*item, write)
            self._breathe()

    def deliver(self, row: Row, verdict: Future[Verdict], write: Callable[[str], None]) -> None:
        write(to_line(record(row, verdict.result())))
        self.count(row, verdict.result().outcome)

    def _breathe(self) -> None:
        self.show()
        self.interrupts.release()
        self.interrupts.hold()

    def count(self, row: Row, outcome: Outcome) -> None:
        self.tally.add(outcome, row.label, row.submission, row.id)
        self._place = row.end
        if row.fault is not None:
            self._faults += 1
            if self._faults <= MAX_WARNINGS:
                console.warning(row.fault)

    def show(self) -> None:
        now = time.perf_counter()
        if self._style == "none" or now < self._due:
            return
        self._due = now + self._every
        words = self.tally.in_words(now - self.started)
        if self._bar:
            self._bar.update(self._task, completed=self._place, description=words)
        else:
            console.say(words)

    def end(self, name: str) -> None:
        if self._faults > MAX_WARNINGS:
            console.warning(f"... and {self._faults - MAX_WARNINGS} more rows that cannot be read")
        if not self.tally.rows:
            console.warning(f"{name} holds no rows")
