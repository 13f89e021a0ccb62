"""`rlsd verify`: the verifiers alone, on a file of responses or on one pair."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_NO

if TYPE_CHECKING:
    from rlsd_cli.grading.verify import VerifiedPair
    from rlsd_cli.grading.verify_file import Verified


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
            help="auto, math, numeric, choice, exact, countdown, code, gym or module:function; overrides rows' own.",
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
    from rlsd_cli.grading import verify as work

    console.quiet = quiet
    out = None if out == Path("-") else out
    asked = work.read_request(arguments or [], answer, response, verifier, workers, timeout)
    work.check_usage(asked, explain=explain, out=out is not None, again=again)
    if asked.is_pair:
        is_complete = _show_pair(work.verify_pair(asked), explained=explain, as_json=as_json)
    else:
        is_complete = _show_file(work.verify_file(asked, out, again=again), out, as_json=as_json)
    if not is_complete:
        raise typer.Exit(EXIT_NO)


def _show_pair(verified: "VerifiedPair", *, explained: bool, as_json: bool) -> bool:
    if as_json:
        console.data_json(verified.row)
    else:
        console.data(console.printable(verified.line))
    if explained:
        for step, words in verified.steps:
            (console.talk if as_json else console.data)(console.printable(f"{step:<11}{words}"))
    return verified.is_complete


def _show_file(verified: "Verified", out: Path | None, *, as_json: bool) -> bool:
    """The summary on stdout, unless that holds the verdicts: then it is conversation."""
    summary = verified.summary
    if out and as_json:
        console.data_json(summary)
    elif out:
        for number, (header, rows) in enumerate(verified.tables()):
            if number:
                console.data("")
            console.table(header, rows)
    else:
        tables = verified.tables()
        console.talk("\n\n".join("\n".join(_aligned([header, *rows])) for header, rows in tables))
    if missing := summary["rows"] - summary["verdicts"]:
        console.talk(f"{missing} of {summary['rows']} rows reached no verdict")
    return verified.is_complete


def _aligned(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    cells = [[console.printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
