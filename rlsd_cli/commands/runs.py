"""`rlsd runs`: what runs there are, and what happened."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsd_cli import completing, console

if TYPE_CHECKING:
    from rlsd_cli.report.listing import Listed, Story

app = typer.Typer(
    help="Runs: list them, see one, follow one. A copied folder will do.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[Path, typer.Argument(metavar="RUN", help="A run, or its name.", autocompletion=completing.runs)]


@app.command("list")
def list_runs(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False
) -> None:
    """List the runs under the root; the one that changed last is the last."""
    from rlsd_cli.report import listing

    found = listing.listed(context.obj)
    if as_json:
        console.data_json([each._asdict() for each in found])
        return
    header = ("run", "status", "method", "step", "accuracy at start", "at the end", "seconds", "changed")
    console.table(header, [_row(each, listing.when(each.changed)) for each in found])
    console.talk(f"{listing.counted(found)} under {context.obj}" if found else f"no runs under {context.obj}")


def _row(each: "Listed", changed: str) -> tuple[object, ...]:
    ends = (each.start, each.final)
    start, final = ("-" if end is None else console.interval(end, "accuracy") for end in ends)
    of = "" if each.steps is None else f" of {each.steps}"
    seconds = "-" if each.seconds is None else f"{each.seconds:.0f}"
    return each.name, each.status, each.method, f"{each.step}{of}", start, final, seconds, changed


@app.command("show")
def show(
    context: typer.Context,
    run: Name,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show a run: what differs from the defaults, its evaluations, its last step, its warnings."""
    from rlsd_cli.report import listing

    found = listing.story(run, context.obj)
    if as_json:
        console.data_json(found._asdict() | {"listed": found.listed._asdict()})
    else:
        _show(found)


def _show(found: "Story") -> None:
    status = found.listed
    facts = [
        ("run", found.path),
        ("status", status.status + (f": {status.error}" if status.error else "")),
        ("step", f"{status.step} of {status.steps}"),
        ("command", found.command),
        ("checkpoints", ", ".join(found.checkpoints) or "none"),
        ("machine", f"{found.environment.get('platform')}, {found.environment.get('cpus')} CPUs"),
        ("commit", f"{found.environment.get('commit')}" + (" with changes" if found.environment.get("dirty") else "")),
    ]
    console.table(("what", ""), facts)
    console.talk("\ndiffers from the defaults")
    console.table(("key", "default", "value"), found.differences)
    if found.evaluations:
        console.talk("\nevaluations")
        rows = [
            (each["suite"], each["step"], each.get("decoding", "-"), each["samples"], console.interval(each), each["n"])
            for each in found.evaluations
        ]
        console.table(("suite", "step", "decoding", "samples", "mean", "problems"), rows)
    if found.last:
        console.talk("\n" + console.step_line(found.last))
    for line in found.warnings:
        console.talk(line)


@app.command("tail")
def tail(
    context: typer.Context,
    run: Name,
    number: Annotated[int, typer.Option("-n", help="Steps that are shown.", min=0)] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as steps end, until the run has.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a step.")] = False,
) -> None:
    """Print the last steps of a run."""
    from rlsd_cli.report import listing

    for row in listing.steps_of(run, context.obj, number, follow=follow):
        if as_json:
            console.data_json(row)
        else:
            console.data(console.step_line(row))
