"""`rlsd verify`: the verifiers alone, on a file of responses or on one pair."""

import itertools
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
from rlsd_cli.errors import EXIT_NO, RlsdError

if TYPE_CHECKING:
    from rlsd_cli.config.schema import Config
    from rlsd_cli.evaluation.answers import Grading, Row, Tally, Verdicts
    from rlsd_cli.training.interrupts import Interrupts
    from rlsd_verifiers import Outcome, Submission, Verdict
    from rlsd_verifiers.policy import Policy

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
            help="auto, math, numeric, choice, exact or module:function; wins over the rows' own.", metavar="NAME"
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
        overrides["verification.timeout_seconds"] = timeout
    is_pair = answer is not None or response is not None
    _check_usage(files, is_pair=is_pair, explain=explain, to_file=out is not None or again)
    config = _config(overrides)
    if is_pair:
        if answer is None or response is None:
            raise RlsdError("`--answer` and `--response` belong together", hint=f"add `--{_missing(answer)}`")
        _verify_pair(answer, _text(response), config, explain=explain, as_json=as_json)
    elif again and out is None:
        raise RlsdError("`--again` starts the file of `--out` over, and there is none")
    else:
        _verify_file(files[0], out, config, explicit="verifier" in overrides, again=again, as_json=as_json)


def _missing(answer: str | None) -> str:
    return "answer GOLD" if answer is None else "response TEXT"


def _check_usage(files: list[str], *, is_pair: bool, explain: bool, to_file: bool) -> None:
    pair = "`rlsd verify --answer GOLD --response TEXT`"
    if files and is_pair:
        raise RlsdError("both a FILE and a pair", hint=f"`rlsd verify {files[0]}`, or {pair}")
    if len(files) > 1:
        raise RlsdError(f"one file is verified at a time, not {len(files)}: {', '.join(files)}")
    if explain and not is_pair:
        raise RlsdError("`--explain` is about one pair", hint=f"{pair} --explain")
    if not files and not is_pair:
        raise RlsdError("nothing to verify", hint=f"`rlsd verify FILE`, or {pair}")
    if to_file and is_pair:
        raise RlsdError("`--out` and `--again` need a FILE", hint=f"`{pair.strip('`')} --json` is the row")


