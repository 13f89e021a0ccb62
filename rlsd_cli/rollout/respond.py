"""Responses to problems, graded while others are still being sampled."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, student_text
from rlsd_cli.data.room import Window, student_refusal, too_long
from rlsd_cli.grading.jobs import job
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.sampler import Rollout, Sampler, Sampling
from rlsd_verifiers import Verdict
from rlsd_verifiers.pool import Pool


class Response(NamedTuple):
    """One rollout as text, with the problem and the prompt it answers, and the verdict that is on its way."""

    problem: Problem
    prompt: list[int]
    rollout: Rollout
    text: str
    verdict: Future[Verdict]


def student_prompts(
    problems: Sequence[Problem], policy: Policy, config: Config, max_new_tokens: int
) -> list[list[int]]:
    """What the student reads; raises RlsdError where a response would not fit behind it."""
    prompts = [prompt_ids(student_text(problem, config), config, policy.tokenizer) for problem in problems]
    window = Window(policy.context_length, max_new_tokens)
    if found := too_long(problems, prompts, window.room):
        raise student_refusal(found, len(problems), "problems", window)
    return prompts


def draw_keys(problems: Sequence[Problem]) -> list[str]:
    """What each problem's draws depend on: its id, and how often it has occurred before, so that none repeats them."""
    seen: Counter[str] = Counter()
    keys = []
    for problem in problems:
        keys.append(f"{problem.id}/{seen[problem.id]}")
        seen[problem.id] += 1
    return keys


def respond(
    policy: Policy,
    sampler: Sampler,
    problems: Sequence[Problem],
    config: Config,
    pool: Pool,
    *,
    samples: int,
    sampling: Sampling,
    seed: str,
    keys: Sequence[str] | None = None,
) -> list[Response]:
    """`samples` responses to each problem, problem by problem; `keys`: their `draw_keys`, if among more problems.

    Each is submitted to the pool as soon as it ends, so that most verdicts are there when the last one has.
    """
    prompts = student_prompts(problems, policy, config, sampling.max_new_tokens)
    responses: dict[int, Response] = {}

    def finished(place: int, rollout: Rollout) -> None:
        problem, prompt = problems[place // samples], prompts[place // samples]
        text = policy.tokenizer.decode(rollout.token_ids, skip_special_tokens=True)
        responses[place] = Response(problem, prompt, rollout, text, pool.submit(job(problem, text, config)))

    keys = draw_keys(problems) if keys is None else keys
    sampler.sample(prompts, keys, samples, sampling, seed=seed, finished=finished)
    return [responses[place] for place in range(len(responses))]
