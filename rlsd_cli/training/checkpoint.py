"""A checkpoint: a plain model directory, with the trainer's state beside the weights.

Sampling and the order of problems are functions of seed and step, so weights, optimiser and teacher are all the state
there is. It is written by `torch.distributed.checkpoint`: each process writes its shares, and any number reads them.
"""

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from rlsd_cli.distributed.world import World
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, is_full_disk
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.teacher import Teacher
from rlsd_cli.runs.rundir import TRAINER_STATE


class Trained(NamedTuple):
    """What changes during a run. `world`: the processes that share it; one, where each process has all of it."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    teacher: Teacher | None
    world: World = World()

    def state(self) -> dict[str, Any]:
        """All but the weights, by the names of the parameters."""
        fresh = not self.optimizer.state
        optimizer: dict[str, Any] = get_optimizer_state_dict(self.policy.model, self.optimizer)
        if fresh:  # to be asked, it has made a step with gradients of 0
            self.optimizer.state.clear()
            for moments in optimizer["state"].values():
                moments["step"] = moments["step"] * 0
        return {"step": 0, "optimizer": optimizer, "teacher": (self.teacher and self.teacher.state()) or {}}


def save_checkpoint(folder: Path, step: int, trained: Trained, keep: int) -> Path:
    """Write `folder/000020`, under a temporary name until it is whole, and drop all but the newest `keep`.

    Of processes that share the weights all take part.
    """
    target, draft, world = folder / f"{step:06d}", folder / f".{step:06d}-draft", trained.world

    def begin() -> None:
        for unfinished in folder.glob(".[0-9]*-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        draft.mkdir(parents=True)

    def finish() -> None:
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)

    world.broadcast(begin)
    try:
        trained.policy.save(draft, writes=world.is_leader)
        with _quietly():
            save(trained.state() | {"step": step}, checkpoint_id=draft / TRAINER_STATE, no_dist=world.size == 1)
    except Exception as error:
        shutil.rmtree(draft, ignore_errors=True)
        if is_full_disk(error):
            raise RlsdError(
                f"the checkpoint of step {step} cannot be written: the disk of {folder} is full",
                hint="make room there; older checkpoints are whole, and the same command continues from the newest",
                exit_code=EXIT_MACHINE,
            ) from error
        raise
    world.broadcast(finish)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob("[0-9]*/" + TRAINER_STATE))


def checkpoint_at(folder: Path, step: int) -> Path | None:
    """The checkpoint of a step, if it is there and whole."""
    target = folder / f"{step:06d}"
    return target if (target / TRAINER_STATE).is_dir() else None


def load_checkpoint(folder: Path, trained: Trained) -> int:
    """Put everything back as it was after the checkpoint's step, and return that step."""
    policy, optimizer, teacher, world = trained
    policy.load_weights(folder)
    state = trained.state()
    with _quietly():
        load(state, checkpoint_id=folder / TRAINER_STATE, no_dist=world.size == 1)
    set_optimizer_state_dict(policy.model, optimizer, state["optimizer"])
    if teacher and state["teacher"]:
        teacher.load_state(state["teacher"])
    return int(state["step"])


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warning that there is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        yield
