"""A recorded step once more, without a sampler: from the checkpoint before it, with the rollouts that were written."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, read_toml, split_arguments
from rlsd_cli.config.reward import ANSWER, FORMAT, OVERLONG
from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import bound
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.sources import load_splits
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import EXIT_USAGE, RlsdError
from rlsd_cli.grading.rewards import Part
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.methods.base import STUDENT, Continuations, Draw
from rlsd_cli.policy.model import Policy, load_trainable
from rlsd_cli.policy.models import make_models
from rlsd_cli.rollout.records import Group, Pending, Prompt, Rollout, Value
from rlsd_cli.runs.records import RolloutRecord
from rlsd_cli.runs.rundir import RunDir, named_run
from rlsd_cli.training.checkpoint import Trained, checkpoints, load_checkpoint
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.digest import weights_digest
from rlsd_cli.training.experience import Experience, Rollouts, Solutions, with_values
from rlsd_cli.training.learner import Learner, Updated
from rlsd_cli.training.reading import Reader
from rlsd_cli.training.trainer import Trainer
from rlsd_verifiers import Outcome, Verdict

COMPARED = ("loss", "grad_norm", "weights_digest")
"""What a step that is repeated has to have in common with the recorded one."""


class NoSampler:
    """Stands where a sampler would: nothing is sampled."""

    def update_weights(self) -> None:
        """Nothing follows the weights."""

    def sleep(self) -> None:
        """Nothing is awake."""

    def close(self) -> None:
        """Nothing is held."""

    def sample(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a replay samples nothing")


class FromRecords:
    """The responses that a run has written down."""

    def __init__(self, run: RunDir, world: World) -> None:
        self.run = run
        self.world = world
        self.read: tuple[int, list[RolloutRecord]] | None = None

    def draw(self, problems: Sequence[Problem], step: int, first: int) -> list[list[Pending]]:
        own = self.world.local(list(enumerate(problems, start=first)))
        return [self._recorded(step, place, problem, STUDENT) for place, problem in own]

    def draw_told(self, groups: Sequence[Group], draw: Draw, step: int) -> list[list[Pending]]:
        pairs = ((group.place, group.members[0].rollout.problem) for group in groups)
        return [self._recorded(step, place, problem, draw.under) for place, problem in pairs]

    def valued(self, groups: Sequence[Group], continuations: Continuations, step: int) -> list[Group]:
        del continuations
        records = {(record.group, record.sample): record for record in self.run.rollouts(step)}
        values = {
            (group.place, place): tuple(Value(*each) for each in records[group.place, member.rollout.number].values)
            for group in groups
            for place, member in enumerate(group.members)
        }
        return with_values(groups, values)

    def _recorded(self, step: int, place: int, problem: Problem, under: str) -> list[Pending]:
        if self.read is None or self.read[0] != step:
            self.read = step, self.run.rollouts(step)
        return [
            _pending(record, problem)
            for record in self.read[1]
            if record.group == place and record.drawn_under == under
        ]

    def sleep(self) -> None:
        """Nothing is awake."""


def _pending(record: RolloutRecord, problem: Problem) -> Pending:
    """A rollout as it was when it was drawn, with its verdict."""
    if record.problem_id != problem.id:
        raise RlsdError(
            f"group {record.group} of step {record.step} answers problem `{record.problem_id}`, and the data has "
            f"`{problem.id}` in its place",
            hint="the data is another than the run was made from: put it back",
        )
    rollout = Rollout(
        problem=problem,
        number=record.sample,
        prompt=Prompt(tuple(record.prompt_ids)),
        token_ids=tuple(record.token_ids),
        sampled_logp=None if record.sampled_logp is None else tuple(record.sampled_logp),
        truncated=record.truncated,
        text=record.response,
        version=record.version,
        drawn_under=record.drawn_under,
    )
    verdict: Future[Verdict] = Future()
    assert record.outcome is not None
    score, reason = record.verdict_score or 0.0, record.reason or ""
    found = Verdict(Outcome(record.outcome), score, record.extracted, reason, 0.0, record.sandbox, record.weak)
    verdict.set_result(found)
    own = {name: value for name, value in record.reward_parts.items() if name not in (ANSWER, OVERLONG)}
    return Pending(rollout, verdict, {name: Part.known(value) for name, value in own.items()})


class Comparison(NamedTuple):
    """What another method would have made of the rollouts of a step.

    trained: rollouts with a gradient, and tokens of those
    credit_abs_mean: mean size of the credit of a token; None for a method that gives none
    cosine: of its gradient with that of the recorded method
    """

    method: str
    loss: float
    grad_norm: float
    trained_rollouts: int
    trained_tokens: int
    credit_abs_mean: float | None
    cosine: float


class Replayed(NamedTuple):
    """A step that was repeated: what was recorded, what came out now; and what methods would make of it."""

    run: str
    step: int
    started_from: int
    recorded: Mapping[str, Any]
    now: Mapping[str, Any]
    comparisons: Sequence[Comparison] = ()

    @property
    def agrees(self) -> bool:
        """True where all that is compared is the same, bit for bit."""
        return all(self.recorded[name] == self.now[name] for name in COMPARED)


def replay_named(name: Path, root: Path, step: int, method: str | None, arguments: Sequence[str]) -> Replayed:
    """`replay` of a run by its path or its name under a root; `arguments` are `key=value` of the other method."""
    targets, overrides = split_arguments(arguments)
    if targets or (overrides and method is None):
        what = f"`{(targets or list(overrides))[0]}` says nothing about a recorded step"
        raise RlsdError(what, hint="`--mode METHOD key=value...` asks another method with other keys")
    return replay(named_run(name, root), step, method, overrides)


def replay(
    run: RunDir, step: int, method: str | None = None, overrides: Mapping[str, Any] = MappingProxyType({})
) -> Replayed:
    """Repeat a step of a run; with `method`, compute what that method would have made of its rollouts, too.

    `overrides` are further keys of that method.

    Steps between the checkpoint and this one are repeated likewise. The run is not changed.

    Raises:
        RlsdError: the run has no such step, or its rollouts are not those that it wrote.
    """
    known = {row["step"]: row for row in run.metrics()}
    other = None if method is None else _other(run, run.config(), {**overrides, "method": method})
    policy, trainer, started_from = before_step(run, step)
    comparisons = [] if other is None else _compare(run, step, trainer, other, policy)
    metrics, _ = trainer.step(step)
    now = metrics | {"weights_digest": weights_digest(policy.model, trainer.world)}
    recorded = {name: known[step].get(name) for name in COMPARED}
    return Replayed(
        str(run.path), step, started_from, recorded, {name: now[name] for name in COMPARED}, tuple(comparisons)
    )


class Restored(NamedTuple):
    """A run as it was before a step, and the step of the checkpoint that it was begun from; 0 for the initial weights.

    The trainer draws nothing: it reads the responses that the run has written down.
    """

    policy: Policy
    trainer: Trainer
    started_from: int


def before_step(run: RunDir, step: int) -> Restored:
    """Restore a run; steps between the checkpoint before a step and this one are repeated.

    Raises:
        RlsdError: the run has no such step, or its rollouts are not those that it wrote.
    """
    last = max((row["step"] for row in run.metrics()), default=0)
    if not 1 <= step <= last:
        raise RlsdError(f"{run.path} has no step {step}", hint=f"its last step is {last}" if last else None)
    earlier = [path for path in checkpoints(run.checkpoints) if int(path.name) < step]
    started_from = int(earlier[-1].name) if earlier else 0
    for between in range(started_from + 1, step + 1):
        run.rollouts(between)
    policy, trainer = _trainer(run, run.config(), World())
    if earlier:
        load_checkpoint(earlier[-1], Trained(policy, trainer.learner.optimizer, trainer.learner.teacher))
    for between in range(started_from + 1, step):
        trainer.step(between)
    return Restored(policy, trainer, started_from)


def _other(run: RunDir, config: Config, asked: Mapping[str, Any]) -> Config:
    """The config of the run with another method; keys that it does not read are left out."""
    layers = [read_toml(run.path / "config.toml", f"run {run.name}")]
    other = merge(layers, Layer(COMMAND_LINE, asked)).config
    same_rollouts(config, other)
    return other


def same_rollouts(config: Config, other: Config) -> None:
    """Refuse a config that does not learn from the rollouts of another one.

    Raises:
        RlsdError: it takes other responses, or other parts of their scores.
    """
    if "solution" in (config.recipe.responses, other.recipe.responses) and config.method != other.method:
        raise RlsdError(
            f"`{config.method}` and `{other.method}` do not learn from the same responses",
            hint="one of them takes the worked solutions of the data",
            exit_code=EXIT_USAGE,
        )
    if FORMAT in other.reward.parts and other.reward.pattern != config.reward.pattern:
        raise RlsdError(
            "the part `format` of the rollouts was recorded with another `reward.format_pattern`",
            hint="leave the pattern as the run has it",
            exit_code=EXIT_USAGE,
        )
    if other.recipe.continuations and not config.recipe.continuations:
        raise RlsdError(
            f"`{other.method}` needs the values of prefixes, which `{config.method}` did not estimate",
            exit_code=EXIT_USAGE,
        )


def as_method(run: RunDir, restored: Restored, config: Config) -> Trainer:
    """A trainer of another config on the restored policy and the run's rollouts."""
    return _trainer(run, config, restored.trainer.world, restored.policy)[1]


