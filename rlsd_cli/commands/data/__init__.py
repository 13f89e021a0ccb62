"""`rlsd data`: problems before any training: what there is, clean files of it, whether they can be trained on."""

import typer

from rlsd_cli.commands.data import check, difficulty, listing, prepare, show

app = typer.Typer(
    help="Problems: list sources, prepare files, check, show, measure difficulty.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("list")(listing.list_sources)
app.command("prepare")(prepare.prepare)
app.command("difficulty")(difficulty.difficulty)
app.command("check")(check.check)
app.command("show")(show.show)
