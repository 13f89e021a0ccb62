"""Held-out problems to scores with intervals."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.leakage import leaks
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import check_room, prompt_ids, student_text
from rlsd_cli.evaluation.grade import grade
from rlsd_cli.evaluation.statistics import clustered, mean_pass_at_k
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.sampler import Sampler, Sampling


class Evaluation(NamedTuple):
    """Every response with its verdict, and what they add up to (the keys of `rlsd eval --json`)."""

    rows: list[dict[str, Any]]
    summary: dict[str, Any]


def select(problems: Sequence[Problem], limit: int) -> list[Problem]:
    """At most `limit` problems, chosen by content, so the choice does not depend on their order."""
    return sorted(problems, key=lambda problem: (problem.fingerprint, problem.id))[:limit]


def evaluate(policy: Policy, sampler: Sampler, problems: Sequence[Problem], config: Config) -> Evaluation:
    """Sample and grade `evaluation.samples` responses to each problem.

    A problem whose reference could not be graded has no score: it is counted under its outcome and leaves the mean.
    Intervals are 95 %, with problems as the sampling unit.
    """
    started = time.perf_counter()
    settings = config.evaluation
    prompts = [prompt_ids(student_text(problem, config), config, policy.tokenizer) for problem in problems]
    sampling = Sampling(
        max_new_tokens=settings.max_new_tokens or config.rollout.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
    )
    check_room(problems, prompts, sampling.max_new_tokens, policy.context_length)
    rollouts = sampler.sample(prompts, settings.samples, sampling, seed=f"{config.seed}/evaluation")
    repeated = [problem for problem in problems for _ in range(settings.samples)]
    responses = [policy.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in rollouts]
    verdicts = grade(repeated, responses, config)
    rows = [
        {
            "problem_id": problem.id,
            "sample": index % settings.samples,
            "response": response,
            "answer": problem.answer,
            "extracted": verdict.extracted,
            "outcome": str(verdict.outcome),
            "score": verdict.score if verdict.is_verdict else None,
            "reason": verdict.reason,
            "tokens": len(rollout.token_ids),
            "truncated": rollout.truncated,
            "leaks": leaks(response, config.eval_data or config.data),
        }
        for index, (problem, response, verdict, rollout) in enumerate(
            zip(repeated, responses, verdicts, rollouts, strict=True)
        )
    ]
    summary = {"model": config.model, "data": config.eval_data or config.data, **summarise(rows, settings.samples)}
    return Evaluation(rows, summary | {"seconds": time.perf_counter() - started})


def summarise(rows: Sequence[dict[str, Any]], samples: int) -> dict[str, Any]:
    """The numbers of an evaluation; mean, interval and pass@k are None when no response could be graded."""
    scores = [[row["score"] for row in rows[start : start + samples]] for start in range(0, len(rows), samples)]
    graded = [judged for group in scores if (judged := [score for score in group if score is not None])]
    interval = clustered(graded) if graded else None
    complete = [[score == 1.0 for score in group] for group in graded if len(group) == samples]
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k < samples] + [samples]
    return {
        "n": len(graded),
        "samples": samples,
        "mean": interval.mean if interval else None,
        "ci95": [interval.low, interval.high] if interval else None,
        "pass_at_k": {str(k): mean_pass_at_k(complete, k) if complete else None for k in ks},
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
        "tokens_per_response": sum(row["tokens"] for row in rows) / len(rows),
        "truncated_rate": sum(row["truncated"] for row in rows) / len(rows),
        "leakage_rate": sum(row["leaks"] for row in rows) / len(rows),
    }
