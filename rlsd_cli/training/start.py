"""A run by its config: begun, continued, or finished as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsd_cli import console
from rlsd_cli.config.resolve import Resolved, resolve, split_arguments
from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.ranks import is_leader
from rlsd_cli.distributed.world import World, process_group
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.subject import from_here
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.rollout.fitting import load_tried
from rlsd_cli.runs.rundir import RunDir, find_run, newest_checkpoint
from rlsd_cli.training.changed import changed_since
from rlsd_cli.training.dry_run import Outline, outline
from rlsd_cli.training.problems import load_problems


def resolve_run(arguments: Sequence[str], method: str | None, root: Path) -> Resolved:
    """The config of PRESET|FILE... and `key=value`..., with a method that ranks above them; says what is left out.

    `model=` may name a run under the root, whose newest checkpoint it then is.

    Raises:
        RlsdError: the config has faults, or such a run has no checkpoint.
    """
    targets, overrides = split_arguments(arguments)
    if method is not None:
        overrides["method"] = method
    if "model" in overrides:
        overrides["model"] = _newest_of_run(str(overrides["model"]), root) or overrides["model"]
    resolved = resolve(targets, overrides)
    if is_leader():
        for note in resolved.notes:
            console.talk(note)
    return resolved


def _newest_of_run(name: str, root: Path) -> str | None:
    """The newest checkpoint of the run of this name, as a path from here; None where there is no such run."""
    folder = next((path for path in (Path(name), root / name) if (path / "status.json").is_file()), None)
    if folder is None:
        return None
    if (checkpoint := newest_checkpoint(RunDir(folder.resolve()))) is None:
        raise RlsdError(f"`model={name}`: this run has no checkpoint yet", hint="`rlsd train` continues it")
    if is_leader():
        console.talk(f"model={name} is its checkpoint of step {int(checkpoint.name)}")
    return str(from_here(checkpoint))


def dry_run(resolved: Resolved, root: Path) -> Outline | None:
    """What a run would be, in the process that talks."""
    return outline(resolved, root) if is_leader() else None


def start(resolved: Resolved, root: Path, *, again: bool) -> dict[str, Any] | None:
    """Bring the run of a config to its end: its summary, in the process that talks. A finished one is left as it is."""
    with process_group() as world:
        if not world.is_leader:
            console.quiet, console.speaker = True, f"process {world.rank}: "
        run = world.broadcast(lambda: find_run(root, resolved, again=again))
        planned = world.broadcast(lambda: run.config().steps if run.path.exists() else 0)
        if planned > resolved.config.steps:
            resolved = resolved._replace(config=resolved.config.model_copy(update={"steps": planned}))
        if world.broadcast(lambda: planned == resolved.config.steps and run.status()["status"] == "done"):
            return _finished(run, resolved.config) if world.is_leader else None
        if console.progress_style() == "bar":  # someone waits, and what loads models is slow to load itself
            console.talk(f"loading {resolved.config.model}")
        summary = _train(resolved, run, world)
        return summary if world.is_leader else None


def _finished(run: RunDir, config: Config) -> dict[str, Any]:
    longer = "more `steps` extend it, " if config.can_be_extended else ""
    console.talk(f"run {run.path} is finished; {longer}`--again` makes another attempt beside it")
    return run.status() | {"run": str(run.path)} | _changed(run, config)


def _changed(run: RunDir, config: Config) -> dict[str, Any]:
    """`changed`, where something has or where that cannot be told (None); each is a warning, too."""
    try:
        found = changed_since(run, config)
    except RlsdError as error:
        console.warning(f"cannot tell what has changed since this run began: {error.message}")
        return {"changed": None}
    for change in found:
        console.warning(f"since this run began, {change.in_words()}")
    return {"changed": [change._asdict() for change in found]} if found else {}


def _train(resolved: Resolved, run: RunDir, world: World) -> dict[str, Any]:
    """Train, once all that needs no weights is there: the run is free, files of the model, problems that fit it."""
    if world.is_leader and run.path.exists():
        with run.lock():
            pass
    model = load_tried(resolved.config)
    with open_pool(resolved.config) as pool:
        problems = load_problems(resolved.config, model)
        from rlsd_cli.training.launch import launch  # loads torch

        return launch(resolved, run, problems, pool, world)
