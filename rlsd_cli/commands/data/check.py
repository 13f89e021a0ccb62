"""`rlsd data check`: whether the problems of a source are fit for training."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.commands.programs import announce_sandbox
from rlsd_cli.errors import EXIT_BUSY, EXIT_NO, RlsdError

if TYPE_CHECKING:
    from rlsd_cli.config.resolve import Resolved
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.problems import Found
    from rlsd_cli.evaluation.check import Checked
    from rlsd_cli.evaluation.check_report import Report
    from rlsd_cli.evaluation.check_views import Reading

REDRAW_SECONDS = 0.2
LINE_SECONDS = 10.0


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
    from rlsd_cli.evaluation.check import Checking, tried_out
    from rlsd_cli.evaluation.check_report import Report
    from rlsd_cli.evaluation.grade import open_pool
    from rlsd_cli.training.interrupts import Interrupted, Interrupts

    console.quiet = quiet
    resolved = resolve_for(arguments or [])
    reading = reading_of(resolved)
    if reading.tokenizer is None:
        console.talk("lengths are not checked: no model is named (`model=NAME`, or a preset)")
    report, progress, interrupts = Report(), _Progress(), Interrupts()
    with ExitStack() as stack:
        write = stack.enter_context(_flag_file(out, source)) if out else None
        stack.callback(progress.close)
        pool = stack.enter_context(open_pool(resolved.config))
        stack.enter_context(interrupts.installed())
        found = with_sandbox(read_source(parse_source(source)), resolved.config)
        found = tried_out(found, resolved.config, pool)
        try:
            for checked in Checking(found, resolved.config, pool, reading):
                if checked:
                    report.add(checked)
                    if write:
                        _write(write, checked)
                progress.show(report)
        except Interrupted as interrupt:
            progress.close()
            console.say(f"interrupted after row {report.rows}" + (f"; {out} is not written" if out else ""))
            raise typer.Exit(interrupt.exit_code) from None
    if not report.rows:
        raise RlsdError(f"{source} holds no problems")
    _show(report, source, reading, time.perf_counter() - progress.started, as_json=as_json)
    if not report.problems:
        raise RlsdError(f"{source} holds no problems: none of its {report.rows:,} rows can be read")
    if report.share < threshold:
        raise typer.Exit(EXIT_NO)


def resolve_for(arguments: list[str]) -> "Resolved":
    """The config of PRESET|FILE... and `key=value`...; without a preset the defaults, not those of `quickstart`."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments, target_layer

    targets, overrides = split_arguments(arguments)
    return merge([target_layer(target)[1] for target in targets], Layer(COMMAND_LINE, overrides))


def reading_of(resolved: "Resolved") -> "Reading":
    """How views are read: lengths are known if a model is named, and a view must exist if it or a method is named."""
    from rlsd_cli.evaluation.check_views import Reading

    asked = {key for key, origin in resolved.origins.items() if origin != "default"}
    view_asked = not asked.isdisjoint({"method", "teacher.view"})
    if "model" not in asked:
        return Reading(view_asked)
    from rlsd_cli.policy.tokenizer import load_room

    return Reading(view_asked, *load_room(resolved.config.model))


def with_sandbox(found: "Iterable[Found]", config: "Config") -> "Iterator[Found]":
    """The rows; before the first that needs a program to be run, it is made sure that programs can be run."""
    from rlsd_cli.evaluation.grade import is_code

    announced = False
    for row in found:
        if not announced and row.problem and is_code(row.problem, config):
            announce_sandbox(config)
            announced = True
        yield row


def _show(report: "Report", source: str, reading: "Reading", seconds: float, *, as_json: bool) -> None:
    from rlsd_cli.evaluation.check_report import HEADER

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


# -- progress ------------------------------------------------------------------------------------------------------


class _Progress:
    """How far it is: one line on a terminal, else nothing unless it is asked for."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self._style = console.progress_style(elsewhere="none")
        self._bar: Any = None
        if self._style == "bar":
            from rich.progress import SpinnerColumn, TextColumn

            self._bar = console.bar(SpinnerColumn("line"), TextColumn("{task.description}"))
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        self._every = REDRAW_SECONDS if self._bar else LINE_SECONDS
        self._due = self.started + self._every

    def show(self, report: "Report") -> None:
        now = time.perf_counter()
        if self._style == "none" or now < self._due:
            return
        self._due = now + self._every
        words = f"{report.rows:,} rows  {report.rows / (now - self.started):,.0f}/s"
        words += f"  {report.rows - report.faultless:,} with a fault"
        if self._bar:
            self._bar.update(self._task, description=words)
        else:
            console.say(words)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
