"""Mirrors of a run's metrics in a tracker. `metrics.jsonl` is the truth: a tracker that fails is a warning."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rlsd_cli.config.schema import Config, flatten
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.runs.rundir import RunDir
from rlsd_cli.training.run import Reporter

Numbers = Mapping[str, float]


class Tracker(Protocol):
    """Where numbers of a step go."""

    def log(self, numbers: Numbers, step: int) -> None: ...

    def close(self) -> None: ...


class Mirrored:
    """A reporter whose numbers a tracker is given, too; after its first failure it is not asked again."""

    def __init__(self, report: Reporter, name: str, begin: Callable[[], Tracker]) -> None:
        self.report = report
        self.name = name
        self.begin = begin
        self.tracker: Tracker | None = None
        self.failed = False

    def step(self, metrics: Mapping[str, Any], steps: int) -> None:
        self.report.step(metrics, steps)
        self._log(numbers_of(metrics), metrics["step"])

    def evaluation(self, step: int, summary: Mapping[str, Any]) -> None:
        self.report.evaluation(step, summary)
        self._log({f"eval/{name}": value for name, value in numbers_of(summary).items()}, step)

    def warning(self, kind: str, text: str) -> None:
        self.report.warning(kind, text)

    def close(self) -> None:
        """End the tracker's record."""
        if self.tracker is not None and not self.failed:
            self._tried(self.tracker.close)

    def _log(self, numbers: Numbers, step: int) -> None:
        def log() -> None:
            if self.tracker is None:
                self.tracker = self.begin()
            self.tracker.log(numbers, step)

        if not self.failed:
            self._tried(log)

    def _tried(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # whatever another library raises, the run goes on
            self.failed = True
            self.report.warning("tracker", f"{self.name} is not written any more: {type(error).__name__}: {error}")


def numbers_of(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among values, those of tables by `table/name`."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in numbers_of(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found[name] = float(value)
    return found


class _TensorBoard:
    def __init__(self, run: RunDir, config: Config) -> None:
        from torch.utils.tensorboard import SummaryWriter

        del config
        self.folder = str(run.path / "logs" / "tensorboard")
        self.make: Callable[..., Any] = SummaryWriter
        self.writer: Any = None

    def log(self, numbers: Numbers, step: int) -> None:
        if self.writer is None:  # what an interrupted run had written of later steps goes
            self.writer = self.make(self.folder, purge_step=step)
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class _WandB:
    def __init__(self, run: RunDir, config: Config) -> None:
        import wandb

        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        folder = run.path / "logs"
        self.run: Any = wandb.init(
            project="rlsd", name=run.name, id=run.name, resume="allow", dir=str(folder), config=flatten(config)
        )

    def log(self, numbers: Numbers, step: int) -> None:
        self.run.log(dict(numbers), step=step)

    def close(self) -> None:
        self.run.finish()


class _Trackio:
    def __init__(self, run: RunDir, config: Config) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.path / "logs" / "trackio"))
        import trackio

        self.trackio: Any = trackio
        trackio.init(project="rlsd", name=run.name, resume="allow", config=flatten(config))

    def log(self, numbers: Numbers, step: int) -> None:
        self.trackio.log(dict(numbers), step=step)

    def close(self) -> None:
        self.trackio.finish()


TRACKERS: Mapping[str, tuple[str, Callable[[RunDir, Config], Tracker]]] = {
    "tensorboard": ("tensorboard", _TensorBoard),
    "wandb": ("wandb", _WandB),
    "trackio": ("trackio", _Trackio),
}
"""The package of each, and what it begins with."""


def require_tracker(config: Config) -> None:
    """Find the package of the tracker that a config asks for, before anything is loaded.

    Raises:
        RlsdError: (exit 3) it is not installed.
    """
    import importlib.util

    if config.tracker == "none":
        return
    package, _ = TRACKERS[config.tracker]
    if importlib.util.find_spec(package) is None:
        raise RlsdError(
            f"`tracker={config.tracker}` needs the package `{package}`",
            hint="`pip install 'rlsd[track]'`",
            exit_code=EXIT_MACHINE,
        )


def mirrored(report: Reporter, run: RunDir, config: Config) -> Mirrored:
    """A reporter that gives its numbers to the tracker of a config, too."""
    _, make = TRACKERS[config.tracker]
    return Mirrored(report, config.tracker, lambda: make(run, config))
