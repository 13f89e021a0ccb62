"""What is compared: policies as a user names them, and the evaluations that were kept of each."""

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.runs.rundir import COPY_AGAIN, RunDir, list_runs, read_json

SEED = re.compile(r"-s\d+-[0-9a-f]{4}(-\d+)?(?=@|$)")
"""The end of a run's name: its seed, the hash of its config, and the attempt."""


Rows = Sequence[Mapping[str, Any]]
"""The rows of one problem, a sample each."""


class Kept:
    """An evaluation on disk: its summary, and the rows of each problem, which are read when they are asked for."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.folder = folder
        self.suite = suite

    @cached_property
    def summary(self) -> dict[str, Any]:
        return read_json(self.folder / "summary.json")

    @cached_property
    def problems(self) -> dict[str, Rows]:
        """The rows of each problem, by its id; those of a second problem with an id are told apart by their place.

        Raises:
            RlsdError: they are not there, or a line is none.
        """
        path = self.folder / "samples.jsonl"
        groups: dict[str, Rows] = {}
        samples = self.summary["samples"]
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for start in range(0, len(rows), samples):
                name = rows[start]["problem_id"]
                while name in groups:
                    name += "'"
                groups[name] = rows[start : start + samples]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RlsdError(f"{path} cannot be read: {error}", hint=COPY_AGAIN) from error
        return groups

    def has_verdict(self, problem: str) -> bool:
        """True where a response to the problem was judged."""
        return any(row["score"] is not None for row in self.problems.get(problem, ()))


class Side(NamedTuple):
    """A policy that was evaluated.

    name: what it is called here
    group: what it has in common with others that differ in the seed alone
    run: what it is of; None for a model
    evaluations: by suite
    """

    name: str
    group: str
    seed: int | None
    run: RunDir | None
    step: int
    evaluations: Mapping[str, Kept]


class Arm(NamedTuple):
    """Policies that differ in their seed alone."""

    name: str
    sides: tuple[Side, ...]


def arms_of(names: Sequence[str], root: Path, step: int | None = None) -> tuple[list[Arm], list[str]]:
    """The arms that names stand for, in their order, and lines on what was left out.

    A name is a run, by path or by its name under a root, in which `*` stands for anything; a checkpoint of a run; a
    model that was evaluated; or the folder of an evaluation. Runs of one config and several seeds are one arm; two
    policies alone are always two.

    Raises:
        RlsdError: a name is none of these, or has no evaluation.
    """
    sides = [side for name in names for side in _named(name, root, step)]
    if len(sides) == 2:
        return _labelled([[side] for side in sides]), []
    notes, groups = list[str](), dict[str, list[Side]]()
    for side in sides:
        group = groups.setdefault(side.group, [])
        twice = next((other for other in group if other.seed == side.seed), None)
        if twice is None:
            group.append(side)
        elif twice.run != side.run:
            notes.append(f"{side.name} has the config and the seed of {twice.name}, so it is no other draw: left out")
    return _labelled([*groups.values()]), notes


def _labelled(groups: Sequence[Sequence[Side]]) -> list[Arm]:
    names = [SEED.sub("", group[0].name) if len(group) > 1 else group[0].name for group in groups]
    labels = short_names(names)
    return [Arm(label, tuple(group)) for label, group in zip(labels, groups, strict=True)]


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the words that all begin with or all end with; names that are equal are numbered."""
    words = [name.split("-") for name in names]
    while all(len(each) > 1 for each in words) and len({each[0] for each in words}) == 1:
        words = [each[1:] for each in words]
    while all(len(each) > 1 for each in words) and len({each[-1] for each in words}) == 1:
        words = [each[:-1] for each in words]
    short = ["-".join(each) for each in words]
    return [f"{name} ({place})" if short.count(name) > 1 else name for place, name in enumerate(short, start=1)]


def _named(name: str, root: Path, step: int | None) -> list[Side]:
    path = Path(name)
    for folder in (path, root / name):
        if (folder / "status.json").is_file():
            return [of_run(RunDir(folder.resolve()), step)]
        if (folder / "summary.json").is_file() and (folder / "samples.jsonl").is_file():
            return [_of_folder(folder.resolve())]
    if path.name.isdigit() and (path.parent.parent / "status.json").is_file():
        return [of_run(RunDir(path.resolve().parents[1]), int(path.name))]
    runs = list_runs(root)
    if any(sign in name for sign in "*?["):
        pattern = name.removeprefix(f"{root}/")
        found = [of_run(run, step) for run in runs if fnmatch.fnmatch(run.name, pattern)]
        if found:
            return found
        raise RlsdError(f"no run under {root} matches `{name}`")
    models = sorted(folder for folder in (root / "models").glob("*") if (folder / "evals").is_dir())
    of_model = [folder for folder in models if re.fullmatch(rf"{re.escape(path.name)}(-[0-9a-f]{{8}})?", folder.name)]
    if len(of_model) == 1:
        return [_of_model(of_model[0])]
    if of_model:
        names = ", ".join(f"`{folder.name}`" for folder in of_model)
        raise RlsdError(f"`{name}` was evaluated with several contents: {names}", hint="name one of them")
    known = [*(run.name for run in runs), *(folder.name for folder in models)]
    raise RlsdError(
        f"no run, checkpoint or evaluated model named `{name}`",
        hint=did_you_mean(name, known) or f"runs are looked for under {root}",
    )


def of_run(run: RunDir, step: int | None = None) -> Side:
    """A run after a step; without one after its last, whatever came out of it there."""
    config = run.config()
    made = run.path.glob("evals/*/[0-9]*/summary.json")
    steps = sorted({int(path.parent.name) for path in made})
    if not steps:
        raise RlsdError(f"{run.path} has no evaluation", hint=f"`rlsd eval {run.name}` makes one")
    chosen = steps[-1] if step is None else step
    if chosen not in steps:
        there = ", ".join(map(str, steps))
        raise RlsdError(f"{run.path} has no evaluation after step {chosen}", hint=f"there are those after {there}")
    folders = sorted(run.path.glob(f"evals/*/{chosen:06d}"))
    kept = {folder.parent.name: Kept(folder, folder.parent.name) for folder in folders}
    name = run.name if chosen == config.steps else f"{run.name}@{chosen}"
    return Side(name, f"{family(config)}@{chosen}", config.seed, run, chosen, kept)


def family(config: Config) -> str:
    """What runs that differ in the seed alone have in common."""
    return json.dumps({key: value for key, value in config.identity().items() if key != "seed"}, sort_keys=True)


def _of_model(folder: Path) -> Side:
    kept = {each.parent.name: Kept(each.parent, each.parent.name) for each in folder.glob("evals/*/summary.json")}
    return Side(folder.name, str(folder), None, None, 0, kept)


def _of_folder(folder: Path) -> Side:
    of_a_run = folder.name.isdigit()
    suite = folder.parent.name if of_a_run else folder.name
    owner = folder.parents[2] if of_a_run else folder.parents[1]
    name = f"{owner.name}@{int(folder.name)}" if of_a_run else owner.name
    return Side(name, str(folder), None, None, 0, {suite: Kept(folder, suite)})
