"""The only place that prints. Data goes to stdout, talk to stderr; nothing needs colour to be understood."""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TextIO

from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.interrupts import Interrupted, Interrupts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn

quiet = False
speaker = ""
"""Before errors: which of several processes has them."""


def data(text: str) -> None:
    """A line of data, on stdout. A reader that has seen enough ends the process, as SIGPIPE would."""
    if sys.stdout is None:
        raise RlsdError("stdout is closed", exit_code=EXIT_MACHINE)
    encoding = sys.stdout.encoding or "ascii"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(141) from None
        raise RlsdError(f"cannot write to stdout: {error.strerror}", exit_code=EXIT_MACHINE) from error


def data_json(value: Any) -> None:
    data(json.dumps(value))


def talk(text: str) -> None:
    """A line of conversation, on stderr; nothing under `--quiet`."""
    if not quiet:
        say(text)


def say(text: str) -> None:
    """Talk that `--quiet` does not silence. What others wrote may be in it: no terminal takes it for a command."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(printable(text, keep="\n\t") + "\n")
            sys.stderr.flush()


def warning(text: str) -> None:
    talk(f"warning: {text}")


def error(failure: RlsdError) -> None:
    """Print an error and its hint, in two paragraphs."""
    say(f"{speaker}error: {failure.message}")
    if failure.hint:
        say("\n" + "\n".join(f"hint: {line}" for line in failure.hint.splitlines()))
    _traceback()


def fault(failure: Exception) -> None:
    """Print an unforeseen error, in one line."""
    say(f"{speaker}error: {type(failure).__name__}: {failure}")
    say("\nhint: this is a fault of rlsd; RLSD_TRACEBACK=1 shows where")
    _traceback()


def _traceback() -> None:
    if os.environ.get("RLSD_TRACEBACK") == "1":
        say(traceback.format_exc())


@contextlib.contextmanager
def interruptible(state: Callable[[], str]) -> Iterator[Interrupts]:
    """On SIGINT or SIGTERM say `interrupted` and how things stand, and exit with the code of the signal."""
    interrupts = Interrupts()
    with interrupts.installed():
        try:
            yield interrupts
        except Interrupted as interrupt:
            say(f"interrupted {state()}")
            raise SystemExit(interrupt.exit_code) from None


def printable(text: str, keep: str = "") -> str:
    """Text on one line that any terminal can take: what cannot be printed, and is not in `keep`, as an escape."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


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
    """A table on a terminal, tab-separated lines elsewhere; never cut. Cells are text, whatever they look like."""
    lines = [[printable(str(cell)) for cell in row] for row in [header, *rows]]
    if not is_terminal(sys.stdout):
        for line in lines:
            data("\t".join(line))
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in lines[0]:
        grid.add_column(Text(name), overflow="fold")
    for line in lines[1:]:
        grid.add_row(*map(Text, line))
    stdout().print(grid)


