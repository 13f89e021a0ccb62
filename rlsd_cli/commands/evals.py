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
from rlsd_cli.errors import RlsdError, did_you_mean

if TYPE_CHECKING:
    from rlsd_cli.config.resolve import Layer
    from rlsd_cli.config.schema import Config
    from rlsd_cli.runs.rundir import RunDir


class Subject(NamedTuple):
    """What is evaluated: the layers its config comes from, and the run and step it belongs to, if any."""

    layers: "list[Layer]"
    run: "RunDir | None" = None
    step: int = 0


def evaluate(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT|MODEL] [KEY=VALUE]...",
            help="Without one: the newest finished run, or quickstart.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Problems: a file, a benchmark (all are used) or a task.")] = None,
    samples: Annotated[int | None, typer.Option(help="Responses per problem; above 1 they are sampled.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score a policy on held-out problems, with 95 % intervals."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments
    from rlsd_cli.policy.meter import num_processes

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
    subject = find_subject(targets[0] if targets else None, context.obj)
    config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config
    if config.evaluation.samples > 1 and config.evaluation.temperature == 0:
        overrides["evaluation.temperature"] = 1.0
        config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config

    from rlsd_cli.data.sources import load_held_out
    from rlsd_cli.evaluation.evaluate import select
    from rlsd_cli.evaluation.grade import check_problems, describe_faults, open_pool
    from rlsd_cli.policy.tokenizer import load_room

    load_room(config.model)
    problems = select(load_held_out(config), config.evaluation.problems)
    with open_pool(config) as pool:
        from rlsd_cli.evaluation.evaluate import conclude
        from rlsd_cli.evaluation.evaluate import evaluate as run_evaluation
        from rlsd_cli.policy.model import load_policy
        from rlsd_cli.rollout.engine import make_sampler

        policy = load_policy(config)
        if faults := check_problems(problems, config, pool):
            console.warning(f"{len(problems)} problems, of which {describe_faults(faults)}")
        with contextlib.closing(make_sampler(policy, config)) as sampler:
            sampler.sync()
            console.talk(f"evaluating {config.model} on {len(problems)} problems x {config.evaluation.samples}")
            started = time.perf_counter()
            evaluation = conclude(run_evaluation(policy, sampler, problems, config, pool), config, started)
    folder = None
    if subject.run:
        folder = subject.run.write_evaluation(suite_of(config), subject.step, evaluation.rows, evaluation.summary)
    _show(evaluation.summary, folder, as_json)


def suite_of(config: "Config") -> str:
    """A folder name that differs for evaluations that differ: by data, prompt, verifier or sampling."""
    source = config.eval_data or config.data
    where = str(Path(source).resolve()) if Path(source).is_file() else source
    sandbox = config.sandbox.model_dump(mode="json")
    verifying = [config.verifier, config.verification.model_dump(exclude={"workers", "launchers"}), sandbox]
    what = [where, *verifying, config.prompt.model_dump(), config.evaluation.model_dump()]
    digest = hashlib.sha256(json.dumps([*what, config.rollout.max_new_tokens]).encode()).hexdigest()
    return f"{Path(source).stem}-k{config.evaluation.samples}-{digest[:4]}"


def find_subject(target: str | None, root: Path) -> Subject:
    """A run (by path or name), a checkpoint directory, a preset, or a model."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, preset_names, target_layer
    from rlsd_cli.runs.rundir import RunDir, list_runs, newest_finished

    if target is None:
        run = newest_finished(root)
        return _of_run(run) if run else Subject([target_layer("quickstart")[1]])
    for path in (Path(target), root / target):
        if (path / "status.json").is_file():
            return _of_run(RunDir(path.resolve()))
    from rlsd_cli.policy.catalog import catalog, is_model

    path = Path(target)
    if is_model(path):
        run = RunDir(path.resolve().parents[1])
        if (run.path / "status.json").is_file() and path.resolve().name.isdigit():
            return _of_run(run, path.resolve())
        return Subject([Layer(f"model {target}", {"model": target})])
    if target in preset_names() or target.endswith(".toml"):
        return Subject([target_layer(target)[1]])

    known = [*(model.name for model in catalog()), *preset_names(), *(run.name for run in list_runs(root))]
    if target in known or target.count("/") == 1:
        return Subject([Layer(COMMAND_LINE, {"model": target})])
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
    return Subject(layers, run, int(checkpoint.name))


def _show(summary: dict[str, Any], folder: Path | None, as_json: bool) -> None:
    if as_json:
        console.data_json(summary)
    else:
        passes = [(f"pass@{k}", f"{value:.3f}") for k, value in summary["pass_at_k"].items() if value is not None]
        rows = [
            ("accuracy", console.interval(summary)),
            ("problems", f"{summary['n']} x {summary['samples']}"),
            *(passes if summary["samples"] > 1 else []),
            ("tokens per response", f"{summary['tokens_per_response']:.1f}"),
            ("cut at the limit", f"{summary['truncated_rate']:.1%}"),
            ("leakage", f"{summary['leakage_rate']:.1%}"),
            *((f"  {outcome}", count) for outcome, count in summary["outcomes"].items()),
        ]
        console.table((summary["data"], summary["model"]), rows)
    if folder:
        console.talk(f"written to {_from_here(folder)}")