def _config(overrides: dict[str, Any]) -> "Config":
    """The config of the command line; its verifier is loaded, so that it is there before anything is read."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge

    config = merge([], Layer(COMMAND_LINE, overrides)).config
    for key in overrides:
        if key != "verifier" and not key.startswith("verification."):
            raise RlsdError(
                f"`{key}` ({COMMAND_LINE}) changes nothing here",
                hint="keys: `verifier` and those of `rlsd config keys verification`",
            )

    from rlsd_cli.evaluation.answers import unknown_verifier
    from rlsd_verifiers import AUTO, UnknownVerifierError, find_verifier

    name = config.verifier
    if ":" in name and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        if name != AUTO:
            find_verifier(name)
    except UnknownVerifierError as error:
        if ":" in name:
            raise RlsdError(str(error)) from error
        raise RlsdError(f"no verifier named `{name}`", hint=unknown_verifier(name)) from error
    return config


# -- one pair ------------------------------------------------------------------------------------------------------


def _text(response: str) -> str:
    if response != "-":
        return response
    if sys.stdin is None:
        raise RlsdError("stdin is closed")
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")


def _verify_pair(answer: str, response: str, config: "Config", *, explain: bool, as_json: bool) -> None:
    from rlsd_cli.evaluation.answers import Row, record
    from rlsd_cli.evaluation.grade import open_pool, policy_of
    from rlsd_verifiers import Job, Submission
    from rlsd_verifiers.registry import resolve

    submission = Submission(response, answer)
    name = resolve(config.verifier, submission)
    policy = policy_of(config)
    with open_pool(config) as pool:
        verdict = pool.submit(Job(submission, name, policy)).result()
    if as_json:
        console.data_json(record(Row(1, 1, answer, None, submission, name), verdict))
    else:
        extracted = "-" if verdict.extracted is None else verdict.extracted
        shown = "   ".join((verdict.outcome, f"extracted {extracted}", verdict.reason))
        console.data(_printable(f"{shown}   {1000 * verdict.seconds:.1f} ms"))
    if explain:
        for title, words in _explanation(submission, name, verdict, policy, config):
            (console.talk if as_json else console.data)(_printable(f"{title:<11}{words}"))
    if not verdict.is_verdict:
        raise typer.Exit(EXIT_NO)


WHY = {
    "code": "there are tests",
    "choice": "the reference is the letter of a choice",
    "math": "the reference is not the letter of a choice",
}


def _explanation(
    submission: "Submission", name: str, verdict: "Verdict", policy: "Policy", config: "Config"
) -> Iterator[tuple[str, str]]:
    """How a verdict came about, line by line."""
    from rlsd_verifiers import AUTO, extract

    why = f"chosen by `{AUTO}`: {WHY.get(name, '')}" if config.verifier == AUTO else "asked for"
    yield "verifier", f"{name}   {why}"
    yield "reference", f"{submission.answer}{_read_as(submission.answer or '', name)}"
    if verdict.extracted is None:
        yield "extracted", "nothing"
    else:
        guesses = (
            extract(submission.response, last_number=policy.last_number, formulas=each) for each in (True, False)
        )
        rules = [f"   by the rule `{guess.rule}`" for guess in guesses if guess and guess.text == verdict.extracted]
        yield "extracted", f"{verdict.extracted}{_read_as(verdict.extracted, name)}{(rules or [''])[0]}"
    yield "compared", verdict.reason
    yield "policy", "  ".join(f"{key}={value}" for key, value in policy._asdict().items())
    limits = config.verification
    yield "limits", f"timeout_seconds={limits.timeout_seconds:g}  memory_mb={limits.memory_mb}"


def _read_as(text: str, name: str) -> str:
    """What the verifier makes of a text, where it makes something of it."""
    from rlsd_verifiers import parse_number
    from rlsd_verifiers.maths.quick import read, reference_text

    if name == "math":
        reading = read(reference_text(text).strip())
        return f"   read as {_tree(reading.node)}" if reading.node else f"   not read: {reading.fault}"
    if name == "numeric":
        number = parse_number(text, allow_unit=True)
        return "   not a number" if number is None else f"   read as {number}"
    return ""


def _tree(value: Any) -> str:
    """A tree of expressions as `sum(x, divide(1, 2))`."""
    op = getattr(value, "op", None)
    if op in ("number", "symbol"):
        return str(value.args[0])
    if op is not None:
        return f"{op}({', '.join(map(_tree, value.args))})"
    return f"({', '.join(map(_tree, value))})" if isinstance(value, tuple) else str(value)


def _printable(text: str) -> str:
    """Text on one line that any terminal can take: what cannot be printed is written as an escape."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    encoding = sys.stdout.encoding or "ascii"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


# -- a file --------------------------------------------------------------------------------------------------------


def _verify_file(
    source: str, out: Path | None, config: "Config", *, explicit: bool, again: bool, as_json: bool
) -> None:
    from rlsd_cli.evaluation.answers import Grading, Lines, Reading, Tally, Verdicts, read_rows
    from rlsd_cli.evaluation.grade import open_pool, policy_of
    from rlsd_cli.training.interrupts import Interrupted, Interrupts

    started = time.perf_counter()
    name = "stdin" if source == "-" else source
    descriptor = _open(source)
    _check_target(descriptor, source, out)
    tally, policy = Tally(), policy_of(config)
    reading = Reading(name, config.verifier if explicit else None, config.verifier)
    rows = read_rows(Lines(descriptor, name), reading)
    with ExitStack() as stack:
        progress = stack.enter_context(_Progress(descriptor, tally, to_file=out is not None))
        verdicts = stack.enter_context(Verdicts(out, again=again)) if out else None
        pool = stack.enter_context(open_pool(config))
        interrupts = Interrupts()
        stack.enter_context(interrupts.installed())
        interrupts.hold()
        work = _Work(tally, progress, interrupts, verdicts)
        grading = Grading(rows, pool, policy)
        try:
            earlier = work.take_over(rows, grading, policy) if verdicts else 0
            for item in grading:
                if item:
                    work.write(*item)
                work.breathe()
        except Interrupted as interrupt:
            for row, verdict in grading.finished():
                work.write(row, verdict)
            progress.close()
            console.say(f"interrupted after row {tally.rows}")
            console.say("\nhint: the same command continues" if out else "\nhint: with `--out FILE` it could continue")
            raise typer.Exit(interrupt.exit_code) from None
    if work.unreadable > MAX_WARNINGS:
        console.warning(f"... and {work.unreadable - MAX_WARNINGS} more rows that cannot be read")
    if not tally.rows:
        console.warning(f"{name} holds no rows")
    if earlier and earlier == tally.rows:
        console.talk(f"{out} is complete: {earlier} rows; `--again` starts it over")
    seconds = time.perf_counter() - started
    new = tally.rows - earlier
    summary = {"file": name, **tally.summary(), "seconds": seconds, "rows_per_second": new / seconds if new else None}
    _show(summary, out, as_json=as_json)
    if tally.no_verdict:
        raise typer.Exit(EXIT_NO)


