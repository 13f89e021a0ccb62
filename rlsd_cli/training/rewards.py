"""Verdicts to scores, scores to advantages."""

import shlex
from collections import Counter
from collections.abc import Sequence

import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.core.advantages import group_advantages
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.evaluation.grade import stop_on_sandbox_error
from rlsd_cli.training.samples import Sample

LONGEST_SHOWN = 200
"""Characters of a response that is repeated in a hint."""


def assign_scores(samples: Sequence[Sample], config: Config) -> None:
    """Wait for the verdicts that are still open, and score every response.

    Where the method needs rewards, a response without a verdict leaves baseline and loss.

    Raises:
        RlsdError: the sandbox failed, or more than `verifier_error_limit` of them reached no verdict.
    """
    for sample in samples:
        if sample.pending is None:
            continue
        verdict = sample.verdict = sample.pending.result()
        stop_on_sandbox_error([verdict])
        sample.score = verdict.score if verdict.is_verdict else None
        if sample.truncated and config.rollout.truncated == "mask":
            sample.counted = False
        elif sample.truncated and verdict.is_verdict:
            sample.score = 0.0
        if sample.score is None and config.row.needs_reward:
            sample.counted = False
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
        torch.tensor([sample.counted for sample in samples]).reshape(shape),
        baseline=settings.baseline,
        scale=settings.scale,
        ddof=settings.ddof,
        eps=settings.eps,
    )
    for sample, advantage in zip(samples, advantages.flatten().tolist(), strict=True):
        sample.advantage = advantage
