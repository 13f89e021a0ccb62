"""`rlsd eval`: a run, a checkpoint, a preset's model or any model, on held-out problems."""

from typing import Annotated, Any

import typer

from rlsd_cli import console


def evaluate(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT|MODEL] [KEY=VALUE]...",
            help="Without one: the newest finished run, or quickstart. `model=` evaluates another model.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Problems: a file, a benchmark (all are used) or a task.")] = None,
    samples: Annotated[int | None, typer.Option(help="Responses per problem; above 1 they are sampled.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score a policy on held-out problems, with 95 % intervals."""
    from rlsd_cli.evaluation import score

    console.quiet = quiet
    subject, config = score.resolve_subject(arguments or [], data, samples, context.obj)
    scored = score.evaluate_subject(subject, config, context.obj)
    try:
        score.keep(scored, config)
    finally:
        _show(scored.summary, as_json)
    console.talk(f"written to {scored.summary['folder']}")


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.data_json(summary)
        return
    num_problems, counts = summary["problems"], summary["pass_at_k_problems"]

    def of(count: int) -> str:
        return "" if count == num_problems else f" ({count} of {num_problems} problems)"

    passes = [
        (f"pass@{k}", ("-" if mean is None else f"{mean:.3f}") + of(counts[k]))
        for k, mean in summary["pass_at_k"].items()
    ]
    missing = f"{summary['no_verdict']} of {summary['responses']} responses"
    rows = [
        ("accuracy", console.interval(summary) + of(summary["n"])),
        ("problems", f"{num_problems} x {summary['samples']}"),
        *([("  too long, left out", summary["overlong"])] if summary.get("overlong") else []),
        *([("without a verdict", missing)] if summary["no_verdict"] else []),
        *(passes if summary["samples"] > 1 else []),
        ("tokens per response", f"{summary['tokens_per_response']:.1f}"),
        ("truncated", f"{summary['truncated_rate']:.1%}"),
        ("leakage", f"{summary['leakage_rate']:.1%}"),
        *((f"  {outcome}", count) for outcome, count in summary["outcomes"].items()),
    ]
    console.table((summary["data"], summary["model"]), rows)
