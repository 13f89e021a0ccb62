"""A subject scored on sets of held-out problems, and the results kept where they belong.

Responses are written as they are graded. The same command continues an evaluation that was interrupted, and shows one
that is there.
"""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlsd_cli import console
from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments, to_toml
from rlsd_cli.config.schema import Config
from rlsd_cli.data.inputs import name_of
from rlsd_cli.data.problems import Problem, select
from rlsd_cli.data.sources import load_held_out, load_splits, parse_source, problems_digest
from rlsd_cli.data.tasks import TASKS
from rlsd_cli.distributed.ranks import num_processes
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.difficulty import batch_size, sampling_of
from rlsd_cli.evaluation.fingerprint import model_digest
from rlsd_cli.evaluation.samples import cannot_write, open_samples
from rlsd_cli.evaluation.subject import Subject, find_subject, from_here
from rlsd_cli.grading.jobs import check_problems, describe_faults, open_pool, verdict_settings
from rlsd_cli.rollout.fitting import fitted, load_tried, say_forged
from rlsd_cli.runs.rundir import model_dir, read_json, write_json, write_text

if TYPE_CHECKING:
    from rlsd_cli.policy.model import Policy
    from rlsd_cli.policy.tokenizer import Room
    from rlsd_cli.rollout.sampler import Sampler
    from rlsd_verifiers.pool import Pool


BATCHES = 4
"""Batches of the sampler that are drawn and graded before their responses are written."""


class Planned(NamedTuple):
    """An evaluation of a subject on one set of problems.

    overlong: problems left out because their prompts leave no room
    in_training: problems that the run was trained on; None where that is not known
    """

    config: Config
    problems: list[Problem]
    folder: Path
    overlong: int
    in_training: int | None

    @property
    def is_done(self) -> bool:
        """True where its summary has been written."""
        return (self.folder / "summary.json").is_file()

    def summary(self) -> dict[str, Any]:
        """What was written, and where."""
        return read_json(self.folder / "summary.json") | {"folder": str(from_here(self.folder))}


def resolve_subject(
    arguments: Sequence[str], data: Sequence[str], samples: int | None, root: Path
) -> tuple[Subject, list[Config]]:
    """What `rlsd eval` evaluates, and the config of each set of problems.

    `data` are files, benchmarks or tasks; of all but a task every problem is taken. Several `samples` are drawn at
    temperature 1 where the config would be greedy.
    """
    if num_processes() > 1:
        raise RlsdError("`rlsd eval` runs in one process", hint="leave out `torchrun`")
    targets, overrides = split_arguments(arguments)
    if len(targets) > 1:
        raise RlsdError(f"one thing is evaluated at a time, not {len(targets)}: {', '.join(targets)}")
    if samples is not None:
        overrides["evaluation.samples"] = samples
    subject = find_subject(targets[0] if targets else None, root, overrides.get("model"))
    return subject, [_config(subject, overrides, each) for each in data or (None,)]


def _config(subject: Subject, overrides: dict[str, Any], data: str | None) -> Config:
    asked = dict(overrides)
    if data is not None:
        asked["eval_data"] = data
        if parse_source(data).name not in TASKS:
            asked.setdefault("evaluation.problems", sys.maxsize)
    config = merge(subject.layers, Layer(COMMAND_LINE, asked)).config
    if config.evaluation.samples > 1 and config.evaluation.temperature == 0:
        config = merge(subject.layers, Layer(COMMAND_LINE, asked | {"evaluation.temperature": 1.0})).config
    return config


def evaluate_subject(subject: Subject, configs: Sequence[Config], root: Path, *, again: bool) -> list[dict[str, Any]]:
    """Evaluate a subject on each set of problems, once all are found to fit: their summaries.

    Raises:
        SystemExit: a signal came; what has been graded is kept, and the code is the signal's.
    """
    model = load_tried(configs[0])
    planned = [_plan(subject, config, model, root) for config in configs]
    left = [each for each in planned if again or not each.is_done]
    for each in planned:
        if each not in left:
            console.talk(f"{from_here(each.folder)} is there; `--again` makes it anew")
    if left:
        _evaluate_all(subject, left, again=again)
    return [each.summary() for each in planned]


