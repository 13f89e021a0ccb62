"""The trainer beside one in float64 that shares no formula with it, on the same rollouts.

`pytest tests/oracle -s` prints the largest difference of every quantity.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import torch
from pydantic.fields import FieldInfo
from torch import Tensor

from rlsd_cli.config.schema import Config, fields_of, flatten
from rlsd_cli.data.problems import select
from rlsd_cli.data.prompts import informed_text, prompt_ids
from rlsd_cli.data.sources import Splits
from rlsd_cli.data.views import shown
from rlsd_cli.distributed.world import World
from rlsd_cli.evaluation.evaluate import Evaluation, evaluate_together
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.methods.base import Attempt
from rlsd_cli.methods.table import METHODS
from rlsd_cli.policy.models import make_models
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.records import Group, Judged
from rlsd_cli.training import trainer as trainer_module
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.experience import Parts
from rlsd_cli.training.trainer import Trainer
from rlsd_verifiers import VERIFIERS, Leniency, Outcome, Submission, Verdict, Verifier
from tests.oracle.cases import Response
from tests.oracle.configurations import BASE, CONFIGURATIONS
from tests.oracle.llama import Shape, Weights
from tests.oracle.oracle import Oracle
from tests.table import IN_FULL
from tests.training.steps import policy_of, splits_of

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
    """Scores of many sizes, so that few groups are equal, now and then none; the lowest are wrong."""
    total = sum(map(ord, submission.response))
    if total % 9 == 8:
        return Verdict(Outcome.CRASH, 0.0, None, "")
    outcome = Outcome.CORRECT if total % 5 > 1 else Outcome.WRONG
    return Verdict(outcome, total % 5 / 4, str(total) if total % 2 else None, f"the characters add up to {total}")


@pytest.fixture(scope="module")
def make_trainer(configure: Callable[..., Config]) -> Iterator[MakeTrainer]:
    """A trainer on the embedded policy whose responses earn scores of many sizes, and whose problems have hints."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(VERIFIERS, "exact", Verifier(grade))
        config = configure(BASE)
        pool = stack.enter_context(open_pool(config))
        splits = with_hints(splits_of(config))

        def make(overrides: dict[str, Any]) -> Trainer:
            torch.manual_seed(0)
            config = configure(overrides)
            policy = policy_of(config)
            policy.model.config.num_hidden_layers = LAYERS
            policy.model.model.layers = policy.model.model.layers[:LAYERS]
            decode = policy.tokenizer.decode
            policy.tokenizer.decode = lambda ids, **options: decode(ids, **options).replace(THINK, "</think>")
            return trainer_module.make_trainer(
                config, make_models(policy, config), make_sampler(policy, config), pool, splits, Interrupts()
            )

        yield make


def with_hints(splits: Splits) -> Splits:
    problems = [problem._replace(hints=(str(len(problem.question)), "4+4")) for problem in splits.train]
    return splits._replace(train=problems)


class Watched(NamedTuple):
    """What an optimiser step of the trainer applied, and the weights after it."""

    gradients: Weights
    weights: Weights


def watch(trainer: Trainer) -> list[Watched]:
    """A list that grows with every optimiser step."""
    seen: list[Watched] = []
    learner = trainer.learner
    step, named = learner.optimizer.step, dict(learner.policy.model.named_parameters())

    def watched(*args: Any, **options: Any) -> Any:
        gradients = {name: value.grad.clone() for name, value in named.items() if value.grad is not None}
        result = step(*args, **options)
        seen.append(Watched(gradients, {name: value.detach().clone() for name, value in named.items()}))
        return result

    learner.optimizer.step = watched  # type: ignore[method-assign]
    return seen


class Drawn(NamedTuple):
    """A group as the sampler gave it, with the log-probabilities of each response, and as the trainer got to see it."""

    sampled_logp: list[tuple[float, ...] | None]
    group: Group


def blur(trainer: Trainer) -> list[Drawn]:
    """Let the sampler report log-probabilities that are off, by amounts that importance weights can see.

    Returns a list that grows with every group.
    """
    rounds, generator = trainer.experience.rounds, torch.Generator().manual_seed(1)
    drawn: list[Drawn] = []

    def blurred_member(member: Judged) -> Judged:
        rollout, sampled_logp = member.rollout, member.rollout.sampled_logp
        if sampled_logp is None:
            return member
        noise = torch.rand(len(sampled_logp), generator=generator) * 0.6 - 0.3
        off = tuple((torch.tensor(sampled_logp) + noise).tolist())
        return member._replace(rollout=rollout._replace(sampled_logp=off))

    def blurred_group(group: Group) -> Group:
        blurred = group._replace(members=tuple(map(blurred_member, group.members)))
        drawn.append(Drawn([member.rollout.sampled_logp for member in group.members], blurred))
        return blurred

    def blurred(step: int, clock: Clock) -> Iterator[Parts]:
        for parts in rounds(step, clock):
            yield ([blurred_group(group) for group in part] for part in parts)

    trainer.experience.rounds = blurred  # type: ignore[method-assign]
    return drawn


