"""The trainer beside one in float64 that shares no formula with it, on the same rollouts.

`pytest tests/oracle -s` prints the largest difference of every quantity.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, teacher_text
from rlsd_cli.data.sources import load_splits
from rlsd_cli.evaluation.grade import open_pool
from rlsd_cli.policy.model import load_trainable
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.training.interrupts import Interrupts
from rlsd_cli.training.samples import Sample
from rlsd_cli.training.trainer import Trainer
from rlsd_verifiers import VERIFIERS, Outcome, Policy, Submission, Verdict, Verifier
from tests.oracle.configurations import BASE, CONFIGURATIONS
from tests.oracle.llama import Shape, Weights
from tests.oracle.oracle import Oracle, Rollout, Update

LAYERS = 2
"""Of the embedded policy's four: nothing here asks for good answers."""
THINK = ";"
"""The character that stands for a closing think tag."""
TOLERANCES = {"sampled": 2e-5, "loss": 1e-6, "norm": 1e-5, "gradient": 1e-4, "weights": 1e-3}


def grade(submission: Submission, _: Policy) -> Verdict:
    """Scores of many sizes, so that few groups are equal, and now and then none."""
    digits = [int(character) for character in submission.response if character.isdigit()]
    if sum(digits) % 11 == 10:
        return Verdict(Outcome.CRASH, 0.0, None, "")
    return Verdict(Outcome.CORRECT, sum(digits) % 5 / 4, None, "")


@pytest.fixture(scope="module")
def make_trainer(configure: Callable[..., Config]) -> Iterator[Callable[..., Trainer]]:
    """A trainer on the embedded policy whose responses earn scores of many sizes, and whose problems have hints."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(VERIFIERS, "exact", Verifier(grade))
        config = configure(BASE)
        pool = stack.enter_context(open_pool(config))
        splits = load_splits(config)
        problems = [problem._replace(hints=(str(len(problem.question)), "4+4")) for problem in splits.train]
        splits = splits._replace(train=problems)

        def make(overrides: dict[str, Any]) -> Trainer:
            torch.manual_seed(0)
            config = configure(overrides)
            policy = load_trainable(config)
            policy.model.config.num_hidden_layers = LAYERS
            policy.model.model.layers = policy.model.model.layers[:LAYERS]
            decode = policy.tokenizer.decode
            policy.tokenizer.decode = lambda ids, **options: decode(ids, **options).replace(THINK, "</think>")
            return Trainer(config, policy, make_sampler(policy, config), pool, splits, Interrupts())

        yield make


class Watched(NamedTuple):
    """What an optimiser step of the trainer applied, and the weights after it."""

    gradients: Weights
    weights: Weights


def watch(trainer: Trainer) -> list[Watched]:
    """A list that grows with every optimiser step."""
    seen: list[Watched] = []
    step, named = trainer.optimizer.step, dict(trainer.policy.model.named_parameters())

    def watched(*args: Any, **options: Any) -> Any:
        gradients = {name: value.grad.clone() for name, value in named.items() if value.grad is not None}
        result = step(*args, **options)
        seen.append(Watched(gradients, {name: value.detach().clone() for name, value in named.items()}))
        return result

    trainer.optimizer.step = watched  # type: ignore[method-assign]
    return seen


def blur(trainer: Trainer) -> None:
    """Let the sampler report log-probabilities that are off, by amounts that importance weights can see."""
    collect, generator = trainer.collect, torch.Generator().manual_seed(1)

    def blurred(problems: list[Problem], step: int) -> list[Sample]:
        samples = collect(problems, step)
        for sample in samples:
            if sample.sampled_logp is not None:
                noise = torch.rand(len(sample.token_ids), generator=generator) * 0.6 - 0.3
                sample.sampled_logp = (torch.tensor(sample.sampled_logp) + noise).tolist()
        return samples

    trainer.collect = blurred  # type: ignore[method-assign]


def rollout_of(sample: Sample, trainer: Trainer) -> Rollout:
    """What the oracle is told of a rollout."""
    config, tokenizer = trainer.config, trainer.policy.tokenizer
    privileged = []
    if config.row.needs_teacher:
        privileged = prompt_ids(teacher_text(sample.problem, config), config, tokenizer)
    thought = max((place + 1 for place, token in enumerate(sample.token_ids) if token == THINK_ID), default=0)
    verdict = sample.verdict
    score = verdict.score if verdict is not None and verdict.is_verdict else None
    return Rollout(
        sample.prompt, sample.token_ids, sample.sampled_logp, sample.truncated, score, privileged, thought
    )


THINK_ID = 15


def make_oracle(trainer: Trainer) -> Oracle:
    model = trainer.policy.model
    shape = Shape(
        layers=model.config.num_hidden_layers,
        heads=model.config.num_attention_heads,
        theta=model.config.rope_parameters["rope_theta"],
        eps=model.config.rms_norm_eps,
        adapter_scale=trainer.config.adapter.scale,
    )
    named = dict(model.named_parameters())
    return Oracle(trainer.config, named, [name for name, value in named.items() if value.requires_grad], shape)


def size(weights: Weights) -> float:
    return math.sqrt(sum(value.double().pow(2).sum().item() for value in weights.values()))


def minus(first: Weights, second: Weights) -> Weights:
    return {name: value.double() - second[name].double() for name, value in first.items()}


def differences(trainer: Trainer, steps: int = 3) -> dict[str, float]:
    """The largest difference of every quantity over some steps, each in units of its own size."""
    found: dict[str, float] = dict.fromkeys(TOLERANCES, 0.0)

    def note(name: str, difference: float) -> None:
        found[name] = max(found[name], difference)

    oracle, seen = make_oracle(trainer), watch(trainer)
    blur(trainer)
    start = oracle.initial
    for step in range(1, steps + 1):
        metrics, samples = trainer.step(step)
        trainer.interrupts.release()
        updates = oracle.step(step, [rollout_of(sample, trainer) for sample in samples])
        made = [update for update in updates if update.gradients]
        assert len(seen) == len(made), "as many optimiser steps"
        note("loss", abs(metrics["loss"] - sum(u.loss for u in updates) / len(updates)) / max(u.size for u in updates))
        largest = max(update.norm for update in updates)
        note("norm", abs(metrics["grad_norm"] - largest) / largest)
        for theirs, ours in zip(seen, made, strict=True):
            assert set(theirs.gradients) == set(ours.gradients)
            note("gradient", size(minus(theirs.gradients, ours.gradients)) / size(ours.gradients))
            note("weights", size(minus(theirs.weights, ours.weights)) / size(minus(ours.weights, start)))
        seen.clear()
    return found


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, dict[str, float]]]:
    rows: dict[str, dict[str, float]] = {}
    yield rows
    for quantity, tolerance in TOLERANCES.items():
        name, worst = max(((name, row[quantity]) for name, row in rows.items()), key=lambda pair: pair[1])
        print(f"\n{quantity:10} {worst:.1e} of {tolerance:.0e} in {len(rows)} configurations, at {name}", end="")
    print()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_three_steps_are_those_of_the_oracle(
    make_trainer: Callable[..., Trainer], table: dict[str, dict[str, float]], name: str
) -> None:
    found = differences(make_trainer(CONFIGURATIONS[name]))
    table[name] = found
    print(name, {k: f"{v:.1e}" for k, v in found.items()})
    assert {quantity: value for quantity, value in found.items() if not value <= TOLERANCES[quantity]} == {}
