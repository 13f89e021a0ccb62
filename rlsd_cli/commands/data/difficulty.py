"""`rlsd data difficulty`: how often a model solves each problem, written with the problem."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_NO

BAR_CELLS = 30


def difficulty(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Problems: a file, a task, or any other `data`.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT|PRESET|MODEL] [KEY=VALUE]...",
            help="The model, named as for `rlsd eval`. Without one: the newest finished run, or quickstart.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Answers per problem; 8 without it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write here; without it FILE.difficulty.jsonl in the working directory.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Start the file of --out over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Measure how often a model solves each problem. The same command continues a file that is not complete."""
    from rlsd_cli.evaluation.pass_rates import measure_source

    console.quiet = quiet
    summary = measure_source(source, arguments or [], samples, out, context.obj, again=again)
    _show(summary, as_json=as_json)
    console.talk(f"written to {summary['out']}; `data={summary['out']}` trains on it")
    if missing := summary["problems"] - summary["n"]:
        console.talk(f"{missing:,} of {summary['problems']:,} problems reached no verdict, and have no pass rate")
        raise typer.Exit(EXIT_NO)


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.data_json(summary)
        return
    problems, n = summary["problems"], summary["n"]
    rows = [
        ("pass rate", console.interval(summary)),
        ("problems", f"{problems:,} x {summary['samples']}"),
        *((f"  {name} solved", _share(summary[name], n)) for name in ("never", "sometimes", "always")),
        *([("  without a pass rate", f"{problems - n:,}")] if n < problems else []),
        ("tokens per answer", f"{summary['tokens_per_response']:.1f}"),
        ("truncated", f"{summary['truncated_rate']:.1%}"),
        ("without an answer", f"{summary['no_answer_rate']:.1%}"),
        ("seconds", f"{summary['seconds']:.1f}"),
    ]
    console.table((summary["data"], summary["model"]), rows)
    console.data("")
    most = max(summary["histogram"].values()) or 1
    bars = [(name, count, "#" * round(BAR_CELLS * count / most)) for name, count in summary["histogram"].items()]
    console.table(("pass rate", "problems", ""), bars)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if total else "0"
