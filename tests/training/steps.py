"""The parts of a training step, one at a time, and what they leave."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.sources import Splits, load_splits, parse_source
from rlsd_cli.data.tasks import TASKS
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.model import Policy, copy_modules, load_trainable
from rlsd_cli.policy.models import make_models
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.records import Group
from rlsd_cli.rollout.sampler import Completion, Finished
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.learner import Updated
from rlsd_cli.training.reading import Taught
from rlsd_cli.training.trainer import Trainer, make_trainer
from rlsd_verifiers.pool import Pool

Weights = dict[str, Tensor]


def begin(config: Config, pool: Pool) -> Trainer:
    """The trainer of a run in this process."""
    policy = policy_of(config)
    return make_trainer(
        config, make_models(policy, config), make_sampler(policy, config), pool, splits_of(config), Interrupts()
    )


LOADED: dict[str, Policy] = {}
ELSEWHERE = set(
    """method data eval_data holdout verifier verifier_error_limit steps prompts_per_step samples_per_prompt
curriculum advantage credit loss distill teacher verification sandbox evaluation checkpoint""".split()
)
"""What does not enter a policy that is loaded."""


def policy_of(config: Config) -> Policy:
    """`load_trainable`; of the embedded policy a copy, loaded once for all configs that differ only elsewhere."""
    if config.model != "quickstart" or config.adapter.rank:
        return load_trainable(config)
    key = config.model_dump_json(exclude=ELSEWHERE)
    if key not in LOADED:
        LOADED[key] = load_trainable(config)
    kept = LOADED[key]
    return replace(kept, model=copy_modules(kept.model, {}), tokenizer=copy.deepcopy(kept.tokenizer))


def splits_of(config: Config) -> Splits:
    """`load_splits`, of generated problems once: drawing them takes longer than a step."""
    if config.eval_data is None and parse_source(config.data).name in TASKS:
        return _generated(config.data, config.holdout)
    return load_splits(config)


@cache
def _generated(task: str, holdout: float) -> Splits:
    return load_splits(Config(data=task, holdout=holdout))


# -- parts of a step --------------------------------------------------------------------------------------------------


def judged(trainer: Trainer, step: int = 1) -> list[Group]:
    """The groups of a step, with their verdicts and advantages."""
    rounds = trainer.experience.rounds(step, Clock())
    return [group for parts in rounds for part in parts for group in part]


def read(trainer: Trainer, groups: Sequence[Group], step: int = 1) -> list[Taught]:
    """Groups, and what the teacher makes of them."""
    with trainer.reader.ready():
        return trainer.reader.read(groups, step, Clock())


def taught(trainer: Trainer, step: int = 1) -> list[Taught]:
    """All that an update of the step is given."""
    return read(trainer, judged(trainer, step), step)


def dry_update(trainer: Trainer, given: Sequence[Taught], step: int = 1) -> tuple[Updated, Weights]:
    """What one update comes to, and what it would apply, before clipping and Adam."""
    found: Weights = {}
    learner = trainer.learner

    def capture(*_: object, **__: object) -> None:
        found.update({n: p.grad.clone() for n, p in learner.policy.model.named_parameters() if p.grad is not None})

    learner.optimizer.step = capture  # type: ignore[method-assign]
    optim = learner.config.optim.model_copy(update={"max_grad_norm": 1e9})
    learner.config = learner.config.model_copy(update={"optim": optim})
    return learner.update(given, step), found


def gradients(trainer: Trainer, given: Sequence[Taught], step: int = 1) -> Weights:
    return dry_update(trainer, given, step)[1]


# -- weights ----------------------------------------------------------------------------------------------------------


def weights(trainer: Trainer) -> Weights:
    return {name: value.detach().clone() for name, value in trainer.learner.policy.model.named_parameters()}


def after(trainer: Trainer, steps: Iterable[int] = (1,)) -> Weights:
    """The weights after some steps."""
    for step in steps:
        trainer.step(step)
        trainer.learner.interrupts.release()
    return weights(trainer)


def assert_equal(first: Weights, second: Weights, *, exactly: bool = False) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        if exactly:
            assert torch.equal(value, second[name]), name
        else:
            torch.testing.assert_close(value, second[name], atol=2e-6, rtol=1e-3)


# -- what is asked and answered ---------------------------------------------------------------------------------------


def question(answer: str = "5", verifier: str = "exact") -> Problem:
    return Problem("p", "0" * 12, "Q2+3=", answer, "2+3=5;#5", verifier)


def with_problems(trainer: Trainer, problems: list[Problem]) -> None:
    """Let the trainer train on given problems."""
    trainer.experience.problems = problems  # type: ignore[attr-defined]


def with_responses(trainer: Trainer, responses: list[str], *, truncated: tuple[int, ...] = ()) -> None:
    """Let the sampler answer with given texts."""
    policy = trainer.learner.policy
    tokenizer, (eos,) = policy.tokenizer, policy.eos_ids

    def sample(
        prompts: Sequence[object], _: object, samples: int, *__: object, finished: Finished, **___: object
    ) -> list[Completion]:
        completions = []
        for place in range(len(prompts) * samples):
            text = responses[place % len(responses)]
            ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [eos]
            completions.append(Completion(ids, [-1.0] * len(ids), place % len(responses) in truncated))
            finished(place, completions[-1])
        return completions

    trainer.learner.sampler.sample = sample  # type: ignore[method-assign,assignment]
