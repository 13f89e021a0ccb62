"""Two views of one problem: what the student reads, and what the privileged teacher reads.

Both go through the same chat template with the same system message and flags, so the only difference between the two
token sequences is the privileged text itself.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from rlsd_cli.config.schema import Config
from rlsd_cli.data.choices import listing
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import RlsdError


class ChatTokenizer(Protocol):
    """What a view needs of a tokenizer."""

    chat_template: Any

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any: ...

    def __call__(self, text: str, **options: Any) -> Any: ...


def fill(template: str, **values: str) -> str:
    """`{name}` replaced by its value in one pass: braces in the template and in the values stay as they are."""
    return re.sub("|".join(rf"\{{{name}\}}" for name in values), lambda match: values[match[0][1:-1]], template)


def student_text(problem: Problem, config: Config) -> str:
    """The user message the student reads; its choices stand behind the question, or where the template says."""
    template, question, choices = config.prompt.template, problem.question, listing(problem)
    if not choices:
        template = _CHOICES_LEFT_OUT.sub("", template)
    elif "{choices}" not in template:
        question = f"{question.rstrip()}\n\n{choices}"
    return fill(template, question=question, choices=choices)


_CHOICES_LEFT_OUT = re.compile(r"\A\s*\{choices\}\s*|\s*\{choices\}")


def teacher_text(problem: Problem, config: Config) -> str:
    """The user message the teacher reads: the student's, with the reference the view shows; for `none` the same."""
    view = config.teacher.view
    if view == "none":
        return student_text(problem, config)
    reference = {"answer": problem.answer, "solution": problem.solution, "hints": _hints(problem, config)}[view]
    if not reference:
        instead = "`teacher.view=none`" if view == "answer" else "`teacher.view=answer` or `none`"
        raise RlsdError(
            f"problem `{problem.id}` has no `{view}`, which the teacher is to see",
            hint=f"set {instead}, or add the field to the data",
        )
    return fill(config.teacher.template, prompt=student_text(problem, config), reference=reference)


def _hints(problem: Problem, config: Config) -> str:
    """The first `teacher.num_hints` hints, numbered from 1."""
    shown = (problem.hints or ())[: config.teacher.num_hints]
    return "\n".join(f"{number}. {hint}" for number, hint in enumerate(shown, start=1))


def prompt_ids(text: str, config: Config, tokenizer: ChatTokenizer) -> list[int]:
    """Token ids of a user message through the chat template; plain text where the tokenizer has none."""
    if not tokenizer.chat_template:
        return list(tokenizer(f"{config.prompt.system}\n\n{text}" if config.prompt.system else text)["input_ids"])
    messages = [{"role": "user", "content": text}]
    if config.prompt.system is not None:
        messages.insert(0, {"role": "system", "content": config.prompt.system})
    flags = {} if config.prompt.thinking is None else {"enable_thinking": config.prompt.thinking}
    rendered = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, **flags
    )
    return list(rendered["input_ids"])


def check_room(problems: Sequence[Problem], prompts: Sequence[list[int]], limit: int, context_length: int) -> None:
    """Raise RlsdError for a problem whose prompt and longest response do not fit the model; nothing is cut."""
    for problem, prompt in zip(problems, prompts, strict=True):
        if len(prompt) + limit > context_length:
            raise RlsdError(
                f"problem `{problem.id}`: {len(prompt)} prompt tokens and a response of {limit} do not fit the model's "
                f"{context_length}",
                hint="lower `rollout.max_new_tokens` or `evaluation.max_new_tokens`, or leave the problem out",
            )
