"""What is evaluated: a run, a checkpoint, a preset's model or any model, as a user names it."""

from pathlib import Path
from typing import NamedTuple

from rlsd_cli.config.resolve import Layer, preset_names, read_toml, target_layer
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, did_you_mean
from rlsd_cli.policy.catalog import QUICKSTART, catalog, is_model
from rlsd_cli.runs.rundir import RunDir, list_runs, newest_checkpoint, newest_finished


class Subject(NamedTuple):
    """What is evaluated.

    layers: where its config comes from
    settings: in words, where all but the model comes from; None for a model that has the defaults
    run, step: what the result belongs to; without a run it belongs to the model
    """

    layers: list[Layer]
    settings: str | None = None
    run: RunDir | None = None
    step: int = 0


def find_subject(target: str | None, root: Path, model: object = None) -> Subject:
    """A run (by path or name), a checkpoint directory, a preset, or a model; without a target the newest finished run.

    `model` is what `model=` names, which takes the place of the subject's: the result is then none of a run. Without a
    target it is the subject, just as if it were the target.
    """
    if model is None:
        return _named(target, root)
    if target is None:
        return _of_model(model)
    subject = _named(target, root)
    if subject.settings is None:
        raise RlsdError(f"`{target}` and `model={model}` are two models", hint="leave out one of them")
    return subject._replace(run=None, step=0)


def _of_model(model: object) -> Subject:
    """A model with the defaults; the embedded policy with its preset, without which it is of no use."""
    if model == QUICKSTART.name:
        return Subject([target_layer(QUICKSTART.name)[1]], f"preset {model}")
    return Subject([Layer(f"model {model}", {"model": model})])


def _named(target: str | None, root: Path) -> Subject:
    if target is None:
        run = newest_finished(root)
        return _of_run(run) if run else _of_model(QUICKSTART.name)
    for path in (Path(target), root / target):
        if (path / "status.json").is_file():
            return _of_run(RunDir(path.resolve()))
    path = Path(target)
    if is_model(path):
        run = RunDir(path.resolve().parents[1])
        if (run.path / "status.json").is_file() and path.resolve().name.isdigit():
            return _of_run(run, path.resolve())
        return _of_model(target)
    if target in preset_names() or target.endswith(".toml"):
        layer = target_layer(target)[1]
        return Subject([layer], layer.origin)

    known = [*(model.name for model in catalog()), *preset_names(), *(run.name for run in list_runs(root))]
    if target in known or target.count("/") == 1:
        return _of_model(target)
    raise RlsdError(
        f"no run, checkpoint, preset or model named `{target}`",
        hint=did_you_mean(target, known) or f"runs are looked for under {root}",
        exit_code=EXIT_MACHINE,
    )


def _of_run(run: RunDir, checkpoint: Path | None = None) -> Subject:
    checkpoint = checkpoint or newest_checkpoint(run)
    if checkpoint is None:
        raise RlsdError(f"{run.path} has no checkpoint yet", hint="`rlsd train` continues it")
    layers = [
        read_toml(run.path / "config.toml", f"run {run.name}"),
        Layer(f"run {run.name}", {"model": str(from_here(checkpoint))}),
    ]
    return Subject(layers, f"the config of run {run.name}", run, int(checkpoint.name))


def from_here(path: Path) -> Path:
    """A path below the working directory as seen from it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
