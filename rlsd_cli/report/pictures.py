"""The charts of a report as PNG, for papers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsd_cli.errors import EXIT_MACHINE, RlsdError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
"""Told apart by the colour-blind (Okabe and Ito 2008)."""
DASHES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (8, 3)))


def draw(charts: Sequence[Mapping[str, Any]], names: Sequence[str], folder: Path) -> None:
    """Write a chart a metric: seeds as thin lines, their mean thick, its t interval as a band.

    Raises:
        RlsdError: (exit 3) matplotlib is not installed, or a file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        hint = "`pip install 'rlsd[plot]'`"
        raise RlsdError("a PNG needs the package `matplotlib`", hint=hint, exit_code=EXIT_MACHINE) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for chart in charts:
            figure = Figure(figsize=(5.2, 3.2), layout="constrained")
            _chart(figure.add_subplot(), chart, several=len(names) > 1)
            figure.savefig(folder / f"{chart['key']}.png", dpi=200)
    except OSError as error:
        raise RlsdError(f"cannot write {folder}: {error.strerror}", exit_code=EXIT_MACHINE) from error


def _chart(axes: Any, chart: Mapping[str, Any], *, several: bool) -> None:
    for arm in chart["arms"]:
        look = {"color": COLOURS[arm["arm"] % len(COLOURS)], "linestyle": DASHES[arm["arm"] % len(DASHES)]}
        for line in arm["lines"]:
            of_several = {"linewidth": 0.7, "alpha": 0.5}
            style = of_several if len(arm["lines"]) > 1 else {"linewidth": 1.6, "label": arm["name"]}
            axes.plot(*zip(*line, strict=True), **style, **look)
        if arm["band"]:
            steps, means, lows, highs = zip(*arm["band"], strict=True)
            axes.plot(steps, means, linewidth=1.8, label=f"{arm['name']} ({len(arm['lines'])} seeds)", **look)
            bottom, top = axes.get_ylim()
            axes.fill_between(steps, lows, highs, color=look["color"], alpha=0.13, linewidth=0)
            axes.set_ylim(bottom, top)
    axes.set_xlabel("training step")
    axes.set_ylabel(chart["title"], fontsize=8)
    if several:
        axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
