"""`rlsd report`: what runs found, in one page."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console


def report(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs (`*` stands for anything); seeds of one config are one side."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page; its JSON twin is beside it.")] = Path(
        "report.html"
    ),
    suite: Annotated[list[str] | None, typer.Option(help="Only evaluations whose name begins so.")] = None,
    step: Annotated[
        int | None, typer.Option(help="Evaluations and rollouts after this step; without it the last.", min=1)
    ] = None,
    rollouts: Annotated[
        int, typer.Option(help="Rollouts of the last run whose tokens are shown; 0: none.", min=0)
    ] = 256,
    methods: Annotated[
        str | None,
        typer.Option(help="Ask these methods about the same rollouts, too, by a replay.", metavar="NAMES"),
    ] = None,
    alternatives: Annotated[
        int, typer.Option(help="Also the likeliest tokens at each place, by a replay.", metavar="K", min=0, max=20)
    ] = 0,
    png: Annotated[Path | None, typer.Option(help="Write each chart there as a PNG, too.", metavar="DIR")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write one page that works offline: verdict, curves, problems, token credit, provenance; and the same as JSON."""
    from rlsd_cli.report.reporting import Wanted, write_report

    console.quiet = quiet
    wanted = Wanted(suite, step, rollouts, methods, alternatives, png)
    for line in write_report(names, context.obj, out, wanted):
        console.talk(line)
    console.data(str(out))
