"""`rlsd credit`: before training, does this teacher blame what went wrong?"""

from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import console


def credit(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL|RUN] [TASK] [KEY=VALUE]...",
            help="Without a model: the newest finished run, or quickstart. Without a task: the data of the config.",
        ),
    ] = None,
    *,
    problems: Annotated[int, typer.Option(help="Held-out problems.", metavar="N", min=1)] = 300,
    samples: Annotated[int | None, typer.Option(help="Responses per problem.", metavar="N", min=2)] = None,
    views: Annotated[
        str | None, typer.Option(help="What the teacher is shown, by name, with commas.", metavar="NAMES")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods whose credit is looked at, or `all`.", metavar="NAMES")
    ] = None,
    value: Annotated[
        int, typer.Option(help="Continuations of every prefix, for the chance of a right answer; 0: none.", min=0)
    ] = 0,
    valued: Annotated[int, typer.Option(help="Responses of each kind that get these.", metavar="N", min=1)] = 40,
    step: Annotated[
        int | None,
        typer.Option(help="The responses that the run has recorded of this step.", metavar="N", min=1),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write the pictures there.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Measure where a teacher and methods put the blame in the policy's own responses, before any training.

    Every figure has a 95 % interval over problems, and stands beside chance, the student's surprisal and the hint of
    another problem.
    """
    from rlsd_cli.lab.command import run

    console.quiet = quiet
    run(
        arguments or [],
        context.obj,
        hints=views,
        methods=methods,
        problems=problems,
        samples=samples,
        value=value,
        valued=valued,
        step=step,
        png=png,
        as_json=as_json,
    )
