"""A checkpoint: a plain model directory, with the trainer's state beside the weights.

Sampling and the order of problems are functions of seed and step, so weights, optimiser and teacher are all the state
there is.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.teacher import Teacher
from rlsd_cli.runs.rundir import TRAINER_STATE


def save_checkpoint(
    folder: Path, step: int, policy: Policy, optimizer: torch.optim.Optimizer, teacher: Teacher | None, keep: int
) -> Path:
    """Write `folder/000020`, under a temporary name until it is whole, and drop all but the newest `keep`."""
    for unfinished in folder.glob(".[0-9]*-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    target = folder / f"{step:06d}"
    draft = folder / f".{step:06d}-{os.getpid()}"
    draft.mkdir(parents=True)
    policy.save(draft)
    state = {"step": step, "optimizer": optimizer.state_dict(), "teacher": teacher.state() if teacher else None}
    torch.save(state, draft / TRAINER_STATE)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob("[0-9]*/" + TRAINER_STATE))


def checkpoint_at(folder: Path, step: int) -> Path | None:
    """The checkpoint of a step, if it is there and whole."""
    target = folder / f"{step:06d}"
    return target if (target / TRAINER_STATE).is_file() else None


def load_checkpoint(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer, teacher: Teacher | None) -> int:
    """Put everything back as it was after the checkpoint's step, and return that step."""
    state: dict[str, Any] = torch.load(folder / TRAINER_STATE, map_location="cpu", weights_only=True)
    policy.load_weights(folder)
    optimizer.load_state_dict(state["optimizer"])
    if teacher:
        teacher.load_state(state["teacher"])
    return int(state["step"])
