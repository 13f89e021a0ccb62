"""`rlsd data`: problems before any training: what there is, clean files of it, whether they can be trained on."""

import typer

from rlsd_cli.commands.data import listing

app = typer.Typer(
    help="Problems: list sources, prepare files, check, look, measure difficulty.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("list")(listing.list_sources)
