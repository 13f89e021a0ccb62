"""Responses to verdicts, each by its problem's verifier."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import EXIT_NO, RlsdError, did_you_mean
from rlsd_verifiers import AUTO, VERIFIERS, Job, Policy, Pool, Submission, UnknownVerifierError, Verdict, find_verifier

NUM_TRIED = 8
"""References that a verifier of the user's is tried on before a run."""


def policy_of(config: Config) -> Policy:
    """What the config leaves to the verifiers."""
    settings = config.verification
    return Policy(**{name: getattr(settings, name) for name in Policy._fields})


def open_pool(config: Config) -> Pool:
    """Worker processes with the config's limits; the caller closes them."""
    settings = config.verification
    return Pool(settings.workers, timeout_seconds=settings.timeout_seconds, memory_mb=settings.memory_mb)


def submission(problem: Problem, response: str) -> Submission:
    return Submission(
        response=response,
        answer=problem.answer,
        tests=problem.tests,
        entry_point=problem.entry_point,
        choices=problem.choices,
        question=problem.question,
    )


def job(problem: Problem, response: str, config: Config) -> Job:
    """A response as a pool takes it."""
    return Job(submission(problem, response), problem.verifier or config.verifier, policy_of(config))


def grade(problems: Sequence[Problem], responses: Sequence[str], config: Config, pool: Pool) -> list[Verdict]:
    """One verdict a response, in order."""
    pairs = zip(problems, responses, strict=True)
    return [*pool.verify(job(problem, response, config) for problem, response in pairs)]


def check_problems(problems: Sequence[Problem], config: Config, pool: Pool) -> dict[str, str]:
    """Why references cannot be graded, by problem id; empty when all can.

    Each reference is submitted as its own answer, boxed. A verifier of the user's may expect another form: it only has
    to load, and to reach a verdict on one of the first few.

    Raises:
        RlsdError: a problem or the config names a verifier that does not exist or does not load.
    """
    first_of_each = {problem.verifier: problem for problem in reversed(problems)}
    for problem in first_of_each.values():
        _check_name(problem, config)
    own = [problem for problem in problems if problem.verifier or ":" not in config.verifier]
    verdicts = grade(own, [_as_answer(problem) for problem in own], config, pool)
    _try_out([problem for problem in problems if not problem.verifier], config, pool)
    return {problem.id: verdict.reason for problem, verdict in zip(own, verdicts, strict=True) if not verdict.correct}


def _as_answer(problem: Problem) -> str:
    return rf"\boxed{{{problem.answer}}}"


def _check_name(problem: Problem, config: Config) -> None:
    """Data may not name code to import: only the config may."""
    name = problem.verifier or config.verifier
    if name in (AUTO, *VERIFIERS):
        return
    asks = f"problem `{problem.id}` asks for verifier `{name}`, which"
    if ":" not in name:
        raise RlsdError(f"{asks} does not exist", hint=did_you_mean(name, VERIFIERS) or _known())
    if problem.verifier:
        raise RlsdError(f"{asks} is code to import, and data may not name that", hint=f"set the key `verifier={name}`")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        find_verifier(name)
    except UnknownVerifierError as error:
        raise RlsdError(str(error), hint=f"{_known()}, or `module:function` from {here}") from error


def _known() -> str:
    return f"verifiers: {', '.join([AUTO, *VERIFIERS])}"


def _try_out(problems: Sequence[Problem], config: Config, pool: Pool) -> None:
    if ":" not in config.verifier or not problems:
        return
    tried = problems[:NUM_TRIED]
    verdicts = grade(tried, [_as_answer(problem) for problem in tried], config, pool)
    if not any(verdict.is_verdict for verdict in verdicts):
        raise RlsdError(
            f"verifier `{config.verifier}` reached no verdict on any of {len(tried)} references submitted as their own "
            f"answers, e.g. that of problem `{tried[0].id}`: {verdicts[0].reason}",
            hint=f"`rlsd verify --verifier {config.verifier} --answer .. --response .. --explain` shows one",
            exit_code=EXIT_NO,
        )


def describe_faults(faults: Mapping[str, str]) -> str:
    """`2 cannot be graded: `p7` (why), `p9` (why)`; the first three are named."""
    examples = ", ".join(f"`{name}` ({reason})" for name, reason in list(faults.items())[:3])
    return f"{len(faults)} cannot be graded: {examples}"
