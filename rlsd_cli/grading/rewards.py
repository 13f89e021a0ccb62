"""The parts of a score that functions in worker processes give: `format`, and the user's own."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from rlsd_cli.config.reward import FORMAT
from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.grading.jobs import NUM_TRIED, as_answer, submission
from rlsd_verifiers import Call, Submission, UnknownVerifierError, Verdict
from rlsd_verifiers.pool import Pool
from rlsd_verifiers.registry import absolute, describe, load
from rlsd_verifiers.rewards import MATCHES, takes_group

PART = "reward part"
"""What the reason of a response begins with that has no verdict because a part of its score has no value."""


class Part(NamedTuple):
    """A part of a response's score that is on its way.

    verdict: with the values of all responses that the function was called with
    place: which of them this one is
    of_group: True where the function was called with a whole group
    """

    verdict: Future[Verdict]
    place: int = 0
    of_group: bool = False

    @property
    def value(self) -> float:
        """The value; there is one where the verdict has `rewards`."""
        return self.verdict.result().rewards[self.place]

    @classmethod
    def known(cls, value: float) -> "Part":
        """One that is there already."""
        verdict: Future[Verdict] = Future()
        verdict.set_result(Verdict.of_rewards([value]))
        return cls(verdict)


def submit_parts(problem: Problem, responses: Sequence[str], config: Config, pool: Pool) -> list[Mapping[str, Part]]:
    """Call the functions among the parts of the score on the responses of a group: the parts of each response.

    Raises:
        RlsdError: a function of the user's does not exist or does not load.
    """
    given = tuple(submission(problem, response) for response in responses)
    parts: list[dict[str, Part]] = [{} for _ in responses]
    for name in config.reward.parts:
        if name == FORMAT:
            found = _one_by_one(Call(MATCHES, (), {"pattern": config.reward.pattern}), given, pool)
        elif name in config.reward.functions:
            found = _called(name, given, pool)
        else:
            continue
        for each, part in zip(parts, found, strict=True):
            each[name] = part
    return [*parts]


def _called(name: str, given: tuple[Submission, ...], pool: Pool) -> list[Part]:
    """A function of the user's on responses: on each by itself, or on all at once."""
    call = Call(absolute(name), given)
    if not _takes_group(name):
        return _one_by_one(call, given, pool)
    verdict = pool.submit(call)
    return [Part(verdict, place, of_group=True) for place in range(len(given))]


def _one_by_one(call: Call, given: Sequence[Submission], pool: Pool) -> list[Part]:
    return [Part(pool.submit(call._replace(submissions=(each,)))) for each in given]


def _takes_group(name: str) -> bool:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return takes_group(load(absolute(name), PART))
    except UnknownVerifierError as error:
        raise RlsdError(
            str(error), hint=f"`reward.parts`: `module:function` or `./file.py:function`, from {here}"
        ) from error
    except Exception as error:
        raise RlsdError(f"{PART} `{name}` does not load: {describe(error)}") from error


def failure(parts: Mapping[str, Part]) -> str | None:
    """Why a response has no verdict although its verifier reached one: a part of its score has no value.

    Raises:
        RlsdError: a function failed that is called with a whole group.
    """
    for name, part in parts.items():
        verdict = part.verdict.result()
        if not verdict.rewards:
            if part.of_group:
                raise RlsdError(
                    f"{PART} `{name}` gave a group of responses no values: {verdict.reason}",
                    hint="mend the function, or take it out with " + removal(name),
                    exit_code=EXIT_NO,
                )
            return f"{PART} `{name}`: {verdict.reason}"
    return None


def removal(name: str) -> str:
    """The words of the command line that leave a part out."""
    return f"`reward.parts.{name}=0`"


def check_rewards(problems: Sequence[Problem], config: Config, pool: Pool) -> None:
    """Try the user's functions before a run, on the references of some problems as responses; one value is enough.

    Raises:
        RlsdError: one does not exist or does not load, or has no value for any of the references.
    """
    tried = problems[:NUM_TRIED]
    answers = [
        submit_parts(problem, [as_answer(problem, config)] * config.group_size, config, pool) for problem in tried
    ]
    for name in config.reward.functions:
        found = [group[0][name].verdict.result() for group in answers]
        if found and not any(verdict.rewards for verdict in found):
            raise RlsdError(
                f"{PART} `{name}` has no value for any of {len(tried)} references submitted as responses, e.g. that of "
                f"problem `{tried[0].id}`: {found[0].reason}",
                hint="mend the function, or take it out with " + removal(name),
                exit_code=EXIT_NO,
            )
