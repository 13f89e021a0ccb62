"""A run from its first evaluation to its last checkpoint, and from wherever it was interrupted."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import select
from rlsd_cli.data.sources import Splits
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import RlsdError, is_full_disk
from rlsd_cli.evaluation.evaluate import Evaluation, evaluate_together
from rlsd_cli.interrupts import Interrupted, Interrupts
from rlsd_cli.policy.compile_check import compile_fault, recompilation_limits
from rlsd_cli.policy.meter import peak_mb
from rlsd_cli.policy.model import ROUNDING_GAP, Policy
from rlsd_cli.policy.models import make_models
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.runs.rundir import RunDir
from rlsd_cli.training.checkpoint import Trained, checkpoint_at, checkpoints, load_checkpoint, save_checkpoint
from rlsd_cli.training.digest import weights_digest
from rlsd_cli.training.health import warnings_of
from rlsd_cli.training.trainer import Trainer, make_trainer
from rlsd_verifiers.pool import Pool

Evaluate = Callable[[], Evaluation]
"""The policy as it is now, on the held-out problems."""


class Reporter(Protocol):
    """Where a run says how it goes."""

    def step(self, metrics: Mapping[str, Any], steps: int) -> None: ...

    def evaluation(self, step: int, summary: Mapping[str, Any]) -> None: ...

    def warning(self, kind: str, text: str) -> None: ...


def train(
    config: Config,
    policy: Policy,
    splits: Splits,
    run: RunDir,
    report: Reporter,
    pool: Pool,
    world: World | None = None,
) -> dict[str, Any]:
    """Bring a run to its end and return its summary, the object of `train --json`.

    Of several processes the leading one writes, and all read its checkpoints.

    Raises:
        Interrupted: after the state of the last finished step has been saved.
    """
    world = world or World()
    together = world.size > 1 and policy.layout != "whole"
    interrupts = Interrupts(repeated=world.size > 1, agree=world.first_of if together else None)
    plain = policy.run_as(compile=False)  # what samples, and what an engine's copy of the weights is compared with
    with contextlib.closing(make_sampler(plain, config, world)) as sampler:
        models = make_models(policy, config)
        policy = _trusted(policy, report, world)
        if world.is_leader:
            run.keep_plan(policy.execution._asdict())
        trainer = make_trainer(config, models._replace(policy=policy), sampler, pool, splits, interrupts, world)
        held_out = select(splits.held_out, config.evaluation.problems)
        evaluation = partial(evaluate_together, policy, sampler, held_out, config, pool, world)
        with recompilation_limits(lambda text: report.warning("recompilation", text)):
            _finish(trainer, evaluation, run, report)
        summary = world.broadcast(lambda: summarise(config, run))
        if world.is_leader:
            run.set_status(**summary)
        world.barrier()
    return summary


def _trusted(policy: Policy, report: Reporter, world: World) -> Policy:
    """A policy whose weights are in their places, run without compiled layers where these cannot be used."""
    fault = world.first_of(compile_fault(policy) if policy.execution.compile else None)
    if fault is None:
        return policy
    report.warning("compile", f"layers run as they are: {fault}")
    return policy.run_as(compile=False)


def _finish(trainer: Trainer, evaluation: Evaluate, run: RunDir, report: Reporter) -> None:
    """From the last checkpoint, if there is one, to the last step; on an error or a signal the state is saved."""
    config, world, learner = trainer.config, trainer.world, trainer.learner
    interrupts = learner.interrupts
    done = 0
    if saved := world.broadcast(lambda: checkpoints(run.checkpoints)):
        done = load_checkpoint(saved[-1], _trained(trainer))
    learner.sampler.update_weights()
    if world.is_leader:
        run.forget_after(done)
        run.set_status(status="running", step=done, error=None)
    with interrupts.installed():
        try:
            _milestones(trainer, evaluation, run, report, done)
            interrupts.release()
            for step in range(done + 1, config.steps + 1):
                _step(trainer, run, report, step)
                done = step
                if world.is_leader:
                    run.set_status(step=step)
                interrupts.release()
                _milestones(trainer, evaluation, run, report, step)
        except BaseException as error:
            moved_on = interrupts.held
            interrupts.hold()
            if world.is_leader:
                stopped = isinstance(error, Interrupted)
                said = {"status": "interrupted"} if stopped else {"status": "failed", "error": _in_words(error)}
                run.set_status(step=done, **said)
            if done and not moved_on and not is_full_disk(error):
                _save(trainer, run, done)
            if isinstance(error, RlsdError):
                error.hint = "\n".join(filter(None, [_what_is_kept(run, done), error.hint]))
            raise


def _what_is_kept(run: RunDir, done: int) -> str:
    """What is left of a run that stopped on an error after `done` steps."""
    saved = checkpoints(run.checkpoints)
    last = int(saved[-1].name) if saved else 0
    if last == done:
        return f"the state after step {done} is saved" if done else "no step was finished, and nothing is saved"
    there = f"the newest checkpoint is that of step {last}" if last else "there is no checkpoint yet"
    return f"weights had moved within step {done + 1}, so the state after step {done} is gone: {there}"


def suite_name(config: Config) -> str:
    """The folder name of the held-out problems under `evals/`."""
    source = config.eval_data or config.data
    return Path(source).stem if config.eval_data else f"{Path(source).stem}-held-out"


def _every(period: int, step: int) -> bool:
    return period > 0 and step % period == 0


def _step(trainer: Trainer, run: RunDir, report: Reporter, step: int) -> None:
    started = time.perf_counter()
    metrics, records = trainer.step(step)
    metrics["weights_digest"] = weights_digest(trainer.learner.policy.model, trainer.world)
    if not trainer.world.is_leader:
        return
    policy = trainer.learner.policy
    metrics["rollouts_sha256"] = run.write_rollouts(step, records)
    metrics["seconds"] = time.perf_counter() - started
    metrics["peak_memory_mb"] = peak_mb(str(policy.device))
    run.append_metrics(metrics)
    report.step(metrics, trainer.config.steps)
    gap = max(ROUNDING_GAP[policy.compute_dtype], ROUNDING_GAP[policy.sampling_dtype])
    for kind, text in warnings_of(metrics, trainer.config, policy.model.config.model_type, gap).items():
        report.warning(kind, text)


def _milestones(trainer: Trainer, evaluation: Evaluate, run: RunDir, report: Reporter, step: int) -> None:
    """What is due after a step (0: before the first), unless it is there already: an evaluation, a checkpoint."""
    config, suite = trainer.config, suite_name(trainer.config)
    last = step == config.steps
    due = step == 0 or last or _every(config.evaluation.every, step)
    if due and trainer.world.broadcast(lambda: not run.has_evaluation(suite, step)):
        found = evaluation()
        if trainer.world.is_leader:
            run.write_evaluation(suite, step, found.rows, found.summary | {"step": step})
            report.evaluation(step, found.summary)
    if step and (last or _every(config.checkpoint.every, step)):
        _save(trainer, run, step)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _save(trainer: Trainer, run: RunDir, step: int) -> None:
    """Write the checkpoint of a step, unless it is there: the leading process, or all that share the weights."""
    trained = _trained(trainer)
    writes = trainer.world.is_leader or trained.world.size > 1
    if writes and not trained.world.broadcast(lambda: checkpoint_at(run.checkpoints, step)):
        save_checkpoint(run.checkpoints, step, trained, trainer.config.checkpoint.keep)


def _trained(trainer: Trainer) -> Trained:
    learner = trainer.learner
    world = World() if learner.policy.layout == "whole" else trainer.world
    return Trained(learner.policy, learner.optimizer, learner.teacher, world)


def summarise(config: Config, run: RunDir) -> dict[str, Any]:
    """A finished run in one object, read from what it wrote."""
    metrics = run.metrics()
    rewards = [row["reward_mean"] for row in metrics[-10:] if row["reward_mean"] is not None]
    peaks = [row["peak_memory_mb"] for row in metrics if row["peak_memory_mb"] is not None]
    evaluations = {step: run.evaluation(suite_name(config), step) for step in (0, config.steps)}
    return {
        "run": str(run.path),
        "status": "done",
        "method": config.method,
        "steps": len(metrics),
        "seconds": math.fsum(row["seconds"] for row in metrics),
        "start": accuracy(evaluations[0]),
        "final": accuracy(evaluations[config.steps]),
        "reward_last10": sum(rewards) / len(rewards) if rewards else None,
        "peak_memory_mb": max(peaks, default=None),
    }


def accuracy(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {"accuracy": summary["mean"], "ci95": summary["ci95"]}
