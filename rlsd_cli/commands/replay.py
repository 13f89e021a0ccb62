"""`rlsd replay`: a recorded step once more, bit for bit, and what another method would have made of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import console

if TYPE_CHECKING:
    from rlsd_cli.training.replay import Replayed


def replay(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or its name under the root.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the other method.")
    ] = None,
    *,
    step: Annotated[int, typer.Option("--step", help="Step to repeat.", metavar="N", min=1)],
    mode: Annotated[
        str | None,
        typer.Option("--mode", "--method", help="Compare with this method on the same rollouts.", metavar="METHOD"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Repeat a step from its rollouts and the checkpoint before it. The run is not changed.

    Exits with 1 where loss, gradient norm or weights are not those that were recorded.
    """
    from rlsd_cli.training.replay import replay_named

    console.quiet = quiet
    replayed = replay_named(run, context.obj, step, mode, arguments or [])
    if as_json:
        console.data_json(_as_json(replayed))
    else:
        _show(replayed)
    if not replayed.agrees:
        raise typer.Exit(1)


def _as_json(replayed: "Replayed") -> dict[str, Any]:
    comparisons = [each._asdict() for each in replayed.comparisons]
    return replayed._asdict() | {"agrees": replayed.agrees, "comparisons": comparisons}


def _show(replayed: "Replayed") -> None:
    recorded, now = replayed.recorded, replayed.now
    rows = [(name, str(recorded[name]), str(now[name]), "yes" if recorded[name] == now[name] else "NO") for name in now]
    console.table((f"step {replayed.step}", "recorded", "now", "bit for bit"), rows)
    start = f"the checkpoint of step {replayed.started_from}" if replayed.started_from else "the initial weights"
    console.talk(f"from {start}, with the rollouts of {replayed.run}")
    if replayed.comparisons:
        console.table(
            ("method", "loss", "gradient norm", "rollouts", "tokens", "mean |credit|", "cosine"),
            [
                (
                    each.method,
                    f"{each.loss:+.6f}",
                    f"{each.grad_norm:.6f}",
                    each.trained_rollouts,
                    each.trained_tokens,
                    "-" if each.credit_abs_mean is None else f"{each.credit_abs_mean:.4f}",
                    f"{each.cosine:.6f}",
                )
                for each in replayed.comparisons
            ],
        )
