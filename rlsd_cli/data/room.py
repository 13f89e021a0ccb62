"""Prompts that leave no room for the longest response; no prompt is ever truncated."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.chat import PROBE, ChatTokenizer, in_chat
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, student_text, teacher_text
from rlsd_cli.data.views import problem_views
from rlsd_cli.errors import RlsdError


class Window(NamedTuple):
    """The tokens that a model can hold, and how many of them the longest response takes."""

    context_length: int
    response: int

    @property
    def room(self) -> int:
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
    problems: Sequence[Problem], config: Config, tokenizer: ChatTokenizer, window: Window
) -> list[Overlong]:
    """The problems whose prompts leave no room."""
    return _too_long_texts(problems, student_text, config, tokenizer, window.room)


def too_long_for_teacher(
    problems: Sequence[Problem], config: Config, tokenizer: ChatTokenizer, window: Window
) -> list[Overlong]:
    """The problems of which a view leaves no room, or has more than `teacher.max_prompt_tokens`."""
    limit, found = teacher_limit(config, window.room), dict[int, Overlong]()
    for view in problem_views(config):
        for each in _too_long_texts(problems, partial(teacher_text, view=view), config, tokenizer, limit):
            found[each.place] = max(each, found.get(each.place, each), key=lambda each: each.tokens)
    return [found[place] for place in sorted(found)]


def _too_long_texts(
    problems: Sequence[Problem],
    view: Callable[[Problem, Config], str],
    config: Config,
    tokenizer: ChatTokenizer,
    limit: int,
) -> list[Overlong]:
    """As `too_long`, where only views are tokenised that have more bytes than the limit has tokens.

    No token is of less than a byte, once the text is decomposed as far as any tokenizer does it.
    """
    once, twice = (num_bytes(in_chat(PROBE * times, config.prompt, tokenizer)) for times in (1, 2))
    copies, around = (twice - once) / len(PROBE), once + MARGIN
    texts = [(problem, view(problem, config)) for problem in problems]
    return [
        Overlong(place, problem, num_tokens)
        for place, (problem, text) in enumerate(texts)
        if around + copies * num_bytes(text) > limit
        and (num_tokens := len(prompt_ids(text, config, tokenizer))) > limit
    ]


MARGIN = 16
"""Tokens that a tokenizer may put before texts, and between them."""


def num_bytes(text: str) -> int:
    """Bytes of a text with all of its characters decomposed."""
    return len(unicodedata.normalize("NFKD", text).encode("utf-8", "surrogatepass"))


def teacher_limit(config: Config, room: int) -> int:
    """The longest view the teacher may read, in tokens, where so many have room."""
    return min(room, config.teacher.max_prompt_tokens or room)


def student_refusal(found: Sequence[Overlong], total: int, things: str, window: Window) -> RlsdError:
    """Why problems cannot be answered; `things` are the problems of which there are `total`."""
    return RlsdError(
        f"{_worst(found, total, things, 'prompt')}, and with a response of {window.response:,} these do not fit the "
        f"model's {window.context_length:,}",
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
