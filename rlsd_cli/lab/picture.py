"""The pictures of a study as a PNG: the strips of some responses, and who finds the error at which distance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.lab.figures import CONTROLS, Looked, found
from rlsd_cli.lab.strips import chosen, strips

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Told apart by the colour-blind (Okabe and Ito 2008)."""


def draw(looked: Sequence[Looked], hints: Sequence[str], path: Path) -> None:
    """Write the pictures.

    Raises:
        RlsdError: (exit 3) matplotlib is not installed, or the file cannot be written.
    """
    figure_of = _matplotlib()
    shown = [hint for hint in hints if hint != "none"]
    cases = chosen(looked, shown[:2])
    rows = [len(strips(each, shown[:2])) for each in cases]
    figure = figure_of(figsize=(11, 3.2 + 0.42 * sum(rows)), layout="constrained")
    grid = figure.add_gridspec(len(cases) + 1, 1, height_ratios=[*(0.42 * count for count in rows), 3.0])
    for place, each in enumerate(cases):
        _strips(figure.add_subplot(grid[place]), each, shown[:2])
    _distances(figure.add_subplot(grid[len(cases)]), looked, shown)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise RlsdError(f"cannot write {path}: {error.strerror}", exit_code=EXIT_MACHINE) from error


def _matplotlib() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RlsdError(
            "a PNG needs the package `matplotlib`", hint="`pip install 'rlsd[plot]'`", exit_code=EXIT_MACHINE
        ) from error
    return Figure


def _strips(axes: Any, looked: Looked, hints: Sequence[str]) -> None:
    """One row a strip, one cell a token; the text in the first."""
    case, lines = looked.case, strips(looked, hints)
    for row, (name, values) in enumerate(lines):
        for token in range(case.num_tokens):
            text = case.text[case.starts[token] : case.starts[token + 1]]
            shade = 0.0 if values is None else float(values[token].clamp(0, 1))
            colour = "white" if values is None else _shade(shade, good=name.startswith("chance"))
            axes.add_patch(_cell(token, row, colour))
            if values is None:
                wrong = case.error is not None and token == case.error.token
                axes.text(
                    token + 0.5,
                    row + 0.5,
                    text,
                    ha="center",
                    va="center",
                    family="monospace",
                    color="#D55E00" if wrong else "black",
                )
    axes.set_xlim(0, case.num_tokens)
    axes.set_ylim(len(lines), 0)
    axes.set_yticks([row + 0.5 for row in range(len(lines))], [name for name, _ in lines])
    axes.set_xticks([])
    problem = case.member.rollout.problem
    axes.set_title(
        f"{problem.question}  reference {problem.answer}  ({case.kind})", loc="left", fontsize=9, parse_math=False
    )
    for side in axes.spines.values():
        side.set_visible(False)


def _cell(token: int, row: int, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((token, row + 0.06), 0.96, 0.88, facecolor=colour, edgecolor="none")


def _shade(value: float, *, good: bool) -> tuple[float, float, float]:
    """From light grey to blue for chances, to orange for blame."""
    low, high = (0.94, 0.94, 0.94), (0.0, 0.45, 0.70) if good else (0.84, 0.37, 0.0)
    red, green, blue = (start + value * (end - start) for start, end in zip(low, high, strict=True))
    return red, green, blue


def _distances(axes: Any, looked: Sequence[Looked], hints: Sequence[str]) -> None:
    """How often each signal finds the wrong step, by how many steps follow it."""
    figures = found(looked, ("surprisal", *hints))
    for (name, each), colour in zip(figures.items(), COLOURS, strict=False):
        steps = [(number, figure) for number, figure in each.after.items() if figure.mean is not None]
        xs, ys = [number for number, _ in steps], [figure.mean for _, figure in steps]
        axes.plot(
            xs, ys, marker="o", color=colour, label=name, linestyle="--" if name in ("chance", *CONTROLS) else "-"
        )
        axes.fill_between(xs, [f.low for _, f in steps], [f.high for _, f in steps], color=colour, alpha=0.12)
    axes.set_xlabel("steps after the first wrong one")
    axes.set_ylabel("most blamed token is in it")
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if figures:
        axes.legend(frameon=False, ncols=2, fontsize=8)
