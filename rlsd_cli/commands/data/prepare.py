"""`rlsd data prepare`: sources into clean problem files."""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_NO


def prepare(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... [PRESET] [KEY=VALUE]...",
            help="Files, folders of them, a hub name, names of `rlsd data list`; with a model, lengths are checked.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write; without it data/NAME.", metavar="DIR")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--map", help="Column that holds a field, e.g. answer=gold.", metavar="F=C")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Evaluation problems to look for in train, besides the other splits.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of a hub data set.")] = None,
    revision: Annotated[str | None, typer.Option(help="The revision of a hub data set.")] = None,
    holdout: Annotated[float | None, typer.Option(help="Fraction of train held out as test.jsonl, by hash.")] = None,
    shuffle: Annotated[int | None, typer.Option(help="Order train by a hash of content and this seed.")] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of 3-grams of near duplicates.")] = 0.9,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Keep exact duplicates.")] = False,
    remove_overlap: Annotated[
        bool, typer.Option("--remove-overlap", help="Remove training problems that hold an evaluation problem.")
    ] = False,
    min_pass_rate: Annotated[float, typer.Option(help="Remove problems with a lower pass rate.")] = 0.0,
    max_pass_rate: Annotated[float, typer.Option(help="Remove problems with a higher pass rate.")] = 1.0,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not run the references through verifiers.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Replace the folder of another preparation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Make clean problem files of sources: read, deduplicate, compare with evaluation sets, account for every row."""
    from rlsd_cli.data_checks import preparation

    console.quiet = quiet
    options = preparation.Options(
        columns=preparation.columns_of(columns or []),
        holdout=holdout,
        shuffle=shuffle,
        near=near,
        keep_duplicates=keep_duplicates,
        remove_overlap=remove_overlap,
        min_pass_rate=min_pass_rate,
        max_pass_rate=max_pass_rate,
    )
    order = preparation.Order(arguments, against or [], split, revision, out)
    prepared = preparation.prepare_sources(order, options, check=not no_check, again=again)
    if as_json:
        console.data_json(prepared.as_json())
    else:
        console.table(*prepared.table())
    for line in prepared.words():
        console.talk(line)
    if not prepared.is_complete:
        raise typer.Exit(EXIT_NO)
