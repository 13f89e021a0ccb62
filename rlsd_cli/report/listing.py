"""What runs there are, and what happened in one: read from their folders, which may be copies."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.differences import differences
from rlsd_cli.config.schema import config_type
from rlsd_cli.errors import RlsdError
from rlsd_cli.runs.rundir import STALE_SECONDS, RunDir, list_runs, named_run, newest_checkpoint, read_json

POLL_SECONDS = 1.0


class Listed(NamedTuple):
    """A run in a line: `start` and `final` are held-out accuracies with their intervals, where they are known.

    status: that of status.json; `stopped` where it says `running` and nobody runs it
    """

    name: str
    status: str
    method: str
    step: int
    steps: int | None
    start: dict[str, Any] | None
    final: dict[str, Any] | None
    seconds: float | None
    changed: float
    error: str | None


def listed(root: Path) -> list[Listed]:
    """All runs under a root, the one that changed last at the end."""
    return sorted((_listed(run) for run in list_runs(root)), key=lambda each: each.changed)


def _listed(run: RunDir) -> Listed:
    status = run.status()
    try:
        steps = run.config().steps
    except RlsdError:  # a config of another version: the rest can be told all the same
        steps = None
    return Listed(
        name=run.name,
        status=state_of(status),
        method=status.get("method", "-"),
        step=status.get("step", 0),
        steps=steps,
        start=status.get("start"),
        final=status.get("final"),
        seconds=status.get("seconds"),
        changed=status["heartbeat"],
        error=status.get("error"),
    )


def state_of(status: dict[str, Any]) -> str:
    """The status of a run, `stopped` where the process that ran it is gone or has been silent for long."""
    if status["status"] != "running":
        return str(status["status"])
    if status["host"] != socket.gethostname():
        return "running" if time.time() - status["heartbeat"] < STALE_SECONDS else "stopped"
    try:
        os.kill(status["pid"], 0)
    except ProcessLookupError:
        return "stopped"
    except PermissionError:
        pass
    return "running"


def when(seconds: float) -> str:
    """A time of the clock as people write it."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


class Story(NamedTuple):
    """What there is to know of a run."""

    listed: Listed
    path: str
    command: str
    differences: list[tuple[str, str, str]]
    evaluations: list[dict[str, Any]]
    checkpoints: list[str]
    last: dict[str, Any] | None
    warnings: list[str]
    environment: dict[str, Any]


def story(name: Path, root: Path) -> Story:
    """Read a run, by its path or its name under a root.

    What differs from the defaults of its method, what was evaluated, the last step, warnings.
    """
    run = named_run(name, root)
    config = run.config()
    default = config_type(config.method).model_validate({"method": config.method, **_nested(config.recipe.defaults)})
    log = run.path / "logs" / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    newest = newest_checkpoint(run)
    there = sorted(path.name for path in run.checkpoints.glob("[0-9]*")) if newest else []
    metrics = run.metrics()
    command = run.path / "command.txt"
    return Story(
        listed=_listed(run),
        path=str(run.path),
        command=command.read_text(encoding="utf-8").splitlines()[0] if command.is_file() else "",
        differences=[each.row() for each in differences(default, config)],
        evaluations=list(evaluations(run)),
        checkpoints=there,
        last=metrics[-1] if metrics else None,
        warnings=list(dict.fromkeys(line for line in lines if line.startswith("warning: "))),
        environment=read_json(run.path / "environment.json") if (run.path / "environment.json").is_file() else {},
    )


def _nested(flat: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def evaluations(run: RunDir) -> Iterator[dict[str, Any]]:
    """The summaries of a run's evaluations, by suite and step."""
    for path in sorted(run.path.glob("evals/*/[0-9]*/summary.json")):
        yield {"suite": path.parts[-3], "step": int(path.parts[-2])} | read_json(path)


def steps_of(name: Path, root: Path, last: int, *, follow: bool) -> Iterator[dict[str, Any]]:
    """The last lines of a run's metrics, and with `follow` those that come, until it has ended."""
    run = named_run(name, root)
    rows = run.metrics()
    yield from rows[max(0, len(rows) - last) :]
    done = rows[-1]["step"] if rows else 0
    while follow and state_of(run.status()) in ("running", "created"):
        time.sleep(POLL_SECONDS)
        yield from (new := [row for row in run.metrics() if row["step"] > done])
        done = new[-1]["step"] if new else done


def counted(runs: Sequence[Listed]) -> str:
    """How many runs there are of each status."""
    counts: dict[str, int] = {}
    for each in runs:
        counts[each.status] = counts.get(each.status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items())
