"""A subject scored on held-out problems, and the result kept where it belongs."""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlsd_cli import console
from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments, to_toml
from rlsd_cli.config.schema import Config
from rlsd_cli.data.inputs import name_of
from rlsd_cli.data.problems import Problem, select
from rlsd_cli.data.sources import load_held_out, parse_source, problems_digest
from rlsd_cli.data.tasks import TASKS
from rlsd_cli.distributed.ranks import num_processes
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.evaluation.difficulty import sampling_of
from rlsd_cli.evaluation.fingerprint import model_digest
from rlsd_cli.evaluation.subject import Subject, find_subject, from_here
from rlsd_cli.grading.jobs import check_problems, describe_faults, open_pool, verdict_settings
from rlsd_cli.rollout.fitting import fitted, load_tried, say_forged
from rlsd_cli.runs.rundir import model_dir, write_evaluation, write_text
from rlsd_verifiers.pool import Pool

if TYPE_CHECKING:
    from rlsd_cli.evaluation.evaluate import Evaluation


class Scored(NamedTuple):
    """An evaluation, and the folder that it belongs into."""

    evaluation: "Evaluation"
    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        """What is shown: the numbers, and where they are."""
        return self.evaluation.summary | {"folder": str(from_here(self.folder))}


def resolve_subject(
    arguments: Sequence[str], data: str | None, samples: int | None, root: Path
) -> tuple[Subject, Config]:
    """What `rlsd eval` evaluates, and the config that it does it with.

    `data` is a file, a benchmark or a task; of all but a task every problem is taken. Several `samples` are drawn at
    temperature 1 where the config would be greedy.
    """
    if num_processes() > 1:
        raise RlsdError("`rlsd eval` runs in one process", hint="leave out `torchrun`")
    targets, overrides = split_arguments(arguments)
    if len(targets) > 1:
        raise RlsdError(f"one thing is evaluated at a time, not {len(targets)}: {', '.join(targets)}")
    if data is not None:
        overrides["eval_data"] = data
        if parse_source(data).name not in TASKS:
            overrides.setdefault("evaluation.problems", sys.maxsize)
    if samples is not None:
        overrides["evaluation.samples"] = samples
    subject = find_subject(targets[0] if targets else None, root, overrides.get("model"))
    config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config
    if config.evaluation.samples > 1 and config.evaluation.temperature == 0:
        overrides["evaluation.temperature"] = 1.0
        config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config
    return subject, config


def evaluate_subject(subject: Subject, config: Config, root: Path) -> Scored:
    """Evaluate a subject, once its files, its problems and their prompts are found to fit."""
    model, limit = load_tried(config), config.evaluation.max_new_tokens or config.rollout.max_new_tokens
    held_out, most = load_held_out(config), config.evaluation.problems
    fitting = fitted(held_out, "problems", config, model, limit, select(held_out, most))
    problems = select(fitting.kept, most)
    say_forged(problems, config, model)
    with open_pool(config) as pool:
        scored = _evaluate(subject, config, problems, root, pool)
    evaluation = scored.evaluation
    overlong = {"overlong": len(fitting.left_out)}
    return scored._replace(evaluation=evaluation._replace(summary=evaluation.summary | overlong))


def _evaluate(subject: Subject, config: Config, problems: list[Problem], root: Path, pool: Pool) -> Scored:
    from rlsd_cli.evaluation.evaluate import conclude, evaluate  # loads torch
    from rlsd_cli.policy.model import load_policy
    from rlsd_cli.rollout.engine import make_sampler

    policy = load_policy(config)
    if faults := check_problems(problems, config, pool):
        console.warning(f"{len(problems)} problems, of which {describe_faults(faults)}")
    with contextlib.closing(make_sampler(policy, config)) as sampler:
        sampler.update_weights()
        folder = folder_of(subject, config, problems, root)
        console.talk(
            f"evaluating {config.model} on {len(problems)} problems x {config.evaluation.samples}, "
            f"with {subject.settings or 'the defaults'}"
        )
        started = time.perf_counter()
        return Scored(conclude(evaluate(policy, sampler, problems, config, pool), config, started), folder)


def folder_of(subject: Subject, config: Config, problems: Sequence[Problem], root: Path) -> Path:
    """Where the result is kept: in the run, or under the name of the model."""
    suite = suite_of(config, problems)
    if subject.run:
        return subject.run.evaluation_dir(suite, subject.step)
    return model_dir(root, config.model, model_digest(config.model)) / "evals" / suite


def suite_of(config: Config, problems: Iterable[Problem]) -> str:
    """A folder name that differs for evaluations that differ: by problems, prompt, verifier, sampling or seed."""
    what = [
        *(problems_digest(problems), config.seed, config.dtype, config.prompt.model_dump()),
        *(config.rollout.engine, config.rollout.dtype, config.evaluation.samples, sampling_of(config)),
        *verdict_settings(config),
    ]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return f"{name_of(config.eval_data or config.data)}-k{config.evaluation.samples}-{digest[:8]}"


def keep(scored: Scored, config: Config) -> None:
    """Write an evaluation, with the config that it was made with."""
    try:
        write_evaluation(scored.folder, scored.evaluation.rows, scored.evaluation.summary)
        write_text(scored.folder / "config.toml", to_toml(config))
    except OSError as error:
        raise RlsdError(f"cannot write {scored.folder}: {error.strerror}", exit_code=EXIT_MACHINE) from error
