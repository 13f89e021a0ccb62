"""The trainer beside one in float64 that shares no formula with it, on the same rollouts.

`pytest tests/oracle -s` prints the largest difference of every quantity.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import torch
from rlsd_cli.config.methods import METHODS
from rlsd_cli.training.samples import Sample
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, teacher_text
from rlsd_cli.data.sources import load_splits
from rlsd_cli.evaluation.evaluate import Evaluation
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.model import load_trainable
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.training.trainer import Trainer
from rlsd_verifiers import VERIFIERS, Leniency, Outcome, Submission, Verdict, Verifier
from tests.oracle.configurations import BASE, CONFIGURATIONS
from tests.oracle.llama import Shape, Weights
from tests.oracle.oracle import Completion, Oracle

LAYERS = 2
"""Of the embedded policy's four: nothing here asks for good answers."""
MakeTrainer = Callable[..., Trainer]

THINK, THINK_ID = ";", 15
"""The character that stands for a closing think tag, and its token."""
TOLERANCES = {"sampled": 5e-5, "loss": 2e-5, "norm": 2e-5, "gradient": 1e-4, "weights": 2e-3}
"""What float32 may differ by: nats of a token; then shares of the loss's terms, of the norm, of the gradient's norm,
and of how far the weights have gone."""
OUTSIDE = {
    "optim.state": "float32 is the plain one; 8 bits are an approximation with tests of their own",
    "optim.layout": "needs processes",
    "teacher.device": "needs a GPU",
    "teacher.template": "text: the oracle is given its tokens",
}
"""Keys of the sections below that no configuration here can change, and why."""


def grade(submission: Submission, _: Leniency) -> Verdict:
    """Scores of many sizes, so that few groups are equal, and now and then none."""
    digits = [int(character) for character in submission.response if character.isdigit()]
    if sum(digits) % 11 == 10:
        return Verdict(Outcome.CRASH, 0.0, None, "")
    return Verdict(Outcome.CORRECT, sum(digits) % 5 / 4, None, "")


@pytest.fixture(scope="module")
def make_trainer(configure: Callable[..., Config]) -> Iterator[MakeTrainer]:
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


def blur(trainer: Trainer) -> list[list[float] | None]:
    """Let the sampler report log-probabilities that are off, by amounts that importance weights can see.

    Returns a list that grows with what it did report, rollout by rollout.
    """
    collect, generator = trainer.collect, torch.Generator().manual_seed(1)
    reported: list[list[float] | None] = []

    def blurred(problems: list[Problem], step: int) -> list[Sample]:
        samples = collect(problems, step)
        for sample in samples:
            reported.append(sample.sampled_logp)
            if sample.sampled_logp is not None:
                noise = torch.rand(len(sample.token_ids), generator=generator) * 0.6 - 0.3
                sample.sampled_logp = (torch.tensor(sample.sampled_logp) + noise).tolist()
        return samples

    trainer.collect = blurred  # type: ignore[method-assign]
    return reported


def rollout_of(sample: Sample, trainer: Trainer) -> Completion:
    """What the oracle is told of a rollout."""
    config, tokenizer = trainer.config, trainer.policy.tokenizer
    privileged = []
    if config.row.needs_teacher:
        privileged = prompt_ids(teacher_text(sample.problem, config), config, tokenizer)
    thought = max((place + 1 for place, token in enumerate(sample.token_ids) if token == THINK_ID), default=0)
    verdict = sample.verdict
    score = verdict.score if verdict is not None and verdict.is_verdict else None
    return Completion(
        sample.prompt, sample.token_ids, sample.sampled_logp, sample.truncated, score, privileged, thought
    )


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


def share(difference: float, whole: float) -> float:
    """A difference in units of what differs; as it is where that is 0, like a gradient when all ratios are clipped."""
    return difference / whole if whole else difference


