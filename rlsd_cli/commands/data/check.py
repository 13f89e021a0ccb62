"""`rlsd data check`: whether the problems of a source are fit for training."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.commands.data.reading import reading_of, resolve_for, with_sandbox
from rlsd_cli.commands.interrupt import interruptible
from rlsd_cli.errors import EXIT_BUSY, EXIT_NO, RlsdError

if TYPE_CHECKING:
    from rlsd_cli.data_checks.check import Checked
    from rlsd_cli.data_checks.check_report import Report
    from rlsd_cli.data_checks.check_views import Reading


def check(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="Problems: a file, a task or a benchmark.", show_default=False)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PRESET|FILE] [KEY=VALUE]...", help="The config that they are to be trained with."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Exit 1 if fewer rows than this have no fault.")
    ] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Write one JSON row for each fault and note here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Run every reference through its verifier and render both views, before any training."""
    from rlsd_cli.data.sources import parse_source, read_source
    from rlsd_cli.data_checks.check import Checking, tried_out
    from rlsd_cli.data_checks.check_report import Report
    from rlsd_cli.grading.jobs import open_pool

    console.quiet = quiet
    resolved = resolve_for(arguments or [])
    reading = reading_of(resolved)
    if reading.tokenizer is None:
        console.talk("lengths are not checked: no model is named (`model=NAME`, or a preset)")
    report, lost = Report(), f"; {out} is not written" if out else ""
    with ExitStack() as stack:
        stack.enter_context(interruptible(lambda: f"after row {report.rows}{lost}"))
        write = stack.enter_context(_flag_file(out, source)) if out else None
        meter = stack.enter_context(console.Meter("rows", elsewhere="none"))
        pool = stack.enter_context(open_pool(resolved.config))
        found = with_sandbox(read_source(parse_source(source)), resolved.config)
        found = tried_out(found, resolved.config, pool)
        for checked in Checking(found, resolved.config, pool, reading):
            if checked:
                report.add(checked)
                if write:
                    _write(write, checked)
            meter.show(report.rows, f"  {report.rows - report.faultless:,} with a fault")
    if not report.rows:
        raise RlsdError(f"{source} holds no problems")
    _show(report, source, reading, time.perf_counter() - meter.started, as_json=as_json)
    if not report.problems:
        raise RlsdError(f"{source} holds no problems: none of its {report.rows:,} rows can be read")
    if report.share < threshold:
        raise typer.Exit(EXIT_NO)


def _show(report: "Report", source: str, reading: "Reading", seconds: float, *, as_json: bool) -> None:
    from rlsd_cli.data_checks.check_report import HEADER

    summary = {"file": source, **report.summary(), "seconds": seconds, "rows_per_second": report.rows / seconds}
    if as_json:
        console.data_json(summary)
    else:
        console.table(HEADER, report.table())
    for line in report.words():
        console.talk(line)
    for view, length in (summary["lengths"] or {}).items():
        words = f"median {length['median']:,}, 99 % {length['p99']:,}, longest {length['max']:,}"
        console.talk(f"tokens of the {view}'s view: {words}; the model has room for {reading.context_length:,}")
    console.talk(f"{seconds:.1f} s, {summary['rows_per_second']:,.0f} rows/s")
    if name := report.first_fault():
        console.talk(f"\nhint: `rlsd data show {source} {name.removeprefix(f'{source}:')}` shows one")


# -- flags ---------------------------------------------------------------------------------------------------------


@contextmanager
def _flag_file(out: Path, source: str) -> Iterator[IO[str]]:
    """A file to write flags into, that takes its name when all of them are in it. A pipe is written as it is."""
    if out == Path("-"):
        raise RlsdError("`--out` needs a file: stdout holds the report", hint="`--out /dev/stderr`, or a name")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise RlsdError(f"`--out {out}` is {source} itself", hint="name another file")
    is_regular = out.is_file() or not out.exists()
    if out.is_file() and not _holds_flags(out):
        hint = "it is left as it is: name another file"
        raise RlsdError(f"`--out {out}` is there and holds no flags", hint=hint, exit_code=EXIT_BUSY)
    place = out.with_name(f".{out.name}.{os.getpid()}") if is_regular else out
    try:
        with place.open("w", encoding="ascii") as file:
            yield file
        if is_regular:
            place.replace(out)
    except OSError as error:
        raise RlsdError(f"cannot write {out}: {error.strerror}") from error
    finally:
        if is_regular:
            place.unlink(missing_ok=True)


def _holds_flags(path: Path) -> bool:
    """Whether a file is of an earlier check, or empty."""
    with path.open("rb") as file:
        begins = file.read(len(FLAG_BEGINS))
    return begins in (b"", FLAG_BEGINS)


FLAG_BEGINS = b'{"where": '


def _write(file: IO[str], checked: "Checked") -> None:
    problem = checked.found.problem
    for flag in checked.flags:
        row: dict[str, Any] = {"where": checked.found.where, "id": problem.id if problem else None}
        row |= {"reason": flag.reason, "kind": "fault" if flag.is_fault else "note", "detail": flag.detail}
        file.write(json.dumps(row) + "\n")
