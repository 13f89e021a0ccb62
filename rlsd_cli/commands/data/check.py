"""`rlsd data check`: whether the problems of a source are fit for training."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_NO, RlsdError


def check(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="Problems: a file, a task or a benchmark.", show_default=False)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PRESET|FILE] [KEY=VALUE]...", help="The config that they are to be trained with."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Exit 1 if a smaller fraction of rows is free of faults."),
    ] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Write one JSON row for each fault and note here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Run every reference through its verifier and render both views, before any training."""
    from rlsd_cli.data_checks.check_source import check_source

    console.quiet = quiet
    checked = check_source(source, arguments or [], out)
    if as_json:
        console.data_json(checked.summary())
    else:
        console.table(*checked.table())
    for line in checked.words():
        console.talk(line)
    report = checked.report
    if not report.problems:
        raise RlsdError(f"{source} holds no problems: none of its {report.rows:,} rows can be read")
    if report.share < threshold:
        raise typer.Exit(EXIT_NO)
