"""`rlsd config`: the resolved config, and the key reference."""

from typing import Annotated

import typer

from rlsd_cli import completing, console

app = typer.Typer(help="The config: what it resolves to, and its keys.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET|FILE] [KEY=VALUE]...",
            help="Without one: quickstart.",
            autocompletion=completing.presets_and_keys,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="A complete config file.")] = False,
) -> None:
    """Show every value and where it came from."""
    from rlsd_cli.config.resolve import resolve, split_arguments, to_toml

    resolved = resolve(*split_arguments(arguments or []))
    for note in resolved.notes:
        console.talk(note)
    if as_toml:
        console.data(to_toml(resolved.config).rstrip("\n"))
    elif as_json:
        console.data_json(resolved.as_json())
    else:
        console.table(("key", "value", "origin"), resolved.rows())


@app.command("keys")
def keys(
    prefix: Annotated[str, typer.Argument(metavar="[SECTION|KEY]", help="Only this part.")] = "",
    mode: Annotated[
        str, typer.Option("--mode", "--method", help="The keys that this method reads.", metavar="METHOD")
    ] = "rlsd",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a key.")] = False,
) -> None:
    """List the keys that a method reads: type, default, meaning."""
    from rlsd_cli.config.resolve import config_keys, known_method

    found = config_keys(prefix, known_method(mode).name)
    if as_json:
        console.data_json([key._asdict() for key in found])
    else:
        console.table(
            ("key", "type", "default", "meaning"),
            [(key.name, key.kind, repr(key.default), key.description) for key in found],
        )
