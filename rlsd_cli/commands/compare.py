"""`rlsd compare`: runs or models on the same problems, with intervals."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import completing, console

if TYPE_CHECKING:
    from rlsd_cli.report.comparing import Compared, Line
    from rlsd_cli.statistics.seeds import Mean


def compare(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C]...",
            help="Runs (`*` stands for anything), checkpoints, evaluated models; seeds of one config are one side.",
            autocompletion=completing.runs,
        ),
    ],
    suite: Annotated[list[str] | None, typer.Option(help="Only evaluations whose name begins so.")] = None,
    step: Annotated[int | None, typer.Option(help="Evaluations after this step; without it the last.")] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 1 unless the interval of B - A lies there: 'mean@8 > 0'.", metavar="METRIC>NUMBER"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Compare what was evaluated: differences, paired where the problems are, with 95 % intervals.

    With one policy a side the problem is the unit; with several seeds a side the seed is. The first is compared with
    each other one.
    """
    from rlsd_cli.report.command import compare_named

    console.quiet = quiet
    found = compare_named(names, context.obj, suite, step, gate or [])
    for note in found.notes:
        console.talk(note)
    if as_json:
        console.data_json(found.as_json())
    else:
        for compared in found.compared:
            _show(compared)
    for text in found.failed:
        console.say(f"gate `{text}` does not hold")
    if found.failed:
        raise typer.Exit(1)


def _show(compared: "Compared") -> None:
    sides = (compared.first.name, compared.second.name)
    header = ("data", "metric", *sides, "difference", "p", "p (Holm)", "seen from", "the second has")
    console.table(header, [_row(line) for line in compared.lines])
    first = compared.lines[0].difference
    unit = f"{first.n} problems, paired" if compared.unit == "problems" else _seeds(compared)
    hows = dict.fromkeys(line.difference.how for line in compared.lines)
    console.talk(f"95 % intervals over {unit}: {'; '.join(hows)}")
    if compared.robust:
        middle, better = compared.robust
        console.talk(
            f"interquartile mean {_interval(middle.mean, middle.low, middle.high)}; chance that a run of "
            f"{compared.second.name} beats one of {compared.first.name} "
            f"{better.probability:.2f} [{better.low:.2f}, {better.high:.2f}] (stratified bootstrap)"
        )
    for suite, count in compared.left_out.items():
        if count:
            console.talk(f"{suite}: {count} problems left out, which not all have a verdict on")
    for name, flips in ((compared.second.name, compared.gained), (compared.first.name, compared.lost)):
        ids = ", ".join(flip.problem_id for flip in flips[:5]) + (", ..." if len(flips) > 5 else "")
        console.talk(f"solved by {name} alone: {len(flips)}" + (f"  ({ids})" if flips else ""))
    for note in compared.notes:
        console.talk(note)


def _seeds(compared: "Compared") -> str:
    counts = [len(arm.sides) for arm in (compared.first, compared.second)]
    return f"{counts[0]} and {counts[1]} seeds"


def _row(line: "Line") -> tuple[Any, ...]:
    found, places = line.difference, 1 if line.metric == "tokens" else 3
    metric = line.metric if line.metric == "tokens" else f"{line.metric} ({line.decoding})"
    seen = "-" if found.detectable is None else f"{found.detectable:.{places}f}"
    words = {"more": "more", "less": "less", "unknown": "no interval"}.get(line.verdict, line.verdict)
    return (
        line.data,
        metric,
        _mean(line.first, line.points[0], places),
        _mean(line.second, line.points[1], places),
        _interval(found.mean, found.low, found.high, places),
        _p(found.p),
        _p(line.adjusted_p),
        seen,
        words,
    )


def _mean(mean: "Mean", points: tuple[float, ...], places: int) -> str:
    """The mean, and of several seeds its points."""
    shown = f"{mean.mean:.{places}f}"
    return shown if len(points) == 1 else f"{shown} ({', '.join(f'{point:.{places}f}' for point in points)})"


def _interval(mean: float, low: float | None, high: float | None, places: int = 3) -> str:
    if low is None or high is None:
        return f"{mean:+.{places}f}"
    return f"{mean:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]"


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