class _Work:
    """What is done with every verdict."""

    def __init__(
        self, tally: "Tally", progress: "_Progress", interrupts: "Interrupts", verdicts: "Verdicts | None"
    ) -> None:
        self.tally = tally
        self.progress = progress
        self.interrupts = interrupts
        self.verdicts = verdicts
        self.unreadable = 0

    def breathe(self) -> None:
        """The one place where a signal gets through: no row is half written, and none is lost."""
        self.progress.show()
        self.interrupts.release()
        self.interrupts.hold()

    def write(self, row: "Row", verdict: "Verdict") -> None:
        from rlsd_cli.evaluation.answers import record, to_line

        line = to_line(record(row, verdict))
        if self.verdicts:
            self.verdicts.write(line)
        else:
            console.data(line)
        self.count(row, verdict.outcome)

    def count(self, row: "Row", outcome: "Outcome") -> None:
        self.tally.add(row, outcome)
        self.progress.place = row.end
        if row.fault is not None:
            self.unreadable += 1
            if self.unreadable <= MAX_WARNINGS:
                self.progress.warning(row.fault)

    def take_over(self, rows: "Iterator[Row | None]", grading: "Grading", policy: "Policy") -> int:
        """Count the verdicts that are in the file already, and leave the rest of the rows to be graded."""
        from rlsd_cli.evaluation.answers import compare

        assert self.verdicts
        for item in compare(self.verdicts, rows, policy):
            if item:
                self.count(*item)
            self.breathe()
        earlier = self.tally.rows
        if earlier:
            for row in rows:
                self.breathe()
                if row:
                    console.talk(f"continuing at row {earlier + 1}")
                    grading.rows = itertools.chain([row], rows)
                    break
        return earlier


def _open(source: str) -> int:
    try:
        if source == "-" and sys.stdin is None:
            raise RlsdError("stdin is closed")
        descriptor = sys.stdin.fileno() if source == "-" else os.open(source, os.O_RDONLY)
    except OSError as error:
        raise RlsdError(f"cannot read {source}: {error.strerror}") from error
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise RlsdError(f"cannot read {source}: it is a directory")
    return descriptor


def _check_target(descriptor: int, source: str, out: Path | None) -> None:
    """Verdicts must not be written over the file they are read from."""
    here = os.fstat(descriptor)
    if out and out.is_file() and os.path.samestat(out.stat(), here):
        raise RlsdError(f"`--out {out}` is {source} itself", hint="name another file")


class _Progress:
    """How far it is, as `RLSD_PROGRESS=auto|bar|lines|none` says; `auto` is nothing where stderr is not a terminal."""

    def __init__(self, descriptor: int, tally: "Tally", *, to_file: bool) -> None:
        chosen = os.environ.get("RLSD_PROGRESS", "auto")
        if chosen not in ("auto", "bar", "lines", "none"):
            raise RlsdError(f"RLSD_PROGRESS={chosen}: expected auto, bar, lines or none")
        if console.quiet:
            chosen = "none"
        elif chosen == "auto":
            rows_scroll_by = sys.stdout.isatty() and not to_file
            chosen = "none" if rows_scroll_by or not sys.stderr.isatty() else "bar"
            chosen = "lines" if chosen == "bar" and "NO_COLOR" in os.environ else chosen
        self.style = chosen
        self.descriptor = descriptor
        self.tally = tally
        self.place = 0
        self.started = time.perf_counter()
        self.due = self.started + (REDRAW_SECONDS if chosen == "bar" else LINE_SECONDS)
        self.bar: Any = None

    def __enter__(self) -> Self:
        if self.style == "bar":
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            here = os.fstat(self.descriptor)
            columns = (BarColumn(16), TimeRemainingColumn(compact=True), TextColumn("{task.description}"))
            self.bar = Progress(*columns, console=console.stderr(), transient=True)
            self.task = self.bar.add_task("", total=here.st_size if stat.S_ISREG(here.st_mode) else None)
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def show(self) -> None:
        now = time.perf_counter()
        if self.style == "none" or now < self.due:
            return
        if self.bar:
            self.bar.update(self.task, completed=self.place, description=self._words(now))
            self.due = now + REDRAW_SECONDS
        elif self.style == "lines":
            console.say(self._words(now))
            self.due = now + LINE_SECONDS

    def warning(self, text: str) -> None:
        if self.bar:
            self.bar.console.print(f"warning: {text}", markup=False, soft_wrap=True)
        else:
            console.warning(text)

    def _words(self, now: float) -> str:
        rows, correct, wrong = self.tally.rows, self.tally.correct, self.tally.wrong
        rate = rows / (now - self.started)
        return f"{rows:,} rows  {rate:,.0f}/s  {correct:,} correct  {wrong:,} wrong  {rows - correct - wrong:,} other"


