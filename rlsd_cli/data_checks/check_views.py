"""The student's and the teacher's view of a problem before any training: missing parts, leaked answers, lengths."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.choices import stem, why_unlisted
from rlsd_cli.data.problems import Problem, folded
from rlsd_cli.data.prompts import forged_tokens, prompt_ids, student_text, teacher_text
from rlsd_cli.data.room import teacher_limit
from rlsd_cli.data.views import OF_PROBLEMS
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import verifier_of
from rlsd_verifiers import parse_number
from rlsd_verifiers.verdict import shorten

FAULTS = (
    "unreadable",
    "duplicate_id",
    "bad_reference",
    "rejects_itself",
    "accepts_perturbed",
    "solution_disagrees",
    "no_view",
    "leaks",
    "too_long",
)
"""What makes a problem unfit for training."""

NOTES = (
    "odd_row",
    "repeated",
    "unsolved",
    "choices_not_added",
    "answer_in_question",
    "answer_not_in_view",
    "control_token",
    "prompt_skipped",
    "teacher_skipped",
)
"""What is worth knowing about a problem that is fit."""

MIN_SOLUTION_CHARS = 20
MIN_ANSWER_CHARS = 12
"""Shorter ones may stand in a question by chance."""

WORKED_OUT = frozenset({"math", "numeric", "countdown"})
"""Verifiers of answers that are worked out."""


class Flag(NamedTuple):
    """A finding about a problem: its reason, one of `FAULTS` or `NOTES`, and its details."""

    reason: str
    detail: str

    @property
    def is_fault(self) -> bool:
        return self.reason in FAULTS


class Tokens(NamedTuple):
    """The lengths of both views; None for a teacher that reads nothing."""

    student: int
    teacher: int | None


class Reading(NamedTuple):
    """How views are read.

    view_asked: True where a view that cannot be made is a fault
    tokenizer: None: lengths are unknown
    context_length: tokens that the model can hold
    """

    view_asked: bool
    tokenizer: Any = None
    context_length: int = 0


def view_flags(problem: Problem, config: Config, reading: Reading) -> tuple[list[Flag], Tokens | None]:
    """The findings about the two views of a problem, and their lengths."""
    student, teacher = student_text(problem, config), None
    flags = [*_leaks(problem, config)]
    if unlisted := why_unlisted(problem):
        flags.append(Flag("choices_not_added", unlisted))
    if config.recipe.views and config.teacher.view in OF_PROBLEMS:
        try:
            teacher = teacher_text(problem, config)
        except RlsdError:
            if reading.view_asked:
                flags.append(Flag("no_view", f"there is no `{config.teacher.view}`, which the teacher is shown"))
        if teacher and config.teacher.view == "solution" and not _holds_answer(problem):
            flags.append(Flag("answer_not_in_view", f"`{shorten(problem.answer)}` does not occur in the solution"))
    elif reading.view_asked and config.recipe.responses == "solution" and not problem.solution:
        flags.append(Flag("no_view", "there is no `solution`, which the student is trained on"))
    if reading.tokenizer is None:
        return flags, None
    if forged := forged_tokens(problem, config, reading.tokenizer):
        words = ", ".join(f"`{token}`" for token in forged)
        flags.append(
            Flag("control_token", f"{words} in its text looks like a control token; it is tokenised as plain text")
        )
    tokens = Tokens(
        len(prompt_ids(student, config, reading.tokenizer)),
        None if teacher is None else len(prompt_ids(teacher, config, reading.tokenizer)),
    )
    return [*flags, *_too_long(tokens, config, reading.context_length)], tokens


def _leaks(problem: Problem, config: Config) -> Iterator[Flag]:
    """Flag a student's view that holds the solution or the answer. A number may be in a question by chance.

    The choices are left out of the view: one of them is the answer, and a solution may repeat it.

    What is worked out does not stand in its question. Another text may: it is picked from the question, or is one of
    the answers that the question allows.
    """
    view = folded(student_text(problem._replace(question=stem(problem), choices=None), config))
    solution, answer = folded(problem.solution or ""), folded(problem.answer)
    if len(solution) >= MIN_SOLUTION_CHARS and solution in view:
        yield Flag("leaks", "the student's view holds the worked solution")
    long = len(answer.replace(" ", "")) >= MIN_ANSWER_CHARS
    if long and answer in view and not problem.choices and parse_number(answer) is None:
        reason = "leaks" if verifier_of(problem, config) in WORKED_OUT else "answer_in_question"
        yield Flag(reason, f"the student's view holds the answer `{shorten(answer)}`")


def _holds_answer(problem: Problem) -> bool:
    """True where the answer is in the solution, as it is written or as another notation of the same number."""
    answer, solution = folded(problem.answer), folded(problem.solution or "")
    if answer in solution:
        return True
    number = parse_number(answer)
    return number is not None and any(parse_number(word) == number for word in _NUMBER.findall(solution))


_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*)?\.?\d+(?:/\d+)?%?")


def _too_long(tokens: Tokens, config: Config, window: int) -> Iterator[Flag]:
    """A view that leaves no room for the longest response; what is left out, or the teacher may skip, is only noted."""
    response = config.rollout.max_new_tokens
    room = f"and with {response:,} of a response that is more than the model's {window:,}"
    if tokens.student + response > window:
        skipped = config.prompt.overlong == "skip"
        reason = "prompt_skipped" if skipped else "too_long"
        yield Flag(reason, f"the student's view has {tokens.student:,} tokens, {room}")
        if skipped:
            return
    if tokens.teacher is None:
        return
    longest = config.teacher.max_prompt_tokens or window
    if tokens.teacher > teacher_limit(config, window - response):
        reason = "teacher_skipped" if config.teacher.overlong == "skip" else "too_long"
        why = room if tokens.teacher + response > window else f"and `teacher.max_prompt_tokens` is {longest:,}"
        yield Flag(reason, f"the teacher's view has {tokens.teacher:,} tokens, {why}")