def responses_of(group: Group, trainer: Trainer) -> list[Response]:
    """What the oracle is told of the responses of a group."""
    return list(map(partial(response_of, group=group, trainer=trainer), group.members, group.attempts()))


def response_of(member: Judged, attempt: Attempt, *, group: Group, trainer: Trainer) -> Response:
    rollout, config, tokenizer = member.rollout, trainer.config, trainer.learner.policy.tokenizer
    problem, tokens, sampled, attempts = (
        rollout.problem,
        list(rollout.token_ids),
        rollout.sampled_logp,
        group.attempts(),
    )
    views = {
        name: [
            prompt_ids(informed_text(problem, text, config), config, tokenizer)
            for text in shown(view, problem, attempt, attempts, trainer.reader.strangers, config)
        ]
        for name, view in config.recipe.views.items()
    }
    return Response(
        prompt=list(rollout.prompt.ids),
        tokens=tokens,
        sampled_logp=None if sampled is None else list(sampled),
        truncated=rollout.truncated,
        score=member.verdict.score if member.verdict and member.verdict.is_verdict else None,
        correct=member.verdict.correct if member.verdict else None,
        views=views,
        drawn_under=rollout.drawn_under,
        thought=max((place + 1 for place, token in enumerate(tokens) if token == THINK_ID), default=0),
        values=member.values,
        text=rollout.text,
    )


def make_oracle(trainer: Trainer) -> Oracle:
    model = trainer.learner.policy.model
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

    oracle, seen, drawn, num_moves = make_oracle(trainer), watch(trainer), blur(trainer), 0
    for step in range(1, steps + 1):
        metrics, _ = trainer.step(step)
        trainer.learner.interrupts.release()
        groups = [responses_of(group, trainer) for _, group in drawn]
        updates = oracle.step(step, groups)
        made = [update for update in updates if update.gradients]
        assert len(seen) == len(made), "as many optimiser steps"
        sampled = [logp for each in drawn for logp in each.sampled_logp]
        for response, logp in zip(chain(*groups), sampled, strict=True):
            if logp is not None and trainer.config.rollout.dtype != "bfloat16":
                own = own_logp(oracle, oracle.models.before, response)
                note("sampled", float((own - torch.tensor(logp)).abs().max()))
        mean, largest = sum(update.loss for update in updates) / len(updates), max(update.norm for update in updates)
        note("loss", share(abs(metrics["loss"] - mean), max(update.size for update in updates)))
        note("norm", share(abs(metrics["grad_norm"] - largest), largest))
        for theirs, ours in zip(seen, made, strict=True):
            assert set(theirs.gradients) == set(ours.gradients)
            note("gradient", share(size(minus(theirs.gradients, ours.gradients)), size(ours.gradients)))
            note(
                "weights",
                share(size(minus(theirs.weights, ours.weights)), size(minus(ours.weights, oracle.models.initial))),
            )
        num_moves += sum(update.norm > 0 for update in made)
        seen.clear()
        drawn.clear()
    assert num_moves >= steps, "there is something to compare"
    return found


def own_logp(oracle: Oracle, weights: Weights, response: Response, temperature: float | None = None) -> Tensor:
    """What a response was sampled with."""
    prompt = response.prompt if response.drawn_under == "student" else response.views[response.drawn_under][0]
    with torch.no_grad():
        table = oracle.models.logp(weights, prompt, response.tokens, temperature)
    return table.gather(1, torch.tensor(response.tokens)[:, None])[:, 0]


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, dict[str, float]]]:
    rows: dict[str, dict[str, float]] = {}
    yield rows
    print()
    for quantity, tolerance in TOLERANCES.items():
        name, worst = max(((name, row[quantity]) for name, row in rows.items()), key=lambda pair: pair[1])
        print(f"{quantity:10} {worst:.1e} of {tolerance:.0e} in {len(rows)} configurations, at {name}")


def by_default(name: str) -> list[pytest.MarkDecorator]:
    """The methods whose parts the others combine are tried by default, the others by `make test-all`."""
    return [] if CONFIGURATIONS[name]["method"] in (*IN_FULL, "rlrt") else [pytest.mark.slow]


