"""Whether prompts leave room for the longest response; nothing is ever cut."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.chat import ChatTokenizer
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, student_text, teacher_text
from rlsd_cli.errors import RlsdError


class Room(NamedTuple):
    """The tokens that a model can hold, and how many of them the longest response takes."""

    context_length: int
    response: int

    @property
    def prompt(self) -> int:
        return self.context_length - self.response


class Overlong(NamedTuple):
    """A prompt that is too long: the place of its problem among others, the problem, and its tokens."""

    place: int
    problem: Problem
    tokens: int


def too_long(problems: Iterable[Problem], prompts: Iterable[Sequence[int]], limit: int) -> list[Overlong]:
    """The problems whose prompts have more tokens than the limit."""
    pairs = enumerate(zip(problems, prompts, strict=True))
    return [Overlong(place, problem, len(prompt)) for place, (problem, prompt) in pairs if len(prompt) > limit]


def too_long_for_student(
    problems: Sequence[Problem], config: Config, tokenizer: ChatTokenizer, room: Room
) -> list[Overlong]:
    """The problems whose prompts leave no room."""
    prompts = (prompt_ids(student_text(problem, config), config, tokenizer) for problem in problems)
    return too_long(problems, prompts, room.prompt)


def too_long_for_teacher(
    problems: Sequence[Problem], config: Config, tokenizer: ChatTokenizer, room: Room
) -> list[Overlong]:
    """The problems whose privileged view leaves no room, or has more than `teacher.max_prompt_tokens`."""
    views = (prompt_ids(teacher_text(problem, config), config, tokenizer) for problem in problems)
    return too_long(problems, views, teacher_limit(config, room.prompt))


def teacher_limit(config: Config, room: int) -> int:
    """The longest view the teacher may read, in tokens, where so many have room."""
    return min(room, config.teacher.max_prompt_tokens or room)


def student_refusal(found: Sequence[Overlong], total: int, things: str, room: Room) -> RlsdError:
    """Why problems cannot be answered; `things` are the problems of which there are `total`."""
    return RlsdError(
        f"{_worst(found, total, things, 'prompt')}, and of the model's {room.context_length:,} a response of "
        f"{room.response:,} leaves {max(0, room.prompt):,}",
        hint="`prompt.overlong=skip` leaves such problems out; or lower `rollout.max_new_tokens` or "
        "`evaluation.max_new_tokens`",
    )


def teacher_refusal(found: Sequence[Overlong], total: int, limit: int) -> RlsdError:
    """Why the teacher cannot read its view of problems."""
    return RlsdError(
        f"{_worst(found, total, 'training problems', 'teacher prompt')}, and {max(0, limit):,} fit",
        hint="set `teacher.overlong=skip`, raise `teacher.max_prompt_tokens`, or choose a shorter view",
    )


def _worst(found: Sequence[Overlong], total: int, things: str, prompt: str) -> str:
    worst = max(found, key=lambda each: each.tokens)
    are = "is" if len(found) == 1 else "are"
    return (
        f"{len(found):,} of {total:,} {things} {are} too long: the {prompt} of `{worst.problem.id}` has "
        f"{worst.tokens:,} tokens"
    )
