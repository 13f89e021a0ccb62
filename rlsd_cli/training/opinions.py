"""What methods would have said of the tokens of a recorded step: an update of each on the same rollouts and weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from rlsd_cli.config.resolve import Layer, known_method, merge, read_toml
from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.methods.base import STUDENT
from rlsd_cli.policy.model import Policy
from rlsd_cli.runs.records import RolloutRecord
from rlsd_cli.runs.rundir import RunDir
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.learner import Trace
from rlsd_cli.training.replay import Restored, as_method, before_step, same_rollouts

Key = tuple[int, int]
"""A rollout of the student: its group in the step, and its number in the group."""


class Opinion(NamedTuple):
    """What a method says of the tokens of a rollout, [n] each; None where it has no such term.

    credit: what a policy-gradient term multiplies the ratio with
    pull: the gap to the teacher, where a distillation trains on it
    """

    credit: Sequence[float] | None
    pull: Sequence[float] | None


class Opinions(NamedTuple):
    """What was asked.

    skipped: why a method has no opinion
    alternatives: the likeliest tokens at each place, with their log-probabilities
    """

    by_method: Mapping[str, Mapping[Key, Opinion]]
    skipped: Mapping[str, str]
    alternatives: Mapping[Key, Sequence[Sequence[tuple[str, float]]]]


def ask(run: RunDir, step: int, methods: Sequence[str], alternatives: int = 0) -> Opinions:
    """Ask methods about the rollouts of a step, each with the weights before it; the run is not changed.

    A method that the run's settings contradict is asked with its own defaults, and skipped where that does not help.

    Raises:
        RlsdError: no method has such a name, or the step cannot be restored.
    """
    names = list(dict.fromkeys(known_method(name).name for name in methods))
    records = run.rollouts(step)
    if not names and not alternatives:
        return Opinions({}, {}, {})
    restored = before_step(run, step)
    found, skipped = dict[str, Mapping[Key, Opinion]](), dict[str, str]()
    for name in names:
        if name == run.config().method:
            found[name] = {(each.group, each.sample): Opinion(each.credit, each.pull) for each in own(records)}
            continue
        try:
            found[name] = _opinions(run, restored, _config(run, name), step)
        except RlsdError as error:
            skipped[name] = error.message.splitlines()[0]
    others = {}
    if alternatives:
        policy, heat = restored.policy, restored.trainer.config.temperature
        others = {(each.group, each.sample): _alternatives(each, policy, heat, alternatives) for each in own(records)}
    return Opinions(found, skipped, others)


def own(records: Sequence[RolloutRecord]) -> list[RolloutRecord]:
    """The rollouts that the student drew, without those drawn under a view."""
    return [each for each in records if each.drawn_under == STUDENT]


def _config(run: RunDir, method: str) -> Config:
    """The run's config with a method; with the method's own defaults above it, where it would be refused."""
    layers = [read_toml(run.path / "config.toml", f"run {run.name}")]
    named = Layer("method", {"method": method})
    try:
        config = merge(layers, named).config
    except RlsdError:
        own = dict(known_method(method).defaults)
        config = merge(layers, Layer("method", {**own, "method": method})).config
    same_rollouts(run.config(), config)
    return config


def _opinions(run: RunDir, restored: Restored, config: Config, step: int) -> dict[Key, Opinion]:
    trainer = as_method(run, restored, config)
    with _restored_after(restored.policy):
        taught = trainer.taught(step, Clock())
        updated = trainer.learner.update(taught, step)
    numbers = {
        (each.group.place, place): (each.group.place, member.rollout.number)
        for each in taught
        for place, member in enumerate(each.group.members)
        if member in each.group.own
    }
    return {numbers[key]: _opinion(trace) for key, trace in updated.traces.items() if key in numbers}


def _opinion(trace: Trace) -> Opinion:
    credit, pull = (None if each is None else each.tolist() for each in (trace.credit, trace.pull))
    return Opinion(credit, pull)


@contextmanager
def _restored_after(policy: Policy) -> Iterator[None]:
    """Put the weights back that an update has moved."""
    weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
                weight.grad = None


@torch.no_grad()
def _alternatives(
    record: RolloutRecord, policy: Policy, temperature: float, most: int
) -> list[list[tuple[str, float]]]:
    """The likeliest tokens at each place of a response, as text, with their log-probabilities."""
    ids = torch.tensor([[*record.prompt_ids, *record.token_ids]], device=policy.device)
    with policy.autocast():
        logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(record.prompt_ids) - 1 : -1]
    logps, tokens = torch.log_softmax(logits.float() / temperature, -1).topk(most, -1)
    return [
        [(policy.tokenizer.decode([token]), logp) for token, logp in zip(row, chances, strict=True)]
        for row, chances in zip(tokens.tolist(), logps.tolist(), strict=True)
    ]
