"""The only place that prints. Data goes to stdout, talk to stderr; nothing needs colour to be understood."""

import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from rlsd_cli.errors import RlsdError

if TYPE_CHECKING:
    from rich.console import Console

quiet = False


def data(text: str) -> None:
    """A line of data, on stdout. A reader that has seen enough ends the process, as SIGPIPE would."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


def data_json(value: Any) -> None:
    data(json.dumps(value))


def talk(text: str) -> None:
    """A line of conversation, on stderr; nothing under `--quiet`."""
    if not quiet:
        say(text)


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def warning(text: str) -> None:
    talk(f"warning: {text}")


def error(failure: RlsdError) -> None:
    """What went wrong and what to do, in two paragraphs."""
    say(f"error: {failure.message}")
    if failure.hint:
        say("\n" + "\n".join(f"hint: {line}" for line in failure.hint.splitlines()))
    _traceback()


def fault(failure: Exception) -> None:
    """An error nobody foresaw, in one line."""
    say(f"error: {type(failure).__name__}: {failure}")
    say("\nhint: this is a fault of rlsd; RLSD_TRACEBACK=1 shows where")
    _traceback()


def _traceback() -> None:
    if os.environ.get("RLSD_TRACEBACK") == "1":
        say(traceback.format_exc())


@cache
def stdout() -> "Console":
    from rich.console import Console

    return Console(**_plain())


@cache
def stderr() -> "Console":
    from rich.console import Console

    return Console(stderr=True, **_plain())


def _plain() -> dict[str, Any]:
    """rich still sends bold under NO_COLOR; without a colour system it sends nothing."""
    return {"color_system": None, "highlight": False} if "NO_COLOR" in os.environ else {"highlight": False}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal, tab-separated lines elsewhere; never cut."""
    if not sys.stdout.isatty():
        for row in [header, *rows]:
            data("\t".join(str(cell) for cell in row))
        return
    from rich.table import Table

    grid = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    stdout().print(grid)


class Progress:
    """How a training run goes, as `RLSD_PROGRESS=auto|bar|lines|none` says.

    `auto` is a bar on a terminal and lines elsewhere, or under NO_COLOR: a bar cannot do without escape codes.
    """

    def __init__(self, steps: int, log: Any) -> None:
        chosen = os.environ.get("RLSD_PROGRESS", "auto")
        if chosen not in ("auto", "bar", "lines", "none"):
            raise RlsdError(f"RLSD_PROGRESS={chosen}: expected auto, bar, lines or none")
        self.style = "none" if quiet else chosen
        if self.style == "auto":
            self.style = "bar" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else "lines"
        self.every = max(1, steps // 20)
        self.log = log
        self.said: set[str] = set()
        self.bar: Any = None
        if self.style == "bar":
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(24), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(compact=True))
            self.bar = Bar(*columns, TextColumn("{task.description}"), console=stderr(), transient=True)
            self.task = self.bar.add_task("", total=steps)
            self.bar.start()

    def step(self, metrics: Mapping[str, Any], steps: int) -> None:
        line = step_line(metrics)
        self._log(line)
        if self.bar:
            reward = metrics["reward_mean"]
            word = f"loss {metrics['loss']:.3f}" if reward is None else f"reward {reward:.3f}"
            self.bar.update(self.task, completed=metrics["step"], description=f"{word}  {metrics['seconds']:.1f} s")
        elif self.style == "lines" and (metrics["step"] % self.every == 0 or metrics["step"] in (1, steps)):
            say(line)

    def evaluation(self, step: int, summary: Mapping[str, Any]) -> None:
        line = f"eval {step:5d}  {summary['data']}  accuracy {interval(summary)}  n={summary['n']}"
        line += f"  leakage {summary['leakage_rate']:.2f}"
        self._log(line)
        self._say(line)

    def warning(self, kind: str, text: str) -> None:
        if kind not in self.said:
            self.said.add(kind)
            self._log(f"warning: {text}")
            self._say(f"warning: {text}")

    def close(self) -> None:
        if self.bar:
            self.bar.stop()

    def _say(self, line: str) -> None:
        if self.bar:
            self.bar.console.print(line, markup=False, soft_wrap=True)
        elif self.style != "none":
            say(line)

    def _log(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()


def step_line(metrics: Mapping[str, Any]) -> str:
    """A step in one line; what a method does not have is left out."""
    shown = (
        ("reward", "reward_mean", "{:.3f}"),
        ("no-answer", "no_answer_rate", "{:.2f}"),
        ("flat groups", "zero_variance_rate", "{:.2f}"),
        ("loss", "loss", "{:+.4f}"),
        ("entropy", "entropy", "{:.2f}"),
        ("lambda", "lambda", "{:.2f}"),
        ("leakage", "leakage_rate", "{:.2f}"),
        ("tokens", "response_tokens_mean", "{:.0f}"),
        ("grad", "grad_norm", "{:.2f}"),
    )
    parts = [f"{word} {form.format(metrics[key])}" for word, key, form in shown if metrics[key] is not None]
    return "  ".join([f"step {metrics['step']:5d}", *parts, f"{metrics['seconds']:.1f} s"])


def interval(summary: Mapping[str, Any], key: str = "mean") -> str:
    """`0.853 [0.798, 0.896]`; `-` where nothing could be graded."""
    if summary[key] is None:
        return "-"
    low, high = summary["ci95"]
    return f"{summary[key]:.3f} [{low:.3f}, {high:.3f}]"
