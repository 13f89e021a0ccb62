"""`rlsd presets`: the recipes that come with the tool."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import completing, console
from rlsd_cli.errors import RlsdError

app = typer.Typer(
    help="Recipes: list them, read one, copy one to change it.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_presets(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List the presets: the method with its source and where it departs from it, data, model, and what each is."""
    from rlsd_cli.config.presets import described

    rows = [preset._asdict() for preset in described()]
    if as_json:
        console.data_json(rows)
    else:
        console.table(tuple(rows[0]), [tuple(map(_cell, row.values())) for row in rows])


def _cell(value: object) -> object:
    return "; ".join(value) if isinstance(value, tuple) else value


@app.command("diff")
def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A preset, a file, or a run.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Show the keys whose values differ; `-` where the method does not read the key."""
    from rlsd_cli.config.differences import config_named, differences

    found = differences(config_named(first, context.obj), config_named(second, context.obj))
    if as_json:
        console.data_json([difference._asdict() for difference in found])
    else:
        console.table(("key", first, second), [difference.row() for difference in found])


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="A preset.", autocompletion=completing.presets)]) -> None:
    """Print a preset as it is."""
    from rlsd_cli.config.resolve import preset_path

    console.data(preset_path(name).read_text(encoding="utf-8").rstrip("\n"))


@app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(help="A preset.", autocompletion=completing.presets)],
    target: Annotated[Path | None, typer.Argument(help="Where to; without one: NAME.toml here.")] = None,
) -> None:
    """Copy a preset to a file of your own; `rlsd train FILE` runs it."""
    from rlsd_cli.config.resolve import preset_path

    source = preset_path(name)
    target = target or Path(f"{name}.toml")
    if target.is_dir():
        target = target / f"{name}.toml"
    if target.exists():
        raise RlsdError(f"{target} exists", hint="name another file")
    try:
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise RlsdError(f"cannot write {target}: {error.strerror}") from error
    console.data(str(target))
