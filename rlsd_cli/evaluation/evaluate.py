"""Held-out problems to scores with intervals."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.leakage import leaks
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.sources import problems_digest
from rlsd_cli.distributed.world import World
from rlsd_cli.evaluation.difficulty import sampling_of
from rlsd_cli.grading.answer_rows import how_it_ran
from rlsd_cli.grading.jobs import stop_on_sandbox_error, verifier_of
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.records import Pending
from rlsd_cli.rollout.respond import draw_keys, respond
from rlsd_cli.rollout.sampler import Sampler, Sampling
from rlsd_cli.statistics.rates import clustered, majority, mean_pass_at_k
from rlsd_verifiers.pool import Pool


class Evaluation(NamedTuple):
    """A row for every response with its verdict, and their summary (the keys of `rlsd eval --json`)."""

    rows: list[dict[str, Any]]
    summary: dict[str, Any]


def evaluate(
    policy: Policy,
    sampler: Sampler,
    problems: Sequence[Problem],
    config: Config,
    pool: Pool,
    keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Sample and grade `evaluation.samples` responses to each problem; `keys`: see `respond`.

    A problem whose reference could not be graded has no score.

    Raises:
        RlsdError: the sandbox failed.
    """
    samples, sampling, seed = config.evaluation.samples, sampling_of(config), f"{config.seed}/evaluation"
    responses = respond(
        policy, sampler, problems, config, pool, samples=samples, sampling=sampling, seed=seed, keys=keys
    )
    stop_on_sandbox_error(response.verdict.result() for response in responses)
    return [_row(response, index % samples, config) for index, response in enumerate(responses)]


def evaluate_together(
    policy: Policy, sampler: Sampler, problems: Sequence[Problem], config: Config, pool: Pool, world: World
) -> Evaluation:
    """Evaluate the policy as it is now on problems, of which each process takes a part."""
    started, samples = time.perf_counter(), config.evaluation.samples
    keys = world.local(draw_keys(problems))
    rows = evaluate(policy, sampler, world.local(problems), config, pool, keys)
    groups = world.all_items([rows[start : start + samples] for start in range(0, len(rows), samples)])
    return conclude(list(chain.from_iterable(groups)), config, time.perf_counter() - started, problems)


def conclude(rows: list[dict[str, Any]], config: Config, seconds: float, problems: Sequence[Problem]) -> Evaluation:
    """Summarise the rows of all problems, and the seconds that it took to sample and grade them.

    A response without a score is counted under its outcome and leaves the means of scores. Intervals are 95 %, with
    problems as the sampling unit.
    """
    summary = {
        "model": config.model,
        "data": config.eval_data or config.data,
        "decoding": in_words(sampling_of(config)),
        **summarise(rows, config.evaluation.samples),
        "seconds": seconds,
        "problems_sha256": problems_digest(problems),
    }
    return Evaluation(rows, summary)


def in_words(sampling: Sampling) -> str:
    """How responses are drawn: `greedy`, or `T=0.6 top-p=0.95`."""
    if sampling.temperature == 0:
        return "greedy"
    limits = [f"top-p={sampling.top_p:g}"] if sampling.top_p < 1 else []
    return " ".join([f"T={sampling.temperature:g}", *limits, *([f"top-k={sampling.top_k}"] if sampling.top_k else [])])


def _row(response: Pending, sample: int, config: Config) -> dict[str, Any]:
    verdict = response.verdict.result()
    return {
        "problem_id": response.rollout.problem.id,
        "sample": sample,
        "question": response.rollout.problem.question,
        "response": response.rollout.text,
        "answer": response.rollout.problem.answer,
        "verifier": verifier_of(response.rollout.problem, config),
        "extracted": verdict.extracted,
        "outcome": str(verdict.outcome),
        "score": verdict.score if verdict.is_verdict else None,
        "reason": verdict.reason,
        "tokens": len(response.rollout.token_ids),
        "truncated": response.rollout.truncated,
        "leaks": leaks(response.rollout.text, config.eval_data or config.data),
    } | how_it_ran(verdict)


def summarise(rows: Sequence[dict[str, Any]], samples: int) -> dict[str, Any]:
    """The numbers of an evaluation, each with the count that it is a mean of.

    problems, responses: all; of the responses, `judged` have a verdict and `no_verdict` have none
    n: problems with a verdict on at least one response, of which `mean` and its interval are
    pass_at_k_problems: those with at least k verdicts, of which `pass_at_k` is
    maj_at_k: how often the answer that most responses of a problem give is right, see `votes`; of `maj_at_k_problems`
    tokens_per_response, truncated_rate, leakage_rate: of all responses

    A mean of nothing is None.
    """
    groups = [rows[start : start + samples] for start in range(0, len(rows), samples)]
    scores = [[row["score"] for row in group] for group in groups]
    graded = [judged for group in scores if (judged := [score for score in group if score is not None])]
    interval = clustered(graded) if graded else None
    num_judged = sum(map(len, graded))
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k < samples] + [samples]
    passes = {str(k): mean_pass_at_k(graded, k) for k in ks}
    elected = [majority(*cast) for group in groups if samples > 1 and (cast := votes(group))]
    return {
        "problems": len(scores),
        "n": len(graded),
        "samples": samples,
        "responses": len(rows),
        "judged": num_judged,
        "no_verdict": len(rows) - num_judged,
        "mean": interval.mean if interval else None,
        "ci95": [interval.low, interval.high] if interval else None,
        "pass_at_k": {k: mean for k, (mean, _) in passes.items()},
        "pass_at_k_problems": {k: num_problems for k, (_, num_problems) in passes.items()},
        "maj_at_k": sum(elected) / len(elected) if elected else None,
        "maj_at_k_problems": len(elected),
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
        "tokens_per_response": sum(row["tokens"] for row in rows) / len(rows),
        "truncated_rate": sum(row["truncated"] for row in rows) / len(rows),
        "leakage_rate": sum(row["leaks"] for row in rows) / len(rows),
    }


def votes(group: Sequence[dict[str, Any]]) -> tuple[list[str | None], list[bool]] | None:
    """The answer of each judged response to a problem, and True where it is right; None where answers are no votes.

    They are none where programs are asked for, and where a verifier does not say which answer it accepted.
    """
    judged = [row for row in group if row["score"] is not None]
    answers, right = [row["extracted"] for row in judged], [row["score"] == 1 for row in judged]
    named = all(answer is not None for answer, is_right in zip(answers, right, strict=True) if is_right)
    return (answers, right) if judged and named and group[0]["verifier"] != "code" else None
