"""The problems of a source checked, one row after the other, before any training."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli import console
from rlsd_cli.data.sources import parse_source, read_source
from rlsd_cli.data_checks.check import Checking, tried_out
from rlsd_cli.data_checks.check_report import HEADER, Report
from rlsd_cli.data_checks.flag_file import flag_file
from rlsd_cli.data_checks.reading import reading_of, resolve_for, sandboxed
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import open_pool


class CheckedSource(NamedTuple):
    """A source with what was found in it.

    context_length: tokens that the model has room for; 0 where none is named
    """

    source: str
    report: Report
    context_length: int
    seconds: float

    def summary(self) -> dict[str, Any]:
        rate = self.report.rows / self.seconds
        return {"file": self.source, **self.report.summary(), "seconds": self.seconds, "rows_per_second": rate}

    def table(self) -> tuple[Sequence[str], Iterator[Sequence[object]]]:
        return HEADER, self.report.table()

    def words(self) -> Iterator[str]:
        """The summary in sentences."""
        summary = self.summary()
        yield from self.report.words()
        for view, length in (summary["lengths"] or {}).items():
            words = f"median {length['median']:,}, 99 % {length['p99']:,}, longest {length['max']:,}"
            yield f"tokens of the {view}'s view: {words}; the model has room for {self.context_length:,}"
        yield f"{self.seconds:.1f} s, {summary['rows_per_second']:,.0f} rows/s"
        if name := self.report.first_fault():
            yield f"\nhint: `rlsd data show {self.source} {name.removeprefix(f'{self.source}:')}` shows one"


def check_source(source: str, arguments: list[str], out: Path | None) -> CheckedSource:
    """Check every row of a source with the config that its problems are to be trained with.

    out: file for a row of each fault and note; None: they are only counted

    Raises:
        RlsdError: the source holds no row, or cannot be read; a verifier cannot be had.
    """
    resolved = resolve_for(arguments)
    reading = reading_of(resolved)
    if reading.tokenizer is None:
        console.talk("lengths are not checked: no model is named (`model=NAME`, or a preset)")
    report, lost = Report(), f"; {out} is not written" if out else ""
    with ExitStack() as stack:
        stack.enter_context(console.interruptible(lambda: f"after row {report.rows}{lost}"))
        write = stack.enter_context(flag_file(out, source)) if out else None
        meter = stack.enter_context(console.Meter("rows", elsewhere="none"))
        pool = stack.enter_context(open_pool(resolved.config))
        found = sandboxed(read_source(parse_source(source)), resolved.config)
        found = tried_out(found, resolved.config, pool)
        for checked in Checking(found, resolved.config, pool, reading):
            if checked:
                report.add(checked)
                if write:
                    write(checked)
            meter.show(report.rows, f"  {report.rows - report.faultless:,} with a fault")
    if not report.rows:
        raise RlsdError(f"{source} holds no problems")
    return CheckedSource(source, report, reading.context_length, time.perf_counter() - meter.started)
