"""Verdicts to scores, scores to advantages; and groups without signal, because nothing in them has an advantage."""

import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import torch

from rlsd_cli.config.reward import ANSWER, OVERLONG
from rlsd_cli.config.schema import Config
from rlsd_cli.core.advantages import group_advantages
from rlsd_cli.core.rewards import overlong, total
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.grading.jobs import stop_on_sandbox_error
from rlsd_cli.grading.rewards import PART, failure, removal
from rlsd_cli.rollout.records import Group, Judged, LeftOut, Pending
from rlsd_verifiers import Outcome

LONGEST_SHOWN = 200
"""Characters of a response that is repeated in a hint."""
T = TypeVar("T")


def judge(pending: Pending, config: Config) -> Judged:
    """Wait for the verdict on a rollout, and score it with the weighted sum of its parts.

    Where scores enter the loss, a response without a verdict leaves baseline and loss. There is none where the verifier
    reached none, or where a part of the score has no value.

    Raises:
        RlsdError: the sandbox failed, or a function that is called with a whole group.
    """
    rollout, verdict = pending.rollout, pending.verdict.result()
    stop_on_sandbox_error([verdict])
    if verdict.is_verdict and (why := failure(pending.parts)):
        verdict = verdict._replace(outcome=Outcome.CRASH, score=0.0, reason=why)
    parts = _parts(pending, verdict.score, config) if verdict.is_verdict else {}
    score = total(parts, config.reward.parts) if parts else None
    left_out: LeftOut | None = "no_verdict" if score is None and config.recipe.scored else None
    if rollout.truncated and config.rollout.truncated == "mask":
        left_out = "truncated"
    return Judged(rollout, verdict, score, left_out, parts=parts)


def _parts(pending: Pending, answer: float, config: Config) -> dict[str, float]:
    """The parts of a response's score. The answer of one that was cut at the limit is 0, unless it is masked."""
    rollout, settings, limit = pending.rollout, config.reward, config.rollout.max_new_tokens
    is_zero = rollout.truncated and config.rollout.truncated == "zero"
    known = {
        ANSWER: 0.0 if is_zero else answer,
        OVERLONG: overlong(len(rollout.token_ids), limit, settings.buffer(limit)),
        **{name: part.value for name, part in pending.parts.items()},
    }
    if unknown := [name for name in settings.parts if name not in known]:
        raise RlsdError(
            f"the rollouts were recorded without the part `{unknown[0]}`", hint="leave it out: " + removal(unknown[0])
        )
    return {name: known[name] for name in settings.parts}


def advantages_of(groups: Sequence[Sequence[Judged]], config: Config) -> list[tuple[float, ...]]:
    """Compare the scores of each group's rollouts, all groups of one size; 0 where scores do not enter the loss."""
    if not config.recipe.scored or not groups:
        return [(0.0,) * len(group) for group in groups]
    settings = config.advantage
    advantages = group_advantages(
        torch.tensor([[member.score or 0.0 for member in group] for group in groups]),
        torch.tensor([[member.left_out is None for member in group] for group in groups]),
        baseline=settings.baseline,
        scale=settings.scale,
        ddof=settings.ddof,
        eps=settings.eps,
    )
    return [tuple(row) for row in advantages.tolist()]


COMPARED = (None, "replaced")
"""What is said of the rollouts that were in a baseline, whether or not another group stands for theirs now."""
ZeroVariance = Literal["all_right", "all_wrong", "equal", "unjudged"]


def zero_variance(group: Group) -> ZeroVariance | None:
    """Say why no rollout of a group has an advantage, so that rewards cannot move the weights; None where one has.

    `all_right`, `all_wrong`: so are the answers. `equal`: all scores are one value, and it is neither. `unjudged`: too
    few of them count to be compared.
    """
    own = group.own
    pairs = zip(own, group.advantages[: len(own)], strict=True)
    compared = [(member, advantage) for member, advantage in pairs if member.left_out in COMPARED]
    if any(advantage != 0 for _, advantage in compared):
        return None
    answers = {member.parts.get(ANSWER) for member, _ in compared}
    if len(compared) < min(2, len(own)):
        return "unjudged"
    return "all_right" if answers == {1.0} else "all_wrong" if answers == {0.0} else "equal"


def replace_zero_variance(groups: Sequence[Group], num_wanted: int) -> list[Group]:
    """Leave out as many groups without signal as there are groups beyond those that are wanted, the first ones."""
    flat = [group.place for group in groups if zero_variance(group)]
    replaced = set(flat[: max(0, len(groups) - num_wanted)])
    return [_left_out(group) if group.place in replaced else group for group in groups]


def _left_out(group: Group) -> Group:
    members = (member._replace(left_out=member.left_out or "replaced") for member in group.members)
    return group._replace(members=tuple(members))


def is_replaced(group: Group) -> bool:
    """True where another group stands for this one."""
    return any(member.left_out == "replaced" for member in group.members)


def check_verdicts(groups: Sequence[Group], config: Config) -> None:
    """Raise RlsdError where more than `verifier_error_limit` of the responses reached no verdict."""
    members = [member for group in groups for member in group.members]
    failed = [member for member in members if member.verdict and not member.verdict.is_verdict]
    if len(failed) > config.verifier_error_limit * len(members):
        raise _too_many(failed, len(members), config)


def _too_many(failed: Sequence[Judged], num_responses: int, config: Config) -> RlsdError:
    rollout, verdict = failed[0].rollout, failed[0].verdict
    assert verdict
    problem = rollout.problem
    outcomes = Counter(str(member.verdict.outcome) for member in failed if member.verdict)
    kinds = ", ".join(f"{count} {kind}" for kind, count in outcomes.most_common())
    response = shlex.quote(rollout.text) if len(rollout.text) <= LONGEST_SHOWN else "..."
    command = f"--verifier {shlex.quote(problem.verifier or config.verifier)} --answer "
    command += f"{shlex.quote(problem.answer)} --response {response} --explain"
    shown = f"`rlsd verify {command}` shows it\nmend the references or the verifier"
    if verdict.reason.startswith(PART):
        shown = "mend the function, or take it out of `reward.parts`"
    return RlsdError(
        f"{len(failed)} of {num_responses} responses reached no verdict ({kinds}), "
        f"e.g. to problem `{problem.id}`: {verdict.reason}",
        hint=f"{shown}, or raise `verifier_error_limit`",
        exit_code=EXIT_NO,
    )


def shares(groups: Sequence[T], parts: int) -> list[Sequence[T]]:
    """Cut groups into `parts` nearly equal shares."""
    bounds = [round(index * len(groups) / parts) for index in range(parts + 1)]
    return [groups[low:high] for low, high in pairwise(bounds)]
