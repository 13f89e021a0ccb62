"""`rlsd eval`: a run, a checkpoint, a preset's model or any model, on sets of held-out problems."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from rlsd_cli import completing, console


def evaluate(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT|MODEL] [KEY=VALUE]...",
            help="Without one: the newest finished run, or quickstart. `model=` evaluates another model.",
            autocompletion=completing.subjects,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Problems: a file, a benchmark (all are used) or a task. Several: a row of the table each."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Responses per problem; above 1 they are sampled.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Evaluate anew what is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each set of problems.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score a policy on held-out problems, with 95 % intervals. The same command continues what was interrupted."""
    from rlsd_cli.evaluation import score

    console.quiet = quiet
    subject, configs = score.resolve_subject(arguments or [], data or [], samples, context.obj)
    summaries = score.evaluate_subject(subject, configs, context.obj, again=again)
    if as_json:
        for summary in summaries:
            console.data_json(summary)
    else:
        show(summaries)
    for summary in summaries:
        console.talk(f"written to {summary['folder']}")


def show(summaries: Sequence[dict[str, Any]]) -> None:
    """One row a set of problems; a column for what every row has, or one of them lacks."""
    samples = summaries[0]["samples"]
    console.talk(f"{summaries[0]['model']}, 95 % intervals, the problem is the unit")
    rows = [
        {
            "data": summary["data"],
            "decoding": summary["decoding"],
            "problems": summary["problems"],
            f"mean@{samples}": console.interval(summary) + _of(summary["n"], summary),
            **(_sampled(summary) if samples > 1 else {}),
            "tokens": f"{summary['tokens_per_response']:.1f}",
            "tokens/s": _number(summary.get("tokens_per_second"), ".0f"),
            "no answer": f"{summary['outcomes'].get('no_answer', 0) / summary['responses']:.1%}",
            "cut": f"{summary['truncated_rate']:.1%}",
            "leakage": f"{summary['leakage_rate']:.1%}",
            "outcomes": ", ".join(f"{outcome} {count}" for outcome, count in summary["outcomes"].items()),
            "without a verdict": summary["no_verdict"],
            "too long, left out": summary.get("overlong", 0),
            "trained on": summary.get("in_training") or 0,
        }
        for summary in summaries
    ]
    exceptions = ("without a verdict", "too long, left out", "trained on")
    header = [name for name in rows[0] if name not in exceptions or any(row[name] for row in rows)]
    console.table(header, [[row[name] for name in header] for row in rows])


def _sampled(summary: dict[str, Any]) -> dict[str, str]:
    counts = summary["pass_at_k_problems"]
    passes = {
        f"pass@{k}": _number(mean) + _of(counts[k], summary) for k, mean in summary["pass_at_k"].items() if k != "1"
    }
    voted = _number(summary["maj_at_k"])
    if summary["maj_at_k"] is not None:
        voted += _of(summary["maj_at_k_problems"], summary)
    return passes | {f"maj@{summary['samples']}": voted}


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _of(count: int, summary: dict[str, Any]) -> str:
    """Of how many problems a mean is, where that is not all."""
    return "" if count == summary["problems"] else f" ({count} of {summary['problems']})"
