"""`rlsd data list`: what is built in."""

from typing import Annotated

import typer

from rlsd_cli import console


def list_sources(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List tasks with their knobs, other sources, and the layouts of files that are recognised."""
    from rlsd_cli.data.built_in import built_in

    rows = built_in()
    if as_json:
        console.data_json(rows)
        return
    header = ("name", "kind", "problems", "about", "options")
    console.table(header, [["" if row[key] is None else row[key] for key in header] for row in rows])