def is_interactive() -> bool:
    """True where a user looks at stdout and can type."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


def is_terminal(stream: TextIO | None) -> bool:
    """True where a stream is a terminal; one that was closed before the start is None."""
    return stream is not None and stream.isatty()


def progress_style(elsewhere: str = "lines") -> str:
    """`bar`, `lines` or `none`, as `RLSD_PROGRESS=auto|bar|lines|none` says.

    `auto` is a bar on a terminal, lines there under NO_COLOR, for a bar cannot do without escape codes, and `elsewhere`
    where stderr is no terminal.
    """
    chosen = os.environ.get("RLSD_PROGRESS", "auto")
    if chosen not in ("auto", "bar", "lines", "none"):
        raise RlsdError(f"RLSD_PROGRESS={chosen}: expected auto, bar, lines or none")
    if quiet:
        return "none"
    if chosen != "auto":
        return chosen
    if not is_terminal(sys.stderr):
        return elsewhere
    return "lines" if "NO_COLOR" in os.environ else "bar"


def bar(*columns: "ProgressColumn") -> "Bar":
    """A bar on stderr that goes away when it stops. By itself rich would send stdout there as well."""
    from rich.progress import Progress as Bar

    return Bar(*columns, console=stderr(), transient=True, redirect_stdout=False)


class Meter:
    """Progress of a count, with its rate: a bar on a terminal, elsewhere a line at intervals.

    `things` are what is counted, such as `rows read`. Without a total the bar only says that something moves.
    """

    def __init__(self, things: str, total: int | None = None, done: int = 0, elsewhere: str = "lines") -> None:
        self.things = things
        self.total = total
        self.style = progress_style(elsewhere)
        self.started = time.perf_counter()
        self.every = REDRAW_SECONDS if self.style == "bar" else LINE_SECONDS
        self._due = self.started + self.every
        self._begun = done
        self._bar: Any = None
        if self.style == "bar":
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

            far = [SpinnerColumn("line")] if total is None else [BarColumn(16), TimeRemainingColumn(compact=True)]
            self._bar = bar(*far, TextColumn("{task.description}"))
            self._task = self._bar.add_task("", total=total, completed=done)
            self._bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, also: str = "") -> None:
        """Say how many are done, if it is time to."""
        now = time.perf_counter()
        if self.style == "none" or now < self._due:
            return
        self._due = now + self.every
        of = "" if self.total is None else f" of {self.total:,}"
        rate = (done - self._begun) / (now - self.started)
        words = f"{done:,}{of} {self.things}  {rate:,.{0 if rate >= 10 else 1}f}/s{also}"
        if self._bar:
            self._bar.update(self._task, completed=done, description=words)
        else:
            say(words)


REDRAW_SECONDS = 0.2
LINE_SECONDS = 10.0


class Progress:
    """Progress of a training run, in the style that `progress_style` chooses."""

    def __init__(self, steps: int, log: Any) -> None:
        self.style = progress_style()
        self.every = max(1, steps // 20)
        self.log = log
        self.said: set[str] = set()
        self.bar: Any = None
        if self.style == "bar":
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

            wide = [BarColumn(16)] if stderr().width > NARROW else []
            counts = (TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(compact=True))
            self.bar = bar(*wide, *counts, TextColumn("{task.description}"))
            self.task = self.bar.add_task("first step", total=steps)
            self.bar.start()

    def step(self, metrics: Mapping[str, Any], steps: int) -> None:
        line = step_line(metrics)
        self._log(line)
        if self.bar:
            words = bar_words(metrics, wide=stderr().width > NARROW)
            self.bar.update(self.task, completed=metrics["step"], description=words)
        elif self.style == "lines" and (metrics["step"] % self.every == 0 or metrics["step"] in (1, steps)):
            say(line)

    def evaluation(self, step: int, summary: Mapping[str, Any]) -> None:
        line = f"eval {step:5d}  {summary['data']}  accuracy {interval(summary)}  n={summary['n']}"
        if summary["n"] < summary["problems"]:
            line += f" of {summary['problems']}"
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


NARROW = 79
"""Columns of a terminal up to which the bar of a run leaves out its bar, and says things in few letters."""


def bar_words(metrics: Mapping[str, Any], *, wide: bool) -> str:
    """A step beside a bar: at most 44 characters, or some 80 where there is room."""
    shown = (
        ("reward ", "r ", "reward_mean", "{:.3f}"),
        ("loss ", "l ", "loss", "{:+.3f}"),
        ("entropy ", "H ", "entropy", "{:.2f}"),
        ("tokens ", "T ", "response_tokens_mean", "{:.0f}"),
        ("zero-variance ", "zv ", "zero_variance_rate", "{:.2f}"),
    )
    words = [
        (word if wide else letter) + form.format(metrics[key])
        for word, letter, key, form in shown
        if metrics[key] is not None
    ]
    return ("  " if wide else " ").join(words) + (f"  {metrics['seconds']:.1f} s" if wide else "")


def step_line(metrics: Mapping[str, Any]) -> str:
    """A step in one line; what a method does not have is left out."""
    shown = (
        ("reward", "reward_mean", "{:.3f}"),
        ("no-answer", "no_answer_rate", "{:.2f}"),
        ("zero-variance", "zero_variance_rate", "{:.2f}"),
        ("loss", "loss", "{:+.4f}"),
        ("entropy", "entropy", "{:.2f}"),
        ("lambda", "lambda", "{:.2f}"),
        ("leakage", "leakage_rate", "{:.2f}"),
        ("tokens", "response_tokens_mean", "{:.0f}"),
        ("grad", "grad_norm", "{:.2f}"),
    )
    words = {key: f"{word} {form.format(metrics[key])}" for word, key, form in shown if metrics[key] is not None}
    parts = {name: mean for name, mean in metrics.get("reward_parts", {}).items() if mean is not None}
    if "reward_mean" in words and parts.keys() != {"answer"}:
        of = "  ".join(f"{name.rpartition(':')[2]} {mean:.3f}" for name, mean in parts.items())
        words["reward_mean"] += f" ({of})"
    return "  ".join([f"step {metrics['step']:5d}", *words.values(), f"{metrics['seconds']:.1f} s"])


def interval(summary: Mapping[str, Any], key: str = "mean") -> str:
    """`0.853 [0.798, 0.896]`; `-` where nothing could be graded."""
    if summary[key] is None:
        return "-"
    low, high = summary["ci95"]
    return f"{summary[key]:.3f} [{low:.3f}, {high:.3f}]"
