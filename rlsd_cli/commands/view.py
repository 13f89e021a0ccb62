"""`rlsd view`: the rollouts of a step, and what each token was told."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import completing, console

if TYPE_CHECKING:
    from rlsd_cli.report.viewing import Viewed


def view(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or its name.", autocompletion=completing.runs)],
    step: Annotated[int | None, typer.Option(help="The step; without it the last.", metavar="N", min=1)] = None,
    where: Annotated[
        str | None, typer.Option(help="Only these: 'outcome == \"wrong\" and tokens < 150'.", metavar="CONDITION")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="By this field, the largest first.", metavar="FIELD")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The smallest first.")] = False,
    limit: Annotated[int | None, typer.Option(help="At most so many.", metavar="N", min=1)] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Ask these methods about the same rollouts, too, by a replay.", metavar="NAMES"),
    ] = None,
    alternatives: Annotated[
        int, typer.Option(help="Also the likeliest tokens at each place, by a replay.", metavar="K", min=0, max=20)
    ] = 0,
    html: Annotated[bool, typer.Option("--html", help="One page on stdout that needs no network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a rollout.")] = False,
) -> None:
    """Browse rollouts by keys; in a pipe, a table with a line for every token."""
    from rlsd_cli.report.viewing import viewed

    found = viewed(
        run, context.obj, step, where, sort, reverse=reverse, limit=limit, methods=methods, alternatives=alternatives
    )
    for method, why in found.skipped.items():
        console.warning(f"{method}: {why}")
    if html:
        console.data(found.page())
    elif as_json:
        for row in found.as_json():
            console.data_json(row)
    elif console.is_interactive():
        found.browse()
    else:
        _table(found)


def _table(found: "Viewed") -> None:
    """A line for every token of every rollout; the signal of each method in a column of its own."""
    header = ("problem", "group", "sample", "outcome", "advantage", "place", "token", "direction", "credit", "pull")
    more = ("weight", "logp", "teacher_logp", "gap", "entropy", "clipped")
    console.table((*header, *more, *found.methods), map(_cells, found.token_rows()))


def _cells(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple("-" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row)