def _plan(subject: Subject, config: Config, model: "Room", root: Path) -> Planned:
    limit = config.evaluation.max_new_tokens or config.rollout.max_new_tokens
    held_out, most = load_held_out(config), config.evaluation.problems
    fitting = fitted(held_out, "problems", config, model, limit, select(held_out, most))
    problems = select(fitting.kept, most)
    say_forged(problems, config, model)
    folder = folder_of(subject, config, problems, root)
    return Planned(config, problems, folder, len(fitting.left_out), _in_training(subject, config, problems))


def _in_training(subject: Subject, config: Config, problems: Sequence[Problem]) -> int | None:
    """How many of the problems a run was trained on, which is said."""
    if subject.run is None:
        return None
    try:
        trained_on = {problem.fingerprint for problem in load_splits(subject.run.config()).train}
    except RlsdError as error:
        console.warning(f"cannot tell which problems {subject.run.name} was trained on: {error.message}")
        return None
    found = sum(problem.fingerprint in trained_on for problem in problems)
    if found:
        name = config.eval_data or config.data
        console.warning(
            f"{found:,} of the {len(problems):,} problems of {name} are among those that {subject.run.name} was "
            "trained on: the result is no held-out one"
        )
    return found


def _evaluate_all(subject: Subject, planned: Sequence[Planned], *, again: bool) -> None:
    from rlsd_cli.policy.model import load_policy  # loads torch
    from rlsd_cli.rollout.engine import make_sampler

    first = planned[0].config
    with open_pool(first) as pool:
        policy = load_policy(first)
        for each in planned:
            if faults := check_problems(each.problems, each.config, pool):
                console.warning(f"{len(each.problems)} problems, of which {describe_faults(faults)}")
        with contextlib.closing(make_sampler(policy, first)) as sampler:
            sampler.update_weights()
            for each in planned:
                _evaluate(subject, each, policy, sampler, pool, again=again)


def _evaluate(
    subject: Subject, planned: Planned, policy: "Policy", sampler: "Sampler", pool: "Pool", *, again: bool
) -> None:
    """Draw and grade what is not in the folder yet, and write the summary of all."""
    from rlsd_cli.evaluation.evaluate import conclude, evaluate

    config, problems, samples = planned.config, planned.problems, planned.config.evaluation.samples
    with open_samples(planned.folder, again=again) as file:
        rows = file.match(problems, samples, batch_size(config) * BATCHES)
        earlier = len(rows)
        there = f", {earlier // samples} of them done" if earlier else ""
        console.talk(
            f"evaluating {config.model} on {len(problems)} problems x {samples}{there}, "
            f"with {subject.settings or 'the defaults'}"
        )

        def done() -> str:
            return f"after {len(rows) // samples} of {len(problems)} problems\n\nhint: the same command continues"

        started = time.perf_counter()
        with console.interruptible(done), console.Meter("problems", len(problems), earlier // samples) as meter:
            for part, keys in _parts(problems, earlier // samples, batch_size(config) * BATCHES):
                new = evaluate(policy, sampler, part, config, pool, keys)
                for row in new:
                    file.write(json.dumps(row))
                rows += new
                meter.show(len(rows) // samples)
        seconds = time.perf_counter() - started
    found = conclude(rows, config, seconds, problems).summary
    new_tokens = sum(row["tokens"] for row in rows[earlier:])
    speed = {"tokens_per_second": new_tokens / seconds if new_tokens else None}
    try:
        write_text(planned.folder / "config.toml", to_toml(config))
        write_json(
            planned.folder / "summary.json",
            found | speed | {"overlong": planned.overlong, "in_training": planned.in_training},
        )
    except OSError as error:
        raise cannot_write(planned.folder, error) from error


def _parts(problems: list[Problem], start: int, size: int) -> Iterator[tuple[list[Problem], list[str]]]:
    """Problems from `start` on, in parts, with what their draws depend on."""
    from rlsd_cli.rollout.respond import draw_keys

    keys = draw_keys(problems)
    for begin in range(start, len(problems), size):
        yield problems[begin : begin + size], keys[begin : begin + size]


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
