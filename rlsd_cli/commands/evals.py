"""`rlsd eval`: a run, a checkpoint, a preset's model or any model, on held-out problems."""

import contextlib
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rlsd_cli import console
from rlsd_cli.commands.fitting import fitted, load_tried, say_forged
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rlsd_cli.config.resolve import Layer
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.evaluation.evaluate import Evaluation
    from rlsd_cli.runs.rundir import RunDir


class Subject(NamedTuple):
    """What is evaluated.

    layers: where its config comes from
    settings: in words, where all but the model comes from; None for a model that has the defaults
    run, step: what the result belongs to; without a run it belongs to the model
    """

    layers: "list[Layer]"
    settings: str | None = None
    run: "RunDir | None" = None
    step: int = 0


def evaluate(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT|MODEL] [KEY=VALUE]...",
            help="Without one: the newest finished run, or quickstart. `model=` evaluates another model.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Problems: a file, a benchmark (all are used) or a task.")] = None,
    samples: Annotated[int | None, typer.Option(help="Responses per problem; above 1 they are sampled.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score a policy on held-out problems, with 95 % intervals."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments
    from rlsd_cli.distributed.ranks import num_processes

    console.quiet = quiet
    if num_processes() > 1:
        raise RlsdError("`rlsd eval` runs in one process", hint="leave out `torchrun`")
    targets, overrides = split_arguments(arguments or [])
    if len(targets) > 1:
        raise RlsdError(f"one thing is evaluated at a time, not {len(targets)}: {', '.join(targets)}")
    if data is not None:
        from rlsd_cli.data.sources import parse_source
        from rlsd_cli.data.tasks import TASKS

        overrides["eval_data"] = data
        if parse_source(data).name not in TASKS:
            overrides.setdefault("evaluation.problems", sys.maxsize)
    if samples is not None:
        overrides["evaluation.samples"] = samples
    subject = find_subject(targets[0] if targets else None, context.obj, overrides.get("model"))
    config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config
    if config.evaluation.samples > 1 and config.evaluation.temperature == 0:
        overrides["evaluation.temperature"] = 1.0
        config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config

    from rlsd_cli.data.sources import load_held_out
    from rlsd_cli.evaluation.evaluate import select
    from rlsd_cli.grading.jobs import check_problems, describe_faults, open_pool

    model, limit = load_tried(config), config.evaluation.max_new_tokens or config.rollout.max_new_tokens
    held_out, most = load_held_out(config), config.evaluation.problems
    fitting = fitted(held_out, "problems", config, model, limit, select(held_out, most))
    problems = select(fitting.kept, most)
    say_forged(problems, config, model)
    with open_pool(config) as pool:
        from rlsd_cli.evaluation.evaluate import conclude
        from rlsd_cli.evaluation.evaluate import evaluate as run_evaluation
        from rlsd_cli.policy.model import load_policy
        from rlsd_cli.rollout.engine import make_sampler

        policy = load_policy(config)
        if faults := check_problems(problems, config, pool):
            console.warning(f"{len(problems)} problems, of which {describe_faults(faults)}")
        with contextlib.closing(make_sampler(policy, config)) as sampler:
            sampler.update_weights()
            folder = folder_of(subject, config, problems, context.obj)
            console.talk(
                f"evaluating {config.model} on {len(problems)} problems x {config.evaluation.samples}, "
                f"with {subject.settings or 'the defaults'}"
            )
            started = time.perf_counter()
            evaluation = conclude(run_evaluation(policy, sampler, problems, config, pool), config, started)
    evaluation = evaluation._replace(summary=evaluation.summary | {"overlong": len(fitting.left_out)})
    try:
        _keep(evaluation, folder, config)
    finally:
        _show(evaluation.summary | {"folder": str(_from_here(folder))}, as_json)
    console.talk(f"written to {_from_here(folder)}")


def folder_of(subject: Subject, config: "Config", problems: "Sequence[Problem]", root: Path) -> Path:
    """Where the result is kept: in the run, or under the name of the model."""
    from rlsd_cli.evaluation.fingerprint import model_digest
    from rlsd_cli.runs.rundir import model_dir

    suite = suite_of(config, problems)
    if subject.run:
        return subject.run.evaluation_dir(suite, subject.step)
    return model_dir(root, config.model, model_digest(config.model)) / "evals" / suite


def suite_of(config: "Config", problems: "Iterable[Problem]") -> str:
    """A folder name that differs for evaluations that differ: by problems, prompt, verifier, sampling or seed."""
    from rlsd_cli.data.inputs import name_of
    from rlsd_cli.data.sources import problems_digest
    from rlsd_cli.evaluation.difficulty import sampling_of
    from rlsd_cli.grading.jobs import verdict_settings

    what = [
        *(problems_digest(problems), config.seed, config.dtype, config.prompt.model_dump()),
        *(config.rollout.engine, config.rollout.dtype, config.evaluation.samples, sampling_of(config)),
        *verdict_settings(config),
    ]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return f"{name_of(config.eval_data or config.data)}-k{config.evaluation.samples}-{digest[:8]}"


def _keep(evaluation: "Evaluation", folder: Path, config: "Config") -> None:
    """Write an evaluation, with the config that it was made with."""
    from rlsd_cli.config.resolve import to_toml
    from rlsd_cli.runs.rundir import write_evaluation, write_text

    try:
        write_evaluation(folder, evaluation.rows, evaluation.summary)
        write_text(folder / "config.toml", to_toml(config))
    except OSError as error:
        raise RlsdError(f"cannot write {folder}: {error.strerror}", exit_code=EXIT_MACHINE) from error


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
    from rlsd_cli.config.resolve import Layer, target_layer
    from rlsd_cli.policy.catalog import QUICKSTART

    if model == QUICKSTART.name:
        return Subject([target_layer(QUICKSTART.name)[1]], f"preset {model}")
    return Subject([Layer(f"model {model}", {"model": model})])


def _named(target: str | None, root: Path) -> Subject:
    from rlsd_cli.config.resolve import preset_names, target_layer
    from rlsd_cli.policy.catalog import QUICKSTART
    from rlsd_cli.runs.rundir import RunDir, list_runs, newest_finished

    if target is None:
        run = newest_finished(root)
        return _of_run(run) if run else _of_model(QUICKSTART.name)
    for path in (Path(target), root / target):
        if (path / "status.json").is_file():
            return _of_run(RunDir(path.resolve()))
    from rlsd_cli.policy.catalog import catalog, is_model

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
        exit_code=3,
    )


def _from_here(path: Path) -> Path:
    """A path below the working directory as seen from it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _of_run(run: "RunDir", checkpoint: Path | None = None) -> Subject:
    from rlsd_cli.config.resolve import Layer, read_toml
    from rlsd_cli.runs.rundir import newest_checkpoint

    checkpoint = checkpoint or newest_checkpoint(run)
    if checkpoint is None:
        raise RlsdError(f"{run.path} has no checkpoint yet", hint="`rlsd train` continues it")
    layers = [
        read_toml(run.path / "config.toml", f"run {run.name}"),
        Layer(f"run {run.name}", {"model": str(_from_here(checkpoint))}),
    ]
    return Subject(layers, f"the config of run {run.name}", run, int(checkpoint.name))


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.data_json(summary)
        return
    num_problems, counts = summary["problems"], summary["pass_at_k_problems"]

    def of(count: int) -> str:
        return "" if count == num_problems else f" ({count} of {num_problems} problems)"

    passes = [
        (f"pass@{k}", ("-" if mean is None else f"{mean:.3f}") + of(counts[k]))
        for k, mean in summary["pass_at_k"].items()
    ]
    missing = f"{summary['no_verdict']} of {summary['responses']} responses"
    rows = [
        ("accuracy", console.interval(summary) + of(summary["n"])),
        ("problems", f"{num_problems} x {summary['samples']}"),
        *([("  too long, left out", summary["overlong"])] if summary.get("overlong") else []),
        *([("without a verdict", missing)] if summary["no_verdict"] else []),
        *(passes if summary["samples"] > 1 else []),
        ("tokens per response", f"{summary['tokens_per_response']:.1f}"),
        ("cut at the limit", f"{summary['truncated_rate']:.1%}"),
        ("leakage", f"{summary['leakage_rate']:.1%}"),
        *((f"  {outcome}", count) for outcome, count in summary["outcomes"].items()),
    ]
    console.table((summary["data"], summary["model"]), rows)