# -- the summary ---------------------------------------------------------------------------------------------------

Table = tuple[Sequence[str], list[Sequence[object]]]


def _show(summary: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    """The summary on stdout, unless that holds the verdicts: then it is conversation."""
    if out and as_json:
        console.data_json(summary)
    elif out:
        for number, (header, rows) in enumerate(_tables(summary)):
            if number:
                console.data("")
            console.table(header, rows)
    else:
        console.talk("\n\n".join("\n".join(_aligned([header, *rows])) for header, rows in _tables(summary)))
    if missing := summary["rows"] - summary["verdicts"]:
        console.talk(f"{missing} of {summary['rows']} rows reached no verdict")


def _aligned(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _tables(summary: dict[str, Any]) -> Iterator[Table]:
    total = summary["rows"]
    counts = [(name, count, f"{count / total:.1%}") for name, count in summary["outcomes"].items()]
    rate = summary["rows_per_second"]
    speed = f"{summary['seconds']:.1f} s" + (f", {rate:,.0f} rows/s" if rate else "")
    yield (
        (_printable(summary["file"]), "rows", "share"),
        [
            *counts,
            ("all", total, speed),
            (
                "correct of verdicts",
                f"{summary['correct']} of {summary['verdicts']}",
                _percent(summary, "accuracy", "ci95"),
            ),
        ],
    )
    if labels := summary.get("labels"):
        yield from _label_tables(labels)


def _label_tables(labels: dict[str, Any]) -> Iterator[Table]:
    from rlsd_verifiers.verdict import NO_VERDICT

    groups = {"correct": "says correct", "wrong": "says wrong", "no_answer": "no answer", "unparseable": "unparseable"}
    columns = [*groups.values(), "over a limit", "no verdict"]
    rows: list[Sequence[object]] = []
    for title, key in (("is correct", "is_correct"), ("is wrong", "is_wrong")):
        cells = dict.fromkeys(columns, 0)
        for outcome, count in labels[key].items():
            cells[groups.get(outcome, "no verdict" if outcome in NO_VERDICT else "over a limit")] += count
        rows.append((title, *cells.values()))
    yield ("label", *columns), rows
    rates = ("false_accept", "false_reject", "accuracy", "precision", "recall")
    keys = {name: f"{name}_rate" if f"{name}_rate" in labels else name for name in rates}
    yield (
        ("rate", "95% Wilson"),
        [(name.replace("_", " "), _percent(labels, key, f"{name}_ci95")) for name, key in keys.items()],
    )
    if labels["worst"]:
        yield (
            ("worst pattern", "reference", "outcome", "rows", "for example"),
            [
                (each["error"], each["reference"], each["outcome"], each["count"], _cell(each["example"]))
                for each in labels["worst"]
            ],
        )


def _percent(values: dict[str, Any], key: str, interval: str) -> str:
    """`2.7% [2.0, 3.5]`; `-` for a rate of nothing."""
    if values[key] is None:
        return "-"
    low, high = values[interval]
    return f"{values[key]:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def _cell(value: object) -> str:
    """A text of the user's as a cell: rich takes brackets for markup."""
    text = _printable(str(value))
    return text.replace("[", r"\[") if sys.stdout.isatty() else text
