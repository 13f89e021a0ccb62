"""What the teacher of the laboratory is shown, by name, and what it then makes of responses."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.data.prompts import informed_text, prompt_ids
from rlsd_cli.data.views import OF_GROUPS, OF_PROBLEMS, Strangers
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.lab.cases import Case
from rlsd_cli.policy.model import Policy
from rlsd_cli.training.passes import Passes, Scored
from rlsd_verifiers import parse_number

Hint = Callable[[Case, Strangers, Config], str | None]


def _of_problem(name: str) -> Hint:
    def hint(case: Case, strangers: Strangers, config: Config) -> str | None:
        del strangers
        return next(iter(OF_PROBLEMS[name](case.member.rollout.problem, config)), None)

    return hint


def _of_group(name: str) -> Hint:
    def hint(case: Case, strangers: Strangers, config: Config) -> str | None:
        del strangers, config
        return next(iter(OF_GROUPS[name](case.attempt, case.group)), None)

    return hint


def _of_stranger(name: str, number: int) -> Hint:
    """What a view shows of the stranger of that number, from 0."""

    def hint(case: Case, strangers: Strangers, config: Config) -> str | None:
        others = islice(strangers.of(case.member.rollout.problem), number, None)
        return next((text for other in others for text in OF_PROBLEMS[name](other, config)), None)

    return hint


def _near(case: Case, strangers: Strangers, config: Config) -> str | None:
    """A number that misses the answer by 1 to 3, above or below; None where the answer is no whole number."""
    del strangers, config
    answer = case.member.rollout.problem.answer
    if (number := parse_number(answer)) is None or number != int(number):
        return None
    miss = zlib.crc32(case.member.rollout.problem.id.encode()) % 6
    return str(int(number) + (miss - 3 if miss < 3 else miss - 2))


def _peer(case: Case, strangers: Strangers, config: Config) -> str | None:
    """The first wrong answer of the group that is not the response's own."""
    del strangers, config
    others = (other.extracted for other in case.group if other.correct is False)
    return next((answer for answer in others if answer and answer != case.attempt.extracted), None)


def _extracted(case: Case, strangers: Strangers, config: Config) -> str | None:
    """The answer of the response itself."""
    del strangers, config
    return case.attempt.extracted


HINTS: Mapping[str, Hint] = {
    "answer": _of_problem("answer"),
    "solution": _of_problem("solution"),
    "near": _near,
    "other": _of_stranger("answer", 0),
    "other2": _of_stranger("answer", 1),
    "other_solution": _of_stranger("solution", 0),
    "own": _extracted,
    "self": _of_group("own"),
    "peer": _peer,
    "sibling": _of_group("sibling"),
    "hints": _of_problem("hints"),
    "none": _of_problem("none"),
}
MEANINGS: Mapping[str, str] = {
    "answer": "the reference answer",
    "solution": "the worked solution",
    "near": "a number that misses the answer by 1 to 3",
    "other": "the answer to another problem",
    "other2": "the answer to one more problem",
    "other_solution": "the solution of another problem",
    "own": "the answer that the response itself gives",
    "self": "the response itself",
    "peer": "a wrong answer of the same group, another than the response's own",
    "sibling": "a correct response of the same group",
    "hints": "the hints of the problem",
    "none": "nothing: its gap must be 0",
}
DEFAULT = ("answer", "solution", "near", "other", "own", "none")


def known_hints(names: Sequence[str]) -> list[str]:
    """The hints of these names, each once.

    Raises:
        RlsdError: (exit 2) a name is none.
    """
    for name in names:
        if name not in HINTS:
            raise RlsdError(f"no view named `{name}`", hint=did_you_mean(name, HINTS) or f"views: {', '.join(HINTS)}")
    return list(dict.fromkeys(names))


class Reads(NamedTuple):
    """A response as the student reads it, and the teacher after each hint; a hint without a text is not there."""

    student: Scored
    teacher: Mapping[str, Tensor]

    def gap(self, hint: str) -> Tensor | None:
        """Teacher less student, in nats; None where nothing was shown."""
        logp = self.teacher.get(hint)
        return None if logp is None else logp - self.student.logp


def read(
    cases: Sequence[Case], hints: Sequence[str], policy: Policy, passes: Passes, strangers: Strangers, config: Config
) -> list[Reads]:
    """Read each response after its own prompt, and after each hint, with the policy as its own teacher.

    A hint whose prompt leaves no room for the response is not shown.
    """
    responses = [case.member.rollout.token_ids for case in cases]
    students = _score(passes, [case.member.rollout.prompt.ids for case in cases], responses)
    teachers: list[dict[str, Tensor]] = [{} for _ in cases]
    for name in hints:
        prompts = dict(_prompts(name, cases, policy, strangers, config))
        found = _score(passes, list(prompts.values()), [responses[place] for place in prompts])
        for place, scored in zip(prompts, found, strict=True):
            teachers[place][name] = scored.logp
    return [Reads(student, teacher) for student, teacher in zip(students, teachers, strict=True)]


def _prompts(
    name: str, cases: Sequence[Case], policy: Policy, strangers: Strangers, config: Config
) -> Iterator[tuple[int, list[int]]]:
    """The prompts of the cases that the hint has a text for, by place."""
    for place, case in enumerate(cases):
        if (text := HINTS[name](case, strangers, config)) is not None:
            ids = prompt_ids(informed_text(case.member.rollout.problem, text, config), config, policy.tokenizer)
            if len(ids) + case.num_tokens <= policy.context_length:
                yield place, ids


def _score(passes: Passes, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[Scored]:
    scored = passes.score(prompts, responses, passes.cut(prompts, responses), None)
    return [scored[place] for place in range(len(responses))]