@pytest.mark.parametrize("name", [pytest.param(name, marks=by_default(name)) for name in CONFIGURATIONS])
def test_three_steps_are_those_of_the_oracle(
    make_trainer: MakeTrainer, table: dict[str, dict[str, float]], name: str
) -> None:
    found = table[name] = differences(make_trainer(CONFIGURATIONS[name]))
    assert {quantity: value for quantity, value in found.items() if not value <= TOLERANCES[quantity]} == {}


SECTIONS = ("reward", "advantage", "credit", "loss", "distill", "teacher", "optim")


def hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else tuple(value.items()) if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def tried(configure: Callable[..., Config]) -> dict[str, tuple[FieldInfo, set[Any]]]:
    """Each key that enters the numbers, by method where it is its own, and its values in configurations here."""
    found: dict[str, tuple[FieldInfo, set[Any]]] = {}
    numbers = {"rollout.temperature", "rollout.truncated", "rollout.refill", "adapter.rank", "adapter.scale"}
    for overrides in CONFIGURATIONS.values():
        config = configure(overrides)
        fields = fields_of(config.method)
        for key, value in flatten(config).items():
            if key in numbers or key.split(".")[0] in SECTIONS:
                own = f"{config.method}: {key}" if key.startswith("credit.") else key
                _, values = found.setdefault(own, (fields[key], set()))
                values.add(hashable(value))
    return found


def test_every_key_that_enters_the_numbers_is_off_its_default_somewhere(
    tried: dict[str, tuple[FieldInfo, set[Any]]],
) -> None:
    still = {key for key, (field, values) in tried.items() if values <= {hashable(field.default)}}
    assert still <= set(OUTSIDE), "keys that no configuration moves"
    assert {overrides["method"] for overrides in CONFIGURATIONS.values()} == set(METHODS)
    assert {key.split(": ")[-1].split(".")[0] for key in tried} >= set(SECTIONS)


def test_every_choice_of_a_key_is_made_somewhere(tried: dict[str, tuple[FieldInfo, set[Any]]]) -> None:
    for key, (field, values) in tried.items():
        if key not in OUTSIDE and get_origin(field.annotation) is Literal and not key.startswith("optim."):
            assert values == set(get_args(field.annotation)), key


# -- evaluation -------------------------------------------------------------------------------------------------------

EVALUATION: dict[str, Any] = BASE | {
    "evaluation.problems": 6,
    "evaluation.samples": 4,
    "evaluation.temperature": 0.7,
    "evaluation.top_k": 5,
    "evaluation.max_new_tokens": 12,
    "rollout.temperature": 1.6,
}


def evaluate(trainer: Trainer) -> Evaluation:
    """What a run finds of its policy."""
    (policy, sampler), config = (trainer.learner.policy, trainer.learner.sampler), trainer.config
    problems = select(splits_of(config).held_out, config.evaluation.problems)
    with open_pool(config) as pool:
        return evaluate_together(policy, sampler, problems, config, pool, World())


def evaluated(trainer: Trainer) -> tuple[Evaluation, list[Response]]:
    """An evaluation, and what was sampled for it."""
    sampler, drawn = trainer.learner.sampler, list[Response]()
    sample = sampler.sample

    def recorded(prompts: Any, keys: Any, samples: int, *args: Any, **options: Any) -> Any:
        completions = sample(prompts, keys, samples, *args, **options)
        for place, completion in enumerate(completions):
            prompt = list(prompts[place // samples])
            drawn.append(Response(prompt, *completion))
        return completions

    sampler.sample = recorded  # type: ignore[method-assign]
    return evaluate(trainer), drawn


def test_an_evaluation_samples_at_its_own_temperature_among_its_own_top_k(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(EVALUATION)
    oracle, (_, drawn) = make_oracle(trainer), evaluated(trainer)
    assert len(drawn) == 24
    for response in drawn:
        assert response.sampled_logp is not None
        assert len(response.tokens) <= 12
        own = own_logp(oracle, oracle.models.initial, response, temperature=0.7)
        assert float((own - torch.tensor(response.sampled_logp)).abs().max()) < TOLERANCES["sampled"]
        likeliest = oracle.models.logp(oracle.models.initial, response.prompt, response.tokens).topk(5).indices
        assert (likeliest == torch.tensor(response.tokens)[:, None]).any(1).all()


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
    six, three = (evaluate(make_trainer(EVALUATION | {"evaluation.problems": count})).rows for count in (6, 3))
    other = evaluate(make_trainer(EVALUATION | {"seed": 1})).rows
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
