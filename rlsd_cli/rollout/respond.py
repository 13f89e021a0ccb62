"""Responses to problems, graded while others are still being sampled."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, student_text
from rlsd_cli.data.room import Window, student_refusal, too_long
from rlsd_cli.grading.jobs import job
from rlsd_cli.methods.base import STUDENT
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.records import Pending, Prompt, Rollout
from rlsd_cli.rollout.sampler import Completion, Sampler, Sampling
from rlsd_verifiers.pool import Pool


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


class Told(NamedTuple):
    """A view of the teacher, and the token ids of each problem's prompt after it."""

    under: str
    prompts: list[list[int]]


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
    version: int = 0,
    told: Told | None = None,
) -> list[Pending]:
    """Sample `samples` responses to each problem, problem by problem, and submit each to the pool as soon as it ends.

    Most verdicts are there when the last response has ended.

    Args:
        keys: The `draw_keys` of the problems, if they are some of more.
        version: The step whose weights sample.
        told: What to sample after, where that is not the student's prompt.
    """
    ids = student_prompts(problems, policy, config, sampling.max_new_tokens)
    prompts = [Prompt(tuple(each)) for each in ids]
    under, read = (STUDENT, ids) if told is None else told
    pending: dict[int, Pending] = {}

    def finished(place: int, completion: Completion) -> None:
        problem = problems[place // samples]
        text = policy.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
        rollout = Rollout(
            problem=problem,
            number=place % samples,
            prompt=prompts[place // samples],
            token_ids=tuple(completion.token_ids),
            sampled_logp=tuple(completion.sampled_logp),
            truncated=completion.truncated,
            text=text,
            version=version,
            drawn_under=under,
        )
        pending[place] = Pending(rollout, pool.submit(job(problem, text, config)))

    keys = draw_keys(problems) if keys is None else keys
    sampler.sample(read, keys, samples, sampling, seed=seed, finished=finished)
    return [pending[place] for place in range(len(pending))]
