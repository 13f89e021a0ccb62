"""`rlsd trace`: one problem through the whole path of a step, with every number."""

from typing import TYPE_CHECKING, Annotated

import typer

from rlsd_cli import completing, console

if TYPE_CHECKING:
    from rlsd_cli.report.rollouts import Shown, Token
    from rlsd_cli.report.tracing import Seen


def trace(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET|FILE] [KEY=VALUE]...",
            help="Without one: quickstart.",
            autocompletion=completing.presets_and_keys,
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", "--method", help="The method, as `method=`.", metavar="METHOD")
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="The problem, by the beginning of its id; without it the first.", metavar="ID")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Follow one problem: prompt, responses, verdicts, what the teacher reads, credit of tokens, loss, gradient.

    One step is done on it alone, with the weights that a run would begin with. Nothing is kept.
    """
    from rlsd_cli.report import tracing

    seen = tracing.trace(arguments or [], mode, problem)
    if as_json:
        rollouts = [each.record.row() | {"tokens": each.texts} for each in seen.shown]
        console.data_json(
            {"problem": seen.problem._asdict(), "prompt": seen.prompt, "views": seen.views, "metrics": seen.metrics}
            | {"rollouts": rollouts, "largest_share": seen.largest_share}
        )
    else:
        _show(seen)


def _show(seen: "Seen") -> None:
    problem = seen.problem
    facts = [
        ("problem", problem.id),
        ("question", problem.question),
        ("reference", problem.answer),
        ("prompt", seen.prompt),
        *((f"the teacher reads ({name})", text) for name, text in seen.views.items()),
    ]
    console.table(("what", ""), facts)
    header = ("#", "tokens", "stop", "answer", "outcome", "score", "advantage", "left out", "credit, pull", "gap")
    console.table(header, [_rollout(each) for each in seen.shown])
    told = max(seen.shown, key=lambda each: each.fields()["credit"])
    console.talk(f"\nthe tokens of rollout {told.record.sample}, which is told most")
    rows = [
        (token.place, token.text, token.direction, *map(_number, (token.push, token.weight, *_scores(token))))
        for token in told.tokens("recorded")
    ]
    console.table(("place", "token", "moves", "push", "weight", "logp", "gap", "entropy"), rows)
    metrics = seen.metrics
    share = "-" if seen.largest_share is None else f"{seen.largest_share:.1%}"
    numbers = (f"{metrics['loss']:+.6f}", f"{metrics['grad_norm']:.4f}", f"{metrics['learning_rate']:g}")
    console.table(
        ("loss", "gradient norm", "learning rate", "tokens counted", "largest share of a token"),
        [(*numbers, metrics["trained_tokens"], share)],
    )


def _scores(token: "Token") -> tuple[float | None, ...]:
    return token.logp, token.gap, token.entropy


def _rollout(each: "Shown") -> tuple[object, ...]:
    record, fields = each.record, each.fields()
    return (
        record.sample,
        len(record.token_ids),
        "length" if record.truncated else "end",
        record.extracted or "-",
        record.outcome or "-",
        _number(record.score),
        f"{record.advantage:+.3f}",
        record.left_out or "",
        _number(fields["credit"]),
        _number(fields["gap"]),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
