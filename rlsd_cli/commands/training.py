"""`rlsd train`: one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import completing, console

if TYPE_CHECKING:
    from rlsd_cli.training.dry_run import Outline


def train(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET|FILE] [KEY=VALUE]...",
            help="Without one: quickstart.",
            autocompletion=completing.presets_and_keys,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            "--method",
            help="The method: rlvr, opsd, rlsd, ...; as `method=`.",
            metavar="METHOD",
            autocompletion=completing.methods,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the config and the size of a step, then stop.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Start a new attempt beside the run of the same config.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Train a policy. The same command continues an interrupted run; a finished one says so."""
    from rlsd_cli.training import start

    console.quiet = quiet
    resolved = start.resolve_run(arguments or [], mode, context.obj)
    if dry_run:
        if outline := start.dry_run(resolved, context.obj):
            _show(outline, as_json)
    elif summary := start.start(resolved, context.obj, again=again):
        _result(summary, as_json)


def _show(outline: "Outline", as_json: bool) -> None:
    if as_json:
        console.data_json(outline.as_json())
    else:
        console.table(("key", "value", "origin"), outline.resolved.rows())
    for line in outline.in_lines():
        console.talk(line)


def _result(summary: dict[str, Any], as_json: bool) -> None:
    keys = ("run", "status", "method", "steps", "seconds", "start", "final", "reward_last10", "peak_memory_mb")
    if as_json:
        changed = {"changed": summary["changed"]} if "changed" in summary else {}
        console.data_json({key: summary.get(key) for key in keys} | changed)
        return
    checkpoint = Path(summary["run"]) / "checkpoints" / f"{summary['steps']:06d}"
    console.table(
        ("method", "steps", "seconds", "accuracy at start", "accuracy at the end", "reward, last 10 steps"),
        [
            (
                summary["method"],
                summary["steps"],
                f"{summary['seconds']:.0f}",
                console.interval(summary["start"], "accuracy"),
                console.interval(summary["final"], "accuracy"),
                "-" if summary["reward_last10"] is None else f"{summary['reward_last10']:.3f}",
            )
        ],
    )
    console.talk(f"written to {summary['run']} (policy: {checkpoint})")
