"""`rlsd sweep`: the lines of a sweep, and what became of them. The shell runs them."""

from typing import TYPE_CHECKING, Annotated

import typer

from rlsd_cli import console

if TYPE_CHECKING:
    from rlsd_cli.report.sweeps import Cell

app = typer.Typer(
    help="Sweeps: print validated lines for a shell, and read what became of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("plan")
def plan(
    context: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="[PRESET|FILE] KEY=A,B KEY=0..2", help="What to train, and the values of keys."),
    ],
    mode: Annotated[
        str | None, typer.Option("--mode", "--method", help="Methods, with commas.", metavar="METHOD[,METHOD]...")
    ] = None,
) -> None:
    """Print a command for every combination of values, once all are found to be valid."""
    from rlsd_cli.report import sweeps

    points = sweeps.plan(arguments, mode, context.obj)
    for each in points:
        console.data(each.command)
    done = sum(each.status == "done" for each in points)
    console.talk(f"{len(points)} commands, all valid, {done} already done")


@app.command("status")
def status(
    context: typer.Context,
    file: Annotated[typer.FileText, typer.Argument(metavar="PLAN", help="The lines; `-` reads stdin.")],
    table: Annotated[
        str | None, typer.Option(help="A metric of the finished runs: accuracy, reward_last10, ...", metavar="METRIC")
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help="Config keys whose values are its rows.", metavar="KEY")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Show what became of the lines of a plan; exits with 1 where one failed."""
    from rlsd_cli.report import sweeps

    points = sweeps.read_plan(file.read(), context.obj)
    rows = [each.row() for each in points]
    if table:
        cells = [*sweeps.table(points, table, by or ["method"])]
        if as_json:
            console.data_json([cell._asdict() | {"metric": cell.metric and cell.metric._asdict()} for cell in cells])
        else:
            console.table((*(by or ["method"]), "n", table, "missing"), [_cell(cell) for cell in cells])
    elif as_json:
        names = ("run", "status", "step", "command", "error")
        pairs = zip(points, rows, strict=True)
        console.data_json([dict(zip(names, (each.run.name, *row), strict=True)) for each, row in pairs])
    else:
        console.table(("status", "step", "command", "error"), rows)
    kinds = dict.fromkeys(row[0] for row in rows)
    console.talk("   ".join(f"{kind} {sum(row[0] == kind for row in rows)}" for kind in kinds))
    if any(row[0] == "failed" for row in rows):
        raise typer.Exit(1)


def _cell(cell: "Cell") -> tuple[object, ...]:
    metric = cell.metric
    if metric is None:
        shown = "-"
    elif metric.low is None or metric.high is None:
        shown = f"{metric.mean:.3f}"
    else:
        shown = f"{metric.mean:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return *cell.values, metric.n if metric else 0, shown, cell.missing or ""
