"""`rlsd train`: one run."""

import contextlib
import logging
import os
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.commands.fitting import fitted_splits, load_tried
from rlsd_cli.commands.memory import forecast, memory_of, refuse_what_cannot_fit
from rlsd_cli.errors import RlsdError

if TYPE_CHECKING:
    from rlsd_cli.config.resolve import Resolved
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.sources import Splits
    from rlsd_cli.distributed.world import World
    from rlsd_cli.policy.model import Policy
    from rlsd_cli.runs.inputs import Change
    from rlsd_cli.runs.rundir import RunDir
    from rlsd_verifiers.pool import Pool


def train(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[PRESET|FILE] [KEY=VALUE]...", help="Without one: quickstart.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", "--method", help="The method: rlvr, opsd, rlsd, ...; as `method=`.", metavar="METHOD"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the config and what a step is, then stop.")] = False,
    again: Annotated[bool, typer.Option("--again", help="A new attempt beside a run of the same config.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Train a policy. The same command continues an interrupted run; a finished one says so."""
    from rlsd_cli.config.resolve import resolve, split_arguments

    console.quiet = quiet
    targets, overrides = split_arguments(arguments or [])
    if mode is not None:
        overrides["method"] = mode
    resolved = resolve(targets, overrides)
    if os.environ.get("RANK", "0") == "0":
        for note in resolved.notes:
            console.talk(note)
    if dry_run:
        if os.environ.get("RANK", "0") == "0":
            _show(resolved, context.obj, as_json)
        return
    from rlsd_cli.distributed.world import process_group

    with process_group() as world:
        if not world.is_leader:
            console.quiet, console.speaker = True, f"process {world.rank}: "
        summary = _attempt(resolved, context.obj, again, world)
        if world.is_leader:
            _result(summary, as_json)


def _attempt(resolved: "Resolved", root: Path, again: bool, world: "World") -> dict[str, Any]:
    """The summary of a run, of one that is finished as it is."""
    from rlsd_cli.runs.rundir import find_run

    run = world.broadcast(lambda: find_run(root, resolved, again=again))
    if world.broadcast(lambda: run.path.exists() and run.status()["status"] == "done"):
        console.talk(f"run {run.path} is finished; `--again` makes another attempt beside it")
        return run.status() | {"run": str(run.path)} | (_changed(run, resolved.config) if world.is_leader else {})
    return _train(resolved, run, world)


def _changed(run: "RunDir", config: "Config") -> dict[str, Any]:
    """`changed`, where something has or where that cannot be told (None); each is a warning, too."""
    try:
        found = changed_since(run, config)
    except RlsdError as error:
        console.warning(f"cannot tell what has changed since this run began: {error.message}")
        return {"changed": None}
    for change in found:
        console.warning(f"since this run began, {change.in_words()}")
    return {"changed": [change._asdict() for change in found]} if found else {}


def changed_since(run: "RunDir", config: "Config") -> "list[Change]":
    """What a run was made from that is another now; nothing for a run that kept no record of it.

    A data file counts as changed where the problems in it are others.
    """
    from rlsd_cli.evaluation.fingerprint import DATA, PINNED, inputs_of
    from rlsd_cli.runs.inputs import changes

    if not (known := run.inputs()):
        return []
    now = inputs_of(config)
    files = changes(known, now, DATA)
    if files and all(file.now for file in files):
        files = _other_problems(run, config, files)
    return [*files, *changes(known, now, PINNED)]


def _other_problems(run: "RunDir", config: "Config", files: "list[Change]") -> "list[Change]":
    """These files in one change that counts their problems; none where the problems are the same."""
    from rlsd_cli.data.curriculum import bound
    from rlsd_cli.data.sources import describe_splits, load_splits

    try:
        splits = load_splits(config)
    except RlsdError as error:
        return [file._replace(now=f"not readable ({error.message})") for file in files]
    known, now = run.data(), describe_splits(splits._replace(train=bound(splits.train, config).kept))
    if known is None or known == now:
        return []
    was_said, now_said = (
        ", ".join(
            f"{s['problems']:,} {name.replace('_', '-')} problems (sha256 {s['sha256'][:8]})"
            for name, s in each.items()
        )
        for each in (known, now)
    )
    return [files[0]._replace(where="`, `".join(file.where for file in files), was=was_said, now=now_said)]


def _train(resolved: "Resolved", run: "RunDir", world: "World") -> dict[str, Any]:
    from rlsd_cli.data.sources import describe_splits, load_splits
    from rlsd_cli.grading.jobs import open_pool

    if world.is_leader and run.path.exists():
        with run.lock():
            pass
    model = load_tried(resolved.config)
    with open_pool(resolved.config) as pool:
        splits = _bounded(load_splits(resolved.config), resolved.config)
        splits, left_out = fitted_splits(splits, resolved.config, model)
        return _train_on(splits, describe_splits(splits), left_out, resolved, run, pool, world)


def _train_on(
    splits: "Splits",
    data: Mapping[str, Any],
    left_out: Mapping[str, int],
    resolved: "Resolved",
    run: "RunDir",
    pool: "Pool",
    world: "World",
) -> dict[str, Any]:
    import torch

    from rlsd_cli.evaluation.fingerprint import PINNED, inputs_of
    from rlsd_cli.interrupts import Interrupted
    from rlsd_cli.policy.autotune import tune
    from rlsd_cli.policy.memory_estimate import check_fits
    from rlsd_cli.policy.memory_parts import MB
    from rlsd_cli.runs.rundir import create, newest_checkpoint, point_latest, run_name
    from rlsd_cli.training.run import train as run_training

    config = resolved.config
    free = refuse_what_cannot_fit(resolved, run.path.parent)
    policy = _load(config)
    splits = _checked(splits, config, pool)
    with contextlib.ExitStack() as held:
        if world.is_leader:
            if not run.path.exists():
                create(run, resolved)
            held.enter_context(run.lock())
            run.pin_data(data)
            run.pin_inputs(inputs_of(config), PINNED)
            run.set_status(overlong=left_out)
            point_latest(run)
        policy = policy.run_as(**world.broadcast(lambda: run.plan() or tune(policy, config)._asdict()))
        name = "train.log" if world.is_leader else f"process-{world.rank}.log"
        log = held.enter_context((run.path / "logs" / name).open("a", encoding="utf-8"))
        if memory := memory_of(config, policy, splits.train):
            if world.is_leader:
                run.set_status(estimated_memory_mb=memory.peak_bytes // MB)
            if free is not None and (tight := check_fits(memory, free)):
                console.warning(tight)
        checkpoint = newest_checkpoint(run)
        step = int(checkpoint.name) if checkpoint else 0
        where = f"continuing at step {step + 1} of {config.steps}" if step else f"{config.steps} steps"
        shape = f"{config.prompts_per_step} problems x {config.group_size}"
        device = f"{policy.device.type}, {torch.get_num_threads()} threads" if policy.device.type == "cpu" else "GPU"
        if world.size > 1:
            device = f"{world.size} processes, {device} each"
        console.talk(f"run {run.path}  {config.method}  {config.model}  {where}  {shape}  {device}")
        console.talk(f"plan {policy.execution.in_words()}")
        _quieten(log)
        progress = console.Progress(config.steps, log)
        try:
            return run_training(config, policy, splits, run, progress, pool, world)
        except Interrupted as interrupt:
            progress.close()
            if not world.is_leader:
                raise typer.Exit(interrupt.exit_code) from None
            step = run.status()["step"]
            console.say(f"interrupted at step {step}, state saved" if step else "interrupted before the first step")
            same = "the same command" if run.name == run_name(resolved) else f"`rlsd train {run.path}/config.toml`"
            console.say(f"\nhint: {same} continues")
            raise typer.Exit(interrupt.exit_code) from None
        except Exception:
            traceback.print_exc(file=log)
            raise
        finally:
            progress.close()


def _load(config: "Config") -> "Policy":
    """Load the policy to train, once the packages that the config asks for are there, and find its decoder."""
    from rlsd_cli.policy.model import load_trainable
    from rlsd_cli.rollout.probes import choose_decoder
    from rlsd_cli.training.optimizer import adamw_8bit

    if config.optim.state == "8bit":
        adamw_8bit()
    if config.rollout.engine == "vllm" and not config.rollout.servers:
        from rlsd_cli.rollout.vllm_sampler import require_vllm

        require_vllm()
    policy = load_trainable(config)
    if config.rollout.engine == "transformers":
        choose_decoder(policy)
    return policy


def _bounded(splits: "Splits", config: "Config") -> "Splits":
    """The splits with the training problems that the curriculum takes."""
    from rlsd_cli.data.curriculum import bound, is_used

    bounded = bound(splits.train, config)
    if is_used(config):
        console.talk(f"curriculum: {bounded.in_words(config)}")
    return splits._replace(train=bounded.kept)


def _checked(splits: "Splits", config: "Config", pool: "Pool") -> "Splits":
    """The problems that can be used. What cannot be graded is counted and left out; a missing view is an error."""
    from rlsd_cli.data.prompts import teacher_texts
    from rlsd_cli.data.sources import Splits
    from rlsd_cli.grading.jobs import check_problems, describe_faults

    kept = []
    for name, problems in zip(("training", "held-out"), splits, strict=True):
        graded = name == "held-out" or config.recipe.responses == "policy"
        faults = check_problems(problems, config, pool) if graded else {}
        if faults:
            console.warning(f"{len(problems)} {name} problems, of which {describe_faults(faults)}")
        kept.append([problem for problem in problems if problem.id not in faults])
        if not kept[-1]:
            raise RlsdError(
                f"no {name} answer of `{config.data}` can be graded: {next(iter(faults.values()))}",
                hint="choose another `verifier`, or mend the `answer` fields",
            )
    for problem in kept[0]:
        teacher_texts(problem, config)
        if config.recipe.responses == "solution" and not problem.solution:
            raise RlsdError(f"problem `{problem.id}` has no `solution` to learn from", hint="`sft` needs solutions")
    return Splits(*kept)


def _quieten(log: Any) -> None:
    """Warnings and library chatter go to the log file."""
    logging.basicConfig(stream=log, level=logging.INFO, force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("default")


def _result(summary: dict[str, Any], as_json: bool) -> None:
    keys = ("run", "status", "method", "steps", "seconds", "start", "final", "reward_last10", "peak_memory_mb")
    if as_json:
        changed = {"changed": summary["changed"]} if "changed" in summary else {}
        console.data_json({key: summary.get(key) for key in keys} | changed)
        return
    checkpoint = Path(summary["run"]) / "checkpoints" / f"{summary['steps']:06d}"
    console.table(
        ("method", "steps", "seconds", "accuracy at start", "accuracy at the end", "reward, last 10 steps"),
        [
            (
                summary["method"],
                summary["steps"],
                f"{summary['seconds']:.0f}",
                console.interval(summary["start"], "accuracy"),
                console.interval(summary["final"], "accuracy"),
                "-" if summary["reward_last10"] is None else f"{summary['reward_last10']:.3f}",
            )
        ],
    )
    console.talk(f"written to {summary['run']} (policy: {checkpoint})")


def _show(resolved: "Resolved", root: Path, as_json: bool) -> None:
    from rlsd_cli.config.schema import flatten
    from rlsd_cli.data.sources import check_task
    from rlsd_cli.runs.rundir import run_name

    for data in filter(None, (resolved.config.data, resolved.config.eval_data)):
        check_task(data)
    values, memory = flatten(resolved.config), forecast(resolved, root)
    if as_json:
        shown = {key: {"value": value, "origin": resolved.origins[key]} for key, value in values.items()}
        console.data_json(shown | {"memory": memory.as_json()})
    else:
        console.table(("key", "value", "origin"), [(key, repr(v), resolved.origins[key]) for key, v in values.items()])
    console.talk(f"\nrun      {run_name(resolved)}")
    for line in [*algebra(resolved.config), *memory.in_lines()]:
        console.talk(line)


def algebra(config: "Config") -> list[str]:
    """What one step is, in words."""
    method, rollouts = config.recipe, config.rollouts_per_step
    updates = config.optim.updates_per_batch
    most = rollouts * config.rollout.max_new_tokens
    budget = config.optim.tokens_per_microbatch
    tokens = f"at most {budget:,} tokens" if budget else "as many tokens as are measured to be fast"
    if method.responses == "solution":
        lines = [f"a step   {config.prompts_per_step} problems with their worked solutions"]
    else:
        lines = [
            f"a step   {config.prompts_per_step} problems x {config.group_size} responses = {rollouts} "
            f"rollouts of at most {config.rollout.max_new_tokens} tokens ({most:,} in all)"
        ]
    lines.append(
        f"update   {updates} optimiser step{'s' if updates > 1 else ''} of {rollouts // updates} rollouts, cut into "
        f"micro-batches of {tokens} (the cut does not change the loss)"
    )
    lines.append(f"method   {method.name}: {method.summary}")
    for name, schedule in method.schedules.items():
        first, last = schedule(config.credit, 1), schedule(config.credit, config.steps)
        lines.append(f"{name:<8} {first:g} in step 1, {last:g} in step {config.steps}")
    if method.views:
        sync = f", synced every {config.teacher.sync_every} steps" if config.teacher.weights == "snapshot" else ""
        shown = ", ".join(dict.fromkeys(view.shows or config.teacher.view for view in method.views.values()))
        lines.append(f"teacher  {config.teacher.weights} weights{sync}, reads the {shown}")
    seen = config.steps * config.prompts_per_step
    lines.append(f"run      {config.steps} steps see {seen:,} problems and draw {seen * config.group_size:,} responses")
    return lines
