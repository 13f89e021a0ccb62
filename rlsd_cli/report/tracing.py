"""One problem through the whole path of a step, with every number: nothing is kept."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments, target_layer
from rlsd_cli.config.schema import Config, fields_of
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.sources import Splits, load_splits
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.report.rollouts import RECORDED, Shown, Signal, texts_of

ALONE = {"prompts_per_step": 1, "optim.updates_per_batch": 1, "rollout.refill": 0, "evaluation.problems": 1}
"""What a step of one problem needs."""


class Seen(NamedTuple):
    """A step of one problem.

    prompt: what the student read; views: what the teacher read, the first text of each view, of the first rollout
    shown: the rollouts with their tokens
    metrics: the line of the step, as a run would keep it
    """

    config: Config
    problem: Problem
    prompt: str
    views: Mapping[str, str]
    shown: Sequence[Shown]
    metrics: Mapping[str, Any]

    @property
    def largest_share(self) -> float | None:
        """The largest part that a single token has in all that tokens are told; None where they are told nothing."""
        pushes = [abs(token.push) for each in self.shown for token in each.tokens(RECORDED)]
        return max(pushes) / sum(pushes) if sum(pushes) else None


def trace(arguments: Sequence[str], method: str | None, problem: str | None) -> Seen:
    """Do one step on one problem of a config: by default the first training problem.

    Raises:
        RlsdError: there is no such problem, or a run of this config would be refused.
    """
    config = _config(arguments, method)
    splits = load_splits(config)
    chosen = _problem(splits, problem)
    from rlsd_cli.interrupts import Interrupts
    from rlsd_cli.policy.model import load_trainable  # loads torch
    from rlsd_cli.policy.models import make_models
    from rlsd_cli.rollout.engine import make_sampler
    from rlsd_cli.rollout.probes import choose_decoder
    from rlsd_cli.training.clock import Clock
    from rlsd_cli.training.recording import rollout_records, step_metrics
    from rlsd_cli.training.trainer import make_trainer

    policy = load_trainable(config)
    if config.rollout.engine == "transformers":
        choose_decoder(policy)
    clock = Clock()
    with open_pool(config) as pool, contextlib.closing(make_sampler(policy, config)) as sampler:
        sampler.update_weights()
        alone = Splits([chosen], splits.held_out[:1])
        trainer = make_trainer(config, make_models(policy, config), sampler, pool, alone, Interrupts())
        taught = trainer.taught(1, clock)
        with clock("update"):
            updated = trainer.learner.update(taught, 1)
        records = rollout_records(taught, updated, config, policy.tokenizer, 1)
        metrics = step_metrics(taught, updated, config, trainer.learner.learning_rate, clock, 1)
    readings = next((each for group in taught for each in group.readings if each), {})
    views = {name: policy.tokenizer.decode(read.prompts[0]) for name, read in readings.items() if read.prompts}
    shown = [Shown(record, {RECORDED: Signal(record.credit, record.pull)}, texts_of(record)) for record in records]
    return Seen(config, chosen, records[0].prompt, views, shown, metrics)


def _config(arguments: Sequence[str], method: str | None) -> Config:
    targets, overrides = split_arguments(arguments)
    if method is not None:
        overrides["method"] = method
    layers = [target_layer(target)[1] for target in targets or ["quickstart"]]
    found = merge(layers, Layer(COMMAND_LINE, overrides)).config
    read = {key: value for key, value in ALONE.items() if key in fields_of(found.method)}
    try:
        return merge(layers, Layer(COMMAND_LINE, overrides | read)).config
    except RlsdError:  # what needs several updates, or groups, is traced as it is
        return merge(layers, Layer(COMMAND_LINE, overrides | {"prompts_per_step": 1})).config


def _problem(splits: Splits, name: str | None) -> Problem:
    problems = [*splits.train, *splits.held_out]
    if name is None:
        return problems[0]
    found = [problem for problem in problems if problem.id == name or problem.id.startswith(name)]
    if not found:
        raise RlsdError(f"no problem `{name}` in the data", hint=did_you_mean(name, (each.id for each in problems)))
    return found[0]
