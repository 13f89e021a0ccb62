"""From a config and its problems to a run under way: weights, references, the run's folder, the plan, the steps."""

import contextlib
import logging
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

import torch

from rlsd_cli import console
from rlsd_cli.config.resolve import Resolved
from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.world import World
from rlsd_cli.evaluation.fingerprint import PINNED, inputs_of
from rlsd_cli.interrupts import Interrupted
from rlsd_cli.policy.autotune import tune
from rlsd_cli.policy.memory_estimate import check_fits
from rlsd_cli.policy.memory_parts import MB
from rlsd_cli.policy.model import Policy, load_trainable
from rlsd_cli.rollout.probes import choose_decoder
from rlsd_cli.rollout.vllm_sampler import require_vllm
from rlsd_cli.runs.rundir import RunDir, create, newest_checkpoint, point_latest, run_name
from rlsd_cli.training.forecast import memory_of, refuse_what_cannot_fit
from rlsd_cli.training.optimizer import adamw_8bit
from rlsd_cli.training.problems import RunProblems, checked
from rlsd_cli.training.run import train
from rlsd_cli.training.trackers import mirrored, require_tracker
from rlsd_verifiers.pool import Pool


def launch(resolved: Resolved, run: RunDir, problems: RunProblems, pool: Pool, world: World) -> dict[str, Any]:
    """Load the policy, check the references, make or continue the run's folder, and train: the summary of the run.

    Raises:
        SystemExit: a signal came; the state is saved, and the code is the signal's.
    """
    config = resolved.config
    free_bytes = refuse_what_cannot_fit(resolved, run.path.parent)
    policy = _load(config)
    splits = checked(problems.splits, config, pool)
    with contextlib.ExitStack() as held:
        if world.is_leader:
            held.enter_context(_opened(run, resolved, problems))
        policy = policy.run_as(**world.broadcast(lambda: run.plan() or tune(policy, config)._asdict()))
        log = held.enter_context(_log(run, world))
        _note_memory(run, config, policy, problems._replace(splits=splits), free_bytes, world)
        _announce(run, config, policy, world)
        console.talk(f"plan {policy.execution.in_words()}")
        _quieten(log)
        progress = console.Progress(config.steps, log)
        tracked = mirrored(progress, run, config) if config.tracker != "none" and world.is_leader else None
        try:
            return train(config, policy, splits, run, tracked or progress, pool, world)
        except Interrupted as interrupt:
            progress.close()
            if world.is_leader:
                _say_interrupted(run, resolved)
            raise SystemExit(interrupt.exit_code) from None
        except Exception:
            traceback.print_exc(file=log)
            raise
        finally:
            if tracked:
                tracked.close()
            progress.close()


def _load(config: Config) -> Policy:
    """Load the policy to train, once the packages that the config asks for are there, and find its decoder."""
    require_tracker(config)
    if config.optim.state == "8bit":
        adamw_8bit()
    if config.rollout.engine == "vllm" and not config.rollout.servers:
        require_vllm()
    policy = load_trainable(config)
    if config.rollout.engine == "transformers":
        choose_decoder(policy)
    return policy


@contextlib.contextmanager
def _opened(run: RunDir, resolved: Resolved, problems: RunProblems) -> Iterator[None]:
    """Hold the folder of a run, made if it is not there, with what the run is made from."""
    if not run.path.exists():
        create(run, resolved)
    with run.lock():
        if run.config().steps != resolved.config.steps:
            run.extend(resolved.config)
        run.pin_data(problems.described)
        run.pin_inputs(inputs_of(resolved.config), PINNED)
        run.set_status(overlong=problems.num_overlong)
        point_latest(run)
        yield


def _log(run: RunDir, world: World) -> TextIO:
    name = "train.log" if world.is_leader else f"process-{world.rank}.log"
    return (run.path / "logs" / name).open("a", encoding="utf-8")


def _note_memory(
    run: RunDir, config: Config, policy: Policy, problems: RunProblems, free_bytes: int | None, world: World
) -> None:
    """Keep the estimate of the run's memory, and warn if that may be more than is free."""
    if memory := memory_of(config, policy, problems.splits.train):
        if world.is_leader:
            run.set_status(estimated_memory_mb=memory.peak_bytes // MB)
        if free_bytes is not None and (tight := check_fits(memory, free_bytes)):
            console.warning(tight)


def _announce(run: RunDir, config: Config, policy: Policy, world: World) -> None:
    """Say in one line what runs, from where, and on what."""
    checkpoint = newest_checkpoint(run)
    step = int(checkpoint.name) if checkpoint else 0
    where = f"continuing at step {step + 1} of {config.steps}" if step else f"{config.steps} steps"
    shape = f"{config.prompts_per_step} problems x {config.group_size}"
    device = f"{policy.device.type}, {torch.get_num_threads()} threads" if policy.device.type == "cpu" else "GPU"
    if world.size > 1:
        device = f"{world.size} processes, {device} each"
    console.talk(f"run {run.path}  {config.method}  {config.model}  {where}  {shape}  {device}")


def _say_interrupted(run: RunDir, resolved: Resolved) -> None:
    step = run.status()["step"]
    console.say(f"interrupted at step {step}, state saved" if step else "interrupted before the first step")
    same = "the same command" if run.name == run_name(resolved) else f"`rlsd train {run.path}/config.toml`"
    console.say(f"\nhint: {same} continues")


def _quieten(log: TextIO) -> None:
    """Send warnings and what libraries say to the log file."""
    logging.basicConfig(stream=log, level=logging.INFO, force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
