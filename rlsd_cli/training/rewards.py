"""Verdicts to scores, scores to advantages; and groups that teach nothing because nothing in them has an advantage."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from itertools import chain, pairwise
from typing import Literal

import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.core.advantages import group_advantages
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.grading.jobs import stop_on_sandbox_error
from rlsd_cli.training.samples import Sample

PARTS = 4
"""In how many parts rollouts are judged and read."""
LONGEST_SHOWN = 200
"""Characters of a response that is repeated in a hint."""


def as_judged(samples: Sequence[Sample], config: Config) -> Iterator[list[Sample]]:
    """The rollouts of a step in `PARTS` parts of whole groups, some maybe empty, each as soon as it is judged.

    So the teacher reads the first while verifiers work on the last. What is read together does not depend on how fast
    verifiers are, or a run would not repeat to the last bit. All at once where advantages depend on all scores.
    """
    num_parts = 1 if config.advantage.scale == "batch_std" else PARTS
    for part in shares(groups_of(samples, config), num_parts):
        wait([sample.pending for sample in part if sample.pending])
        yield part


def assign_scores(samples: Sequence[Sample], config: Config) -> None:
    """Wait for the verdicts that are still open, and score every response.

    Where the method needs rewards, a response without a verdict leaves baseline and loss.

    Raises:
        RlsdError: the sandbox failed.
    """
    for sample in samples:
        if sample.pending is None:
            continue
        verdict = sample.verdict = sample.pending.result()
        sample.pending = None
        stop_on_sandbox_error([verdict])
        sample.score = verdict.score if verdict.is_verdict else None
        if sample.truncated and config.rollout.truncated == "mask":
            sample.counted = False
        elif sample.truncated and verdict.is_verdict:
            sample.score = 0.0
        if sample.score is None and config.row.needs_reward:
            sample.counted = False


def check_verdicts(samples: Sequence[Sample], config: Config) -> None:
    """Raises RlsdError where more than `verifier_error_limit` of the responses reached no verdict."""
    failed = [sample for sample in samples if sample.verdict and not sample.verdict.is_verdict]
    if len(failed) > config.verifier_error_limit * len(samples):
        raise _too_many(failed, len(samples), config)


def _too_many(failed: Sequence[Sample], num_samples: int, config: Config) -> RlsdError:
    example = failed[0]
    assert example.verdict
    outcomes = Counter(str(sample.verdict.outcome) for sample in failed if sample.verdict)
    kinds = ", ".join(f"{count} {kind}" for kind, count in outcomes.most_common())
    response = shlex.quote(example.response) if len(example.response) <= LONGEST_SHOWN else "..."
    command = f"--verifier {shlex.quote(example.problem.verifier or config.verifier)} --answer "
    command += f"{shlex.quote(example.problem.answer)} --response {response} --explain"
    return RlsdError(
        f"{len(failed)} of {num_samples} responses reached no verdict ({kinds}), "
        f"e.g. to problem `{example.problem.id}`: {example.verdict.reason}",
        hint=f"`rlsd verify {command}` shows it\nmend the references or the verifier, or raise `verifier_error_limit`",
        exit_code=EXIT_NO,
    )


def assign_advantages(samples: Sequence[Sample], config: Config) -> None:
    """Scores against their group, for methods that need rewards."""
    if not config.row.needs_reward:
        return
    settings = config.advantage
    shape = (-1, config.group_size)
    advantages = group_advantages(
        torch.tensor([sample.score or 0.0 for sample in samples]).reshape(shape),
        torch.tensor([sample.counted for sample in samples], dtype=torch.bool).reshape(shape),
        baseline=settings.baseline,
        scale=settings.scale,
        ddof=settings.ddof,
        eps=settings.eps,
    )
    for sample, advantage in zip(samples, advantages.flatten().tolist(), strict=True):
        sample.advantage = advantage


DeadReason = Literal["all_right", "all_wrong", "equal", "unjudged"]


def dead_reason(group: Sequence[Sample]) -> DeadReason | None:
    """Why a group cannot move the weights by reward: no response that counts has an advantage; None where one has.

    `equal`: all scores are one value other than 0 and 1. `unjudged`: too few of them count to be compared.
    """
    counted = [sample for sample in group if sample.counted or sample.replaced]
    if any(sample.advantage != 0 for sample in counted):
        return None
    scores = {sample.score for sample in counted}
    if len(counted) < min(2, len(group)):
        return "unjudged"
    return "all_right" if scores == {1.0} else "all_wrong" if scores == {0.0} else "equal"


def replace_dead_groups(samples: Sequence[Sample], config: Config) -> int:
    """Take as many dead groups out of the loss as there are groups beyond `prompts_per_step`.

    Returns how many dead ones are left in it.
    """
    groups = groups_of(samples, config)
    dead = [group for group in groups if dead_reason(group)]
    num_replaced = min(len(dead), len(groups) - config.prompts_per_step)
    for group in dead[:num_replaced]:
        for sample in group:
            sample.replaced = sample.replaced or sample.counted
            sample.counted = False
    return len(dead) - num_replaced


def is_replaced(group: Sequence[Sample]) -> bool:
    """Whether another group stands for a dead one."""
    return any(sample.replaced for sample in group)


def groups_of(samples: Sequence[Sample], config: Config) -> list[Sequence[Sample]]:
    """Rollouts by problem, in the order they were drawn."""
    return [samples[start : start + config.group_size] for start in range(0, len(samples), config.group_size)]


def shares(groups: Sequence[Sequence[Sample]], parts: int) -> list[list[Sample]]:
    """The rollouts of groups in `parts` nearly equal shares of whole groups."""
    bounds = [round(index * len(groups) / parts) for index in range(parts + 1)]
    return [list(chain.from_iterable(groups[low:high])) for low, high in pairwise(bounds)]
