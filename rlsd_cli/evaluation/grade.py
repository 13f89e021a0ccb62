"""Responses to verdicts, each by its problem's verifier."""

from collections.abc import Mapping, Sequence

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_verifiers import VERIFIERS, Submission, Verdict, check_reference, verify


def submission(problem: Problem, response: str) -> Submission:
    return Submission(
        response=response,
        answer=problem.answer,
        tests=problem.tests,
        entry_point=problem.entry_point,
        choices=problem.choices,
        question=problem.question,
    )


def grade(problems: Sequence[Problem], responses: Sequence[str], config: Config) -> list[Verdict]:
    """One verdict a response, in order."""
    return [
        verify(submission(problem, response), problem.verifier or config.verifier)
        for problem, response in zip(problems, responses, strict=True)
    ]


def check_problems(problems: Sequence[Problem], config: Config) -> dict[str, str]:
    """Why references cannot be graded, by problem id; empty when all can.

    Raises:
        RlsdError: a problem or the config names a verifier that does not exist.
    """
    faults = {}
    for problem in problems:
        name = problem.verifier or config.verifier
        if name not in VERIFIERS:
            raise RlsdError(
                f"problem `{problem.id}` asks for verifier `{name}`, which does not exist",
                hint=did_you_mean(name, VERIFIERS) or f"verifiers: {', '.join(VERIFIERS)}",
            )
        if fault := check_reference(submission(problem, ""), name):
            faults[problem.id] = fault
    return faults


def describe_faults(faults: Mapping[str, str]) -> str:
    """`2 cannot be graded: `p7` (why), `p9` (why)`; the first three are named."""
    examples = ", ".join(f"`{name}` ({reason})" for name, reason in list(faults.items())[:3])
    return f"{len(faults)} cannot be graded: {examples}"
