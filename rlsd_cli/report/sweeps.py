"""Sweeps are lines of a shell: planned here, run there, and read from the runs that they name."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import Resolved, resolve, split_arguments
from rlsd_cli.config.schema import flatten
from rlsd_cli.data.sources import check_task
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.report.listing import state_of
from rlsd_cli.runs.rundir import RunDir, run_name
from rlsd_cli.statistics.seeds import Mean, mean_over_seeds

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
SHELL = ("|", "||", "&&", ";", ">", ">>", "<", "&", "2>", "2>>")
"""Words at which a command of a line ends."""
FLAGS = ("--json", "--quiet", "-q")
METHOD = ("--mode", "--method")


class Point(NamedTuple):
    """A command of a sweep and the run that it makes; `status` is `waiting` where there is none yet."""

    command: str
    resolved: Resolved
    run: RunDir

    @property
    def status(self) -> str:
        return state_of(self.run.status()) if (self.run.path / "status.json").is_file() else "waiting"

    def row(self) -> tuple[str, str, str, str]:
        """Status, step, command, and what went wrong."""
        if self.status == "waiting":
            return "waiting", "-", self.command, ""
        status = self.run.status()
        error = f"{status['error']}   log {self.run.path / 'logs' / 'train.log'}" if status.get("error") else ""
        return self.status, f"{status.get('step', 0)} of {self.resolved.config.steps}", self.command, error


def plan(arguments: Sequence[str], methods: str | None, root: Path) -> list[Point]:
    """The commands of all combinations of values: `key=a,b,c` and `key=0..2`; the last key changes fastest.

    Raises:
        RlsdError: a combination is no valid config, or two of them are one run; nothing is planned then.
    """
    targets = [argument for argument in arguments if not split_arguments([argument])[1]]
    keys = [argument.partition("=")[::2] for argument in arguments if argument not in targets]
    swept = [("--mode", methods)] if methods is not None else []
    choices = [(key, values_of(text)) for key, text in [*swept, *keys]]
    points = []
    for combination in product(*(values for _, values in choices)):
        words = ["rlsd", "train", *targets]
        for (key, _), value in zip(choices, combination, strict=True):
            words += [key, value] if key == "--mode" else [f"{key}={value}"]
        points.append(point(shlex.join(words), root))
    counts = Counter(each.run.name for each in points)
    twice = [each.command for each in points if counts[each.run.name] > 1]
    if twice:
        raise RlsdError(f"these commands are one run: {'; '.join(twice[:3])}", hint="a value is named twice")
    return points


def values_of(text: str) -> list[str]:
    """`a,b` as its values, `0..2` as whole numbers; commas inside brackets and quotes belong to a value."""
    if found := RANGE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        if first > last:
            raise RlsdError(f"`{text}` is empty: {first} is above {last}")
        return [str(value) for value in range(first, last + 1)]
    values, depth, quote, start = [], 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and not depth:
            values.append(text[start:place])
            start = place + 1
    return [*values, text[start:]]


def point(line: str, root: Path) -> Point:
    """The command of `rlsd train` in a line of a shell, and its run.

    Raises:
        RlsdError: there is none, or its config has faults.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise RlsdError(f"`{line}` is no line of a shell: {error}") from error
    places = [place for place, pair in enumerate(pairwise(words)) if pair == ("rlsd", "train")]
    if not places:
        raise RlsdError(f"`{line}` does not train", hint="such as `rlsd train quickstart seed=1`")
    command = words[places[0] + 2 :]
    command = command[: next((place for place, word in enumerate(command) if word in SHELL), len(command))]
    arguments, method = _without_flags(command, line)
    targets, overrides = split_arguments(arguments)
    if method is not None:
        overrides["method"] = method
    try:
        resolved = resolve(targets, overrides)
        for data in filter(None, (resolved.config.data, resolved.config.eval_data)):
            check_task(data)
    except RlsdError as error:
        raise RlsdError(f"`{line}`:\n{error.message}", hint=error.hint, exit_code=error.exit_code) from error
    return Point(line, resolved, RunDir(root / run_name(resolved)))


def _without_flags(command: Sequence[str], line: str) -> tuple[list[str], str | None]:
    """What is left of a command without flags that do not change its run; the method that a flag names."""
    arguments, method = [], None
    words = iter(command)
    for word in words:
        name, equals, value = word.partition("=")
        if name in METHOD:
            method = value if equals else next(words, None)
        elif word.startswith("-") and word not in FLAGS:
            hint = f"flags: {', '.join((*METHOD, *FLAGS))}"
            raise RlsdError(f"`{line}`: `{word}` has no place in a sweep", hint=hint)
        elif not word.startswith("-"):
            arguments.append(word)
    return arguments, method


def read_plan(text: str, root: Path) -> list[Point]:
    """The points of the lines of a plan; empty lines and those of a comment are none.

    Raises:
        RlsdError: a line is no command that trains; it is named by its number.
    """
    points = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                points.append(point(line.strip(), root))
            except RlsdError as error:
                raise RlsdError(f"line {number}: {error.message}", hint=error.hint) from error
    if not points:
        hint = "`rlsd sweep plan PRESET key=a,b seed=0..2 > plan.txt` writes one"
        raise RlsdError("the plan has no lines", hint=hint)
    return points


class Cell(NamedTuple):
    """The values of the keys of a table, and a metric of the runs that have them; None where none is done."""

    values: tuple[Any, ...]
    metric: Mean | None
    missing: int


def table(points: Sequence[Point], metric: str, keys: Sequence[str]) -> Iterator[Cell]:
    """A metric of finished runs, by the values of config keys.

    Raises:
        RlsdError: a run has no such key or metric.
    """
    cells: dict[tuple[Any, ...], list[Point]] = {}
    for each in points:
        flat = flatten(each.resolved.config)
        if unknown := [key for key in keys if key not in flat]:
            hint = did_you_mean(unknown[0], flat)
            raise RlsdError(f"`{each.command}` has no key `{unknown[0]}`", hint=hint)
        cells.setdefault(tuple(flat[key] for key in keys), []).append(each)
    for values, own in cells.items():
        done = [each for each in own if each.status == "done"]
        numbers = [_metric(each.run, metric) for each in done]
        yield Cell(values, mean_over_seeds(numbers) if numbers else None, len(own) - len(done))


def _metric(run: RunDir, name: str) -> float:
    """The final `accuracy`, a number of status.json, or one of the last step."""
    status, metrics = run.status(), run.metrics()
    known: dict[str, Any] = {**(metrics[-1] if metrics else {}), **status, "accuracy": status["final"]["accuracy"]}
    if isinstance(value := known.get(name), int | float):
        return float(value)
    numbers = [key for key, each in known.items() if isinstance(each, int | float)]
    raise RlsdError(f"{run.path} has no metric `{name}`", hint=did_you_mean(name, numbers) or ", ".join(numbers))