def _trainer(run: RunDir, config: Config, world: World, policy: Policy | None = None) -> tuple[Policy, Trainer]:
    """A trainer that reads the run's rollouts, on the policy of its config, run as the run did."""
    if policy is None:
        policy = load_trainable(config).run_as(**run.plan() or {})
    splits = load_splits(config)
    problems = bound(splits.train, config).kept
    models = make_models(policy, config)
    learner = Learner(config, models, NoSampler(), Interrupts(), world)
    experience: Experience
    if config.recipe.responses == "solution":
        experience = Solutions(config, policy, NoSampler(), problems, world)
    else:
        experience = Rollouts(config, FromRecords(run, world), problems, world)
    reader = Reader(config, models, learner.passes, problems)
    return policy, Trainer(config, experience, reader, learner, world)


def _compare(run: RunDir, step: int, trainer: Trainer, other: Config, policy: Policy) -> list[Comparison]:
    """The recorded method and another one on the rollouts of a step, with the weights before it."""
    _, second = _trainer(run, other, trainer.world, policy)
    found = [
        (each.config.method, *each.learner.gradient(each.taught(step, Clock()), step)) for each in (trainer, second)
    ]
    return [_comparison(name, updated, gradient, found[0][2]) for name, updated, gradient in found]


def _comparison(method: str, updated: Updated, gradient: Sequence[Tensor], recorded: Sequence[Tensor]) -> Comparison:
    credits = [trace.credit for trace in updated.traces.values() if trace.credit is not None]
    return Comparison(
        method=method,
        loss=updated.figures.loss,
        grad_norm=updated.figures.grad_norm,
        trained_rollouts=len(updated.traces),
        trained_tokens=int(updated.figures.tokens.sums["tokens"]),
        credit_abs_mean=float(torch.cat(credits).abs().mean()) if credits else None,
        cosine=_cosine(gradient, recorded),
    )


def _cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Of two gradients; NaN where one is 0."""
    products = (
        sum(float(a.double() @ b.double()) for a, b in zip(left, right, strict=True))
        for left, right in ((one, other), (one, one), (other, other))
    )
    both, first, second = products
    return both / (first * second) ** 0.5 if first and second else float("nan")
