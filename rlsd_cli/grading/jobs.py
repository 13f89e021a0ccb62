"""Responses to verdicts, each by its problem's verifier."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.distributed.ranks import processes_here
from rlsd_cli.errors import EXIT_MACHINE, EXIT_NO, RlsdError, did_you_mean
from rlsd_cli.runs.digests import verifier_input
from rlsd_sandbox.settings import Settings
from rlsd_verifiers import (
    AUTO,
    VERIFIERS,
    Job,
    Leniency,
    Outcome,
    Pool,
    Submission,
    UnknownVerifierError,
    Verdict,
    find_verifier,
)
from rlsd_verifiers.registry import resolve

NUM_TRIED = 8
"""References that a verifier of the user's is tried on before a run."""


GRADING = ("verifier", "verification", "sandbox")
"""The parts of a config that grading reads."""
WORKFORCE = frozenset(("workers", "launchers"))
"""Keys of `verification` that say who does the work, and change no verdict."""


def is_of_grading(key: str) -> bool:
    """True where grading reads a key of the config."""
    return key.partition(".")[0] in GRADING


def verdict_settings(config: Config) -> list[Any]:
    """The settings that decide a verdict, as JSON values; results are comparable where they are equal.

    The name of the verifier; the digest of its source, None for one of rlsd; its choices and limits; the sandbox.
    """
    source = verifier_input(config.verifier)
    return [
        config.verifier,
        source and source.digest,
        config.verification.model_dump(mode="json", exclude={*WORKFORCE}),
        config.sandbox.model_dump(mode="json"),
    ]


def leniency_of(config: Config) -> Leniency:
    """The leniency of verifiers that the config sets."""
    settings = config.verification
    return Leniency(**{name: getattr(settings, name) for name in Leniency._fields})


def open_pool(config: Config) -> Pool:
    """Worker processes with the config's limits; the caller closes them."""
    settings = config.verification
    cores = max(1, (os.cpu_count() or 1) // processes_here())
    return Pool(
        settings.workers or min(8, cores),
        timeout_seconds=settings.timeout_seconds,
        memory_mb=settings.memory_mb,
        sandbox=sandbox_of(config),
        launchers=[shlex.split(launcher) for launcher in settings.launchers],
    )


def sandbox_of(config: Config) -> Settings:
    """The limits of programs, and the level of isolation that they need."""
    return Settings.of([*config.sandbox.model_dump().values()])


def require_sandbox(config: Config) -> str:
    """Start the sandbox that programs will run in, once, and return what it is made of.

    Raises:
        RlsdError: it cannot be had (exit code 3).
    """
    from rlsd_sandbox import Sandbox, SandboxError

    try:
        with Sandbox(sandbox_of(config)) as sandbox:
            sandbox.start()
            return sandbox.name
    except SandboxError as error:
        raise RlsdError(
            f"programs cannot be run safely here: {error}",
            hint="`rlsd doctor` shows what is missing"
            + (
                "; `sandbox.allow_unsafe=true` runs them all the same"
                if config.sandbox.level in ("auto", "none")
                else ""
            ),
            exit_code=EXIT_MACHINE,
        ) from error


def stop_on_sandbox_error(verdicts: Iterable[Verdict]) -> None:
    """Stop where a sandbox failed even when it was started again: no response is scored for it.

    Raises:
        RlsdError: there was one (exit code 3).
    """
    for verdict in verdicts:
        if verdict.outcome is Outcome.SANDBOX_ERROR:
            hint = "nothing was scored 0 for it; `rlsd doctor` tests the sandbox, and the same command continues"
            raise RlsdError(verdict.reason, hint=hint, exit_code=EXIT_MACHINE)


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
    return Job(submission(problem, response), problem.verifier or config.verifier, leniency_of(config))


def grade(problems: Sequence[Problem], responses: Sequence[str], config: Config, pool: Pool) -> list[Verdict]:
    """Grade responses: one verdict each, in order."""
    pairs = zip(problems, responses, strict=True)
    return [*pool.verify(job(problem, response, config) for problem, response in pairs)]


def check_problems(problems: Sequence[Problem], config: Config, pool: Pool) -> dict[str, str]:
    """The reasons why references cannot be graded, by problem id; empty where all can.

    Each reference is submitted as its own answer, boxed; where a program is asked for, the solution, if there is one. A
    verifier of the user's may expect another form: it only has to load, and to reach a verdict on one of the first few.

    Raises:
        RlsdError: a problem or the config names a verifier that does not exist or does not load, or programs are to be
            run and cannot be run safely.
    """
    first_of_each = {problem.verifier: problem for problem in reversed(problems)}
    for problem in first_of_each.values():
        check_name(problem, config)
    if any(is_code(problem, config) for problem in problems):
        require_sandbox(config)
    own = [problem for problem in problems if problem.verifier or ":" not in config.verifier]
    verdicts = grade(own, [as_answer(problem, config) for problem in own], config, pool)
    try_out([problem for problem in problems if not problem.verifier], config, pool)
    stop_on_sandbox_error(verdicts)
    return {
        problem.id: verdict.reason
        for problem, verdict in zip(own, verdicts, strict=True)
        if not (verdict.correct or is_unsolved(problem, verdict, config))
    }


def verifier_of(problem: Problem, config: Config) -> str:
    """The name of the verifier that grades a problem; never `auto`."""
    return resolve(problem.verifier or config.verifier, submission(problem, ""))


def is_code(problem: Problem, config: Config) -> bool:
    """True where the answer to a problem is a program that will be run."""
    return verifier_of(problem, config) == "code"


def as_answer(problem: Problem, config: Config) -> str:
    """The reference as a response: the answer in a box, or where a program is asked for the solution."""
    return problem.solution or "pass" if is_code(problem, config) else rf"\boxed{{{problem.answer}}}"


def is_unsolved(problem: Problem, verdict: Verdict, config: Config) -> bool:
    """True where a problem has readable tests and no solution to run them on."""
    reference = problem.solution if is_code(problem, config) else problem.answer
    return problem.tests is not None and not reference and verdict.is_verdict


def check_name(problem: Problem, config: Config) -> None:
    """Refuse a problem's verifier that does not exist. Only the config may name code to import; data may not.

    Raises:
        RlsdError: it does not, or does not load.
    """
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


def try_out(problems: Sequence[Problem], config: Config, pool: Pool) -> None:
    """Raise RlsdError if a verifier of the user's reaches no verdict on any of the first references."""
    if ":" not in config.verifier or not problems:
        return
    tried = problems[:NUM_TRIED]
    verdicts = grade(tried, [as_answer(problem, config) for problem in tried], config, pool)
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
