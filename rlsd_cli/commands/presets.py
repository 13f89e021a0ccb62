"""`rlsd presets`: the recipes that come with the tool."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console
from rlsd_cli.errors import RlsdError

app = typer.Typer(
    help="Recipes: list them, read one, copy one to change it.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_presets(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List the presets: method, data, model, and what each is."""
    from rlsd_cli.config.resolve import preset_names, preset_path, resolve

    rows = []
    for name in preset_names():
        config = resolve([name], {}).config
        about = preset_path(name).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        rows.append({"name": name, "mode": config.method, "data": config.data, "model": config.model, "about": about})
    if as_json:
        console.data_json(rows)
    else:
        console.table(tuple(rows[0]), [tuple(row.values()) for row in rows])


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="A preset.")]) -> None:
    """Print a preset as it is."""
    from rlsd_cli.config.resolve import preset_path

    console.data(preset_path(name).read_text(encoding="utf-8").rstrip("\n"))


@app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(help="A preset.")],
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