def differences(trainer: Trainer, steps: int = 3) -> dict[str, float]:
    """The largest difference of every quantity over some steps."""
    found: dict[str, float] = dict.fromkeys(TOLERANCES, 0.0)

    def note(name: str, difference: float) -> None:
        found[name] = max(found[name], difference)

    oracle, seen, reported, num_moves = make_oracle(trainer), watch(trainer), blur(trainer), 0
    for step in range(1, steps + 1):
        metrics, samples = trainer.step(step)
        trainer.interrupts.release()
        rollouts = [rollout_of(sample, trainer) for sample in samples]
        updates = oracle.step(step, rollouts)
        made = [update for update in updates if update.gradients]
        assert len(seen) == len(made), "as many optimiser steps"
        for rollout, logp in zip(rollouts, reported, strict=True):
            if logp is not None and trainer.config.rollout.dtype != "bfloat16":
                note("sampled", float((own_logp(oracle, oracle.before, rollout) - torch.tensor(logp)).abs().max()))
        mean, largest = sum(update.loss for update in updates) / len(updates), max(update.norm for update in updates)
        note("loss", share(abs(metrics["loss"] - mean), max(update.size for update in updates)))
        note("norm", share(abs(metrics["grad_norm"] - largest), largest))
        for theirs, ours in zip(seen, made, strict=True):
            assert set(theirs.gradients) == set(ours.gradients)
            note("gradient", share(size(minus(theirs.gradients, ours.gradients)), size(ours.gradients)))
            note("weights", share(size(minus(theirs.weights, ours.weights)), size(minus(ours.weights, oracle.initial))))
        num_moves += sum(update.norm > 0 for update in made)
        seen.clear()
        reported.clear()
    assert num_moves >= steps, "there is something to compare"
    return found


def own_logp(oracle: Oracle, weights: Weights, rollout: Completion, temperature: float | None = None) -> Tensor:
    with torch.no_grad():
        table = oracle.logp(weights, rollout.prompt, rollout.tokens, temperature)
    return table.gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0]


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, dict[str, float]]]:
    rows: dict[str, dict[str, float]] = {}
    yield rows
    print()
    for quantity, tolerance in TOLERANCES.items():
        name, worst = max(((name, row[quantity]) for name, row in rows.items()), key=lambda pair: pair[1])
        print(f"{quantity:10} {worst:.1e} of {tolerance:.0e} in {len(rows)} configurations, at {name}")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_three_steps_are_those_of_the_oracle(
    make_trainer: MakeTrainer, table: dict[str, dict[str, float]], name: str
) -> None:
    found = table[name] = differences(make_trainer(CONFIGURATIONS[name]))
    assert {quantity: value for quantity, value in found.items() if not value <= TOLERANCES[quantity]} == {}


def test_every_key_that_enters_the_numbers_is_off_its_default_somewhere(configure: Callable[..., Config]) -> None:
    configs = [configure(overrides) for overrides in CONFIGURATIONS.values()]
    numbers = {"rollout.temperature", "rollout.truncated", "rollout.refill", "adapter.rank", "adapter.scale"}
    keys = {
        f"{section}.{key}"
        for section in ("advantage", "credit", "loss", "distill", "teacher", "optim")
        for key in type(getattr(configs[0], section)).model_fields
    }

    def moved(dotted: str) -> bool:
        section, key = dotted.split(".")
        default = type(getattr(configs[0], section)).model_fields[key].default
        return any(getattr(getattr(config, section), key) != default for config in configs)

    assert {key for key in keys | numbers if not moved(key)} <= set(OUTSIDE), "keys that no configuration moves"
    assert {config.method for config in configs} == set(METHODS)


def test_every_choice_of_a_key_is_made_somewhere(configure: Callable[..., Config]) -> None:
    configs = [configure(overrides) for overrides in CONFIGURATIONS.values()]
    for section in ("advantage", "credit", "loss", "distill", "teacher"):
        for key, field in type(getattr(configs[0], section)).model_fields.items():
            if f"{section}.{key}" not in OUTSIDE and get_origin(field.annotation) is Literal:
                made = {getattr(getattr(config, section), key) for config in configs}
                assert made == set(get_args(field.annotation)), f"{section}.{key}"


# -- evaluation -------------------------------------------------------------------------------------------------------

