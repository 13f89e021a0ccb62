"""`rlsd verify`: the verifiers alone, on a file of responses or on one pair."""

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from rlsd_cli import console
from rlsd_cli.commands.programs import announce_sandbox
from rlsd_cli.errors import EXIT_NO, RlsdError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rlsd_cli.config.schema import Config
    from rlsd_cli.grading.answer_rows import Row
    from rlsd_verifiers import Outcome, Verdict

MAX_WARNINGS = 5
REDRAW_SECONDS = 0.2
LINE_SECONDS = 10.0


def verify(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE [KEY=VALUE]...", help="Rows with response and answer as JSONL; - is stdin."),
    ] = None,
    answer: Annotated[str | None, typer.Option(help="Instead of FILE: the reference answer.", metavar="GOLD")] = None,
    response: Annotated[str | None, typer.Option(help="And the response to it; - is stdin.", metavar="TEXT")] = None,
    verifier: Annotated[
        str | None,
        typer.Option(
            help="auto, math, numeric, choice, exact, countdown, code, gym or module:function; wins over rows' own.",
            metavar="NAME",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Verifier processes.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one response.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the verdicts here; the same command continues it.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Start the file of --out over.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say how the verdict on one pair came about.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary, or one pair's row, as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Grade responses against reference answers: one JSON row each, in order, then a summary."""
    from rlsd_cli.config.resolve import split_arguments

    console.quiet = quiet
    out = None if out == Path("-") else out
    files, overrides = split_arguments(arguments or [])
    if verifier is not None:
        overrides["verifier"] = verifier
    if workers is not None:
        overrides["verification.workers"] = workers
    if timeout is not None:
        overrides["verification.timeout_seconds"] = overrides["sandbox.timeout_seconds"] = timeout
    config = _config(overrides)
    _check_usage(files, answer, response, explain=explain, out=out is not None, again=again)
    if answer is not None and response is not None:
        _verify_pair(answer, response, config, explained=explain, as_json=as_json)
    else:
        _verify_file(files[0], out, config, explicit="verifier" in overrides, again=again, as_json=as_json)


def _check_usage(
    files: list[str], answer: str | None, response: str | None, *, explain: bool, out: bool, again: bool
) -> None:
    pair = "rlsd verify --answer GOLD --response TEXT"
    is_pair = answer is not None or response is not None
    faults = (
        (is_pair and files, "both a FILE and a pair", f"`rlsd verify FILE`, or `{pair}`"),
        (len(files) > 1, f"one file is verified at a time, not {len(files)}: {', '.join(files)}", None),
        (not is_pair and explain, "`--explain` is about one pair", f"`{pair} --explain`"),
        (not is_pair and not files, "nothing to verify", f"`rlsd verify FILE`, or `{pair}`"),
        (is_pair and response is None, "`--answer` needs a response", "add `--response TEXT`"),
        (is_pair and answer is None, "`--response` needs a reference answer", "add `--answer GOLD`"),
        (is_pair and (out or again), "`--out` and `--again` need a FILE", f"`{pair} --json` is the row"),
        (again and not out, "`--again` starts the file of `--out` over, and there is none", "add `--out FILE`"),
    )
    for is_fault, message, hint in faults:
        if is_fault:
            raise RlsdError(message, hint=hint)


def _config(overrides: dict[str, Any]) -> "Config":
    """The config of the command line; its verifier is loaded, so that it is there before anything is read."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
    from rlsd_cli.grading.answer_rows import unknown_verifier
    from rlsd_cli.grading.jobs import is_of_grading
    from rlsd_verifiers import AUTO, UnknownVerifierError, find_verifier

    config = merge([], Layer(COMMAND_LINE, overrides)).config
    for key in overrides:
        if not is_of_grading(key):
            raise RlsdError(
                f"`{key}` ({COMMAND_LINE}) changes nothing here",
                hint="keys: `verifier` and those of `rlsd config keys verification` and `rlsd config keys sandbox`",
            )
    name = config.verifier
    if ":" in name and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        if name != AUTO:
            find_verifier(name)
    except UnknownVerifierError as error:
        message, hint = (str(error), None) if ":" in name else unknown_verifier(name)
        raise RlsdError(message, hint=hint) from error
    return config


# -- one pair ------------------------------------------------------------------------------------------------------


def _verify_pair(answer: str, response: str, config: "Config", *, explained: bool, as_json: bool) -> None:
    from rlsd_cli.grading.answer_rows import Row, record
    from rlsd_cli.grading.explain import explain
    from rlsd_cli.grading.jobs import leniency_of, open_pool
    from rlsd_verifiers import Job, Submission
    from rlsd_verifiers.registry import resolve

    submission = Submission(_text(response), answer)
    name = resolve(config.verifier, submission)
    with open_pool(config) as pool:
        verdict = pool.submit(Job(submission, name, leniency_of(config))).result()
    if as_json:
        console.data_json(record(Row(0, 1, answer, None, submission, name), verdict))
    else:
        extracted = "-" if verdict.extracted is None else verdict.extracted
        line = f"{verdict.outcome}   extracted {extracted}   {verdict.reason}   {1000 * verdict.seconds:.1f} ms"
        console.data(console.printable(line))
    if explained:
        for step, words in explain(submission, name, verdict, config):
            (console.talk if as_json else console.data)(console.printable(f"{step:<11}{words}"))
    if not verdict.is_verdict:
        raise typer.Exit(EXIT_NO)


def _text(response: str) -> str:
    if response != "-":
        return response
    if sys.stdin is None:
        raise RlsdError("stdin is closed")
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")


# -- a file --------------------------------------------------------------------------------------------------------


def _verify_file(
    source: str, out: Path | None, config: "Config", *, explicit: bool, again: bool, as_json: bool
) -> None:
    from rlsd_cli.grading.answer_rows import Lines, Reading, graded, read_rows, record, to_line
    from rlsd_cli.grading.jobs import leniency_of, open_pool
    from rlsd_cli.grading.verdict_file import VerdictFile
    from rlsd_cli.interrupts import Interrupted, Interrupts

    name = "stdin" if source == "-" else source
    descriptor = _open(source, out)
    reading = Reading(name, config.verifier if explicit else None, config.verifier)
    rows = _with_sandbox(read_rows(Lines(descriptor, name), reading), config)
    leniency, interrupts = leniency_of(config), Interrupts()
    with ExitStack() as stack:
        work = stack.enter_context(_Work(descriptor, to_file=out is not None))
        file = stack.enter_context(VerdictFile(out, again=again)) if out else None
        write = file.write if file else console.data
        verdicts = graded(rows, stack.enter_context(open_pool(config)), leniency)
        stack.enter_context(interrupts.installed())

        def deliver(row: "Row", verdict: "Future[Verdict]") -> None:
            write(to_line(record(row, verdict.result())))
            work.count(row, verdict.result().outcome)

        def breathe() -> None:
            """The one place where a signal gets through: no row is half written, and none is lost."""
            work.show()
            interrupts.release()
            interrupts.hold()

        interrupts.hold()
        try:
            for known in file.match(rows, leniency) if file else ():
                if known:
                    work.count(*known)
                breathe()
            earlier = work.tally.rows
            for item in verdicts:
                if item:
                    if work.tally.rows == earlier > 0:
                        console.talk(f"continuing at row {earlier + 1}")
                    deliver(*item)
                breathe()
        except Interrupted as interrupt:
            for item in verdicts.finished():
                deliver(*item)
            work.close()
            console.say(f"interrupted after row {work.tally.rows}")
            console.say("\nhint: the same command continues" if out else "\nhint: with `--out FILE` it could continue")
            raise typer.Exit(interrupt.exit_code) from None
    work.end(name)
    if out and earlier and earlier == work.tally.rows:
        console.talk(f"{out} is complete: {earlier} rows; `--again` starts it over")
    seconds = time.perf_counter() - work.started
    new = work.tally.rows - earlier
    summary = work.tally.summary() | {"seconds": seconds, "rows_per_second": new / seconds if new else None}
    _show({"file": name, **summary}, out, as_json=as_json)
    if summary["verdicts"] < summary["rows"]:
        raise typer.Exit(EXIT_NO)


def _with_sandbox(rows: "Iterable[Row | None]", config: "Config") -> "Iterator[Row | None]":
    """The rows; before the first that holds a program, it is made sure that programs can be run."""
    announced = False
    for row in rows:
        if row and row.verifier == "code" and not announced:
            announce_sandbox(config)
            announced = True
        yield row


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
    """What has been counted, and how far it is: on a terminal, unless the rows themselves scroll by there."""

    def __init__(self, descriptor: int, *, to_file: bool) -> None:
        from rlsd_cli.grading.verdict_summary import Tally

        self.tally = Tally()
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

    def count(self, row: "Row", outcome: "Outcome") -> None:
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


def _show(summary: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    """The summary on stdout, unless that holds the verdicts: then it is conversation."""
    from rlsd_cli.grading.verdict_summary import tables

    if out and as_json:
        console.data_json(summary)
    elif out:
        for number, (header, rows) in enumerate(tables(summary)):
            if number:
                console.data("")
            console.table(header, rows)
    else:
        console.talk("\n\n".join("\n".join(_aligned([header, *rows])) for header, rows in tables(summary)))
    if missing := summary["rows"] - summary["verdicts"]:
        console.talk(f"{missing} of {summary['rows']} rows reached no verdict")


def _aligned(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    cells = [[console.printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
