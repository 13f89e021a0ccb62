"""A step as it is written down: one line for the step, one for every rollout."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.data.leakage import leaks
from rlsd_cli.data.pieces import Pieces
from rlsd_cli.rollout.records import Judged
from rlsd_cli.runs.records import RolloutRecord
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.learner import Trace, Updated
from rlsd_cli.training.metrics import left_out_metrics, rollout_metrics, update_metrics
from rlsd_cli.training.reading import Readings, Taught


def step_metrics(
    taught: Sequence[Taught], updated: Updated, config: Config, learning_rate: float, clock: Clock, step: int
) -> dict[str, Any]:
    """The line of a step in `metrics.jsonl`."""
    seconds = {f"{name}_seconds": value for name, value in clock.seconds.items()}
    return {
        "step": step,
        **rollout_metrics([each.group for each in taught], config),
        **update_metrics(updated.figures, config, step),
        **left_out_metrics(taught, updated.left_out),
        "learning_rate": learning_rate,
        **seconds,
    }


def rollout_records(
    taught: Sequence[Taught], updated: Updated, config: Config, tokenizer: Any, step: int
) -> list[RolloutRecord]:
    """The lines of a step's rollouts, group by group."""
    prompts: dict[tuple[int, ...], str] = {}
    pieces, records = Pieces(tokenizer), list[RolloutRecord]()
    for group, readings in taught:
        for place, (member, advantage, read) in enumerate(zip(group.members, group.advantages, readings, strict=True)):
            key, ids = (group.place, place), member.rollout.prompt.ids
            if ids not in prompts:
                prompts[ids] = tokenizer.decode(ids)
            member = member._replace(left_out=updated.left_out.get(key, member.left_out))
            trace = updated.traces.get(key)
            record = _record(member, advantage, read, trace, config, step, group.place, prompts[ids])
            records.append(record._replace(starts=pieces.starts(record.token_ids, record.response)))
    return records


def _record(
    member: Judged,
    advantage: float,
    read: Readings,
    trace: Trace | None,
    config: Config,
    step: int,
    group: int,
    prompt: str,
) -> RolloutRecord:
    rollout, verdict = member.rollout, member.verdict
    logps = {view: [scored.logp.tolist() for scored in each.scored] for view, each in read.items() if each.scored}
    sampled_logp = None if rollout.sampled_logp is None else list(rollout.sampled_logp)
    first = next(iter(logps.values()), [None])[0]
    return RolloutRecord(
        step=step,
        group=group,
        sample=rollout.number,
        problem_id=rollout.problem.id,
        prompt=prompt,
        prompt_ids=list(rollout.prompt.ids),
        drawn_under=rollout.drawn_under,
        version=rollout.version,
        response=rollout.text,
        token_ids=list(rollout.token_ids),
        truncated=rollout.truncated,
        outcome=str(verdict.outcome) if verdict else None,
        extracted=verdict.extracted if verdict else None,
        reason=verdict.reason if verdict else None,
        score=member.score,
        correct=verdict.correct if verdict else None,
        advantage=advantage,
        left_out=member.left_out,
        counted=member.left_out is None,
        leaks=leaks(rollout.text, config.data),
        sampled_logp=sampled_logp,
        old_logp=_numbers(trace and trace.old_logp),
        student_logp=_numbers(trace.student_logp) if trace else sampled_logp,
        teacher_logp=first or _numbers(trace and trace.teacher_logp),
        readings=logps,
        credit=_numbers(trace and trace.credit),
        sandbox=verdict.sandbox if verdict else None,
        weak=verdict.weak if verdict else False,
        verdict_score=verdict.score if verdict else None,
        values=[(value.length, value.score) for value in member.values],
        reward_parts=dict(member.parts),
        entropy=_numbers(trace and trace.entropy),
        pull=_numbers(trace and trace.pull),
        clipped=None if trace is None or trace.clipped is None else trace.clipped.int().tolist(),
    )


def _numbers(values: Tensor | None) -> list[float] | None:
    return None if values is None else values.tolist()