EVALUATION: dict[str, Any] = BASE | {
    "evaluation.problems": 6,
    "evaluation.samples": 4,
    "evaluation.temperature": 0.7,
    "evaluation.top_k": 5,
    "evaluation.max_new_tokens": 12,
    "rollout.temperature": 1.6,
}


def evaluated(trainer: Trainer) -> tuple[Evaluation, list[Completion]]:
    """An evaluation, and what was sampled for it."""
    sample, drawn = trainer.sampler.sample, []

    def recorded(prompts: Any, keys: Any, samples: int, *args: Any, **options: Any) -> Any:
        rollouts = sample(prompts, keys, samples, *args, **options)
        for place, rollout in enumerate(rollouts):
            prompt = list(prompts[place // samples])
            drawn.append(Completion(prompt, *rollout, score=None, privileged=[], thought=0))
        return rollouts

    trainer.sampler.sample = recorded  # type: ignore[method-assign]
    return trainer.evaluate(), drawn


def test_an_evaluation_samples_at_its_own_temperature_among_its_own_top_k(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(EVALUATION)
    oracle, (_, drawn) = make_oracle(trainer), evaluated(trainer)
    assert len(drawn) == 24
    for rollout in drawn:
        assert rollout.sampled_logp is not None
        assert len(rollout.tokens) <= 12
        own = own_logp(oracle, oracle.initial, rollout, temperature=0.7)
        assert float((own - torch.tensor(rollout.sampled_logp)).abs().max()) < TOLERANCES["sampled"]
        likeliest = oracle.logp(oracle.initial, rollout.prompt, rollout.tokens).topk(5).indices
        assert (likeliest == torch.tensor(rollout.tokens)[:, None]).any(1).all()


def test_an_evaluation_adds_up_to_the_oracles_mean_interval_and_pass_at_k(make_trainer: MakeTrainer) -> None:
    evaluation, _ = evaluated(make_trainer(EVALUATION))
    groups = [evaluation.rows[start : start + 4] for start in range(0, 24, 4)]
    scores = [[row["score"] for row in group if row["score"] is not None] for group in groups]
    mean, low, high = mean_and_interval([group for group in scores if group])
    assert 0 < mean < 1
    assert (evaluation.summary["mean"], *evaluation.summary["ci95"]) == pytest.approx((mean, low, high), rel=1e-4)
    judged = {k: [group for group in scores if len(group) >= k] for k in (1, 2, 4)}
    assert evaluation.summary["pass_at_k"] == pytest.approx({str(k): pass_at(k, judged[k]) for k in judged})


def test_an_evaluation_draws_the_same_for_a_problem_whatever_else_is_evaluated(make_trainer: MakeTrainer) -> None:
    six, three = (make_trainer(EVALUATION | {"evaluation.problems": count}).evaluate().rows for count in (6, 3))
    other = make_trainer(EVALUATION | {"seed": 1}).evaluate().rows
    assert [row["response"] for row in three] == [row["response"] for row in six[:12]]
    assert [row["response"] for row in other] != [row["response"] for row in six]


def mean_and_interval(per_problem: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean over problems, and Wilson's 95 % interval at the number of samples that its standard error is worth."""
    means = [sum(scores) / len(scores) for scores in per_problem]
    p, size = sum(means) / len(means), len(means)
    variance = sum((mean - p) ** 2 for mean in means) / size**2
    n = min(max(p * (1 - p) / variance, size), sum(map(len, per_problem))) if variance else size
    middle, half = p + 1.96**2 / (2 * n), 1.96 * math.sqrt(p * (1 - p) / n + 1.96**2 / (4 * n * n))
    return p, (middle - half) / (1 + 1.96**2 / n), (middle + half) / (1 + 1.96**2 / n)


def pass_at(k: int, per_problem: Sequence[Sequence[float]]) -> float:
    """The chance that a full score is among k of a problem's samples."""
    missed = [math.comb(sum(score < 1 for score in scores), k) / math.comb(len(scores), k) for scores in per_problem]
    return 1 - sum(missed) / len(missed)
