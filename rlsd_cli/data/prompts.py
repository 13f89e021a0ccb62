"""Two views of one problem: what the student reads, and what the privileged teacher reads.

Both go through the same chat template with the same system message and flags, so the only difference between the two
token sequences is the privileged text itself.
"""

import re
from functools import lru_cache

from rlsd_cli.config.schema import Config
from rlsd_cli.data.chat import PROBE, ChatTokenizer, in_chat
from rlsd_cli.data.choices import listing
from rlsd_cli.data.control import control_tokens, encode, forged, quoted, special_tokens
from rlsd_cli.data.message import Message, fill
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.views import OF_PROBLEMS, problem_views
from rlsd_cli.errors import RlsdError


def student_text(problem: Problem, config: Config) -> Message:
    """The user message the student reads; its choices stand behind the question, or where the template says."""
    template, question, choices = config.prompt.template, problem.question, listing(problem)
    if not choices:
        template = _CHOICES_LEFT_OUT.sub("", template)
    elif "{choices}" not in template:
        question = f"{question.rstrip()}\n\n{choices}"
    return fill(template, question=question, choices=choices)


_CHOICES_LEFT_OUT = re.compile(r"\A\s*\{choices\}\s*|\s*\{choices\}")


def teacher_text(problem: Problem, config: Config, view: str | None = None) -> Message:
    """The user message the teacher reads after a view that the problem alone decides; None: that of `teacher.view`.

    Raises:
        RlsdError: the problem lacks what is to be shown, or it takes responses to know it.
    """
    view = view or config.teacher.view
    if view not in OF_PROBLEMS:
        raise RlsdError(f"what the teacher is shown, `{view}`, is known once there are responses")
    if texts := OF_PROBLEMS[view](problem, config):
        return informed_text(problem, texts[0], config)
    instead = "`teacher.view=none`" if view == "answer" else "`teacher.view=answer` or `none`"
    raise RlsdError(
        f"problem `{problem.id}` has no `{view}`, which the teacher is shown",
        hint=f"set {instead}, or add the field to the data",
    )


def informed_text(problem: Problem, reference: str, config: Config) -> Message:
    """The student's user message with what only the teacher is shown; without that the same."""
    student = student_text(problem, config)
    return fill(config.teacher.template, prompt=student, reference=reference) if reference else student


def has_views(problem: Problem, config: Config) -> bool:
    """True where the problem has what the teacher is shown of it."""
    return all(OF_PROBLEMS[view](problem, config) for view in problem_views(config))


def teacher_texts(problem: Problem, config: Config) -> list[Message]:
    """The user messages that the teacher reads of a problem, of the views that it alone decides; raises RlsdError
    where one is lacking."""
    return [teacher_text(problem, config, view) for view in problem_views(config)]


def prompt_ids(text: str, config: Config, tokenizer: ChatTokenizer) -> list[int]:
    """Token ids of a user message through the chat template; plain text where the tokenizer has none.

    What a tokenizer puts before a text stays there, once; nothing is put behind it. Control tokens that the data holds
    are read as text: a plain `text` is data as a whole.
    """
    prompt = config.prompt
    ids = encode(in_chat(quoted(text, control_tokens(prompt, tokenizer)), prompt, tokenizer), tokenizer)
    opening = [] if prompt.chat_template or tokenizer.chat_template else _opening(tokenizer)
    return ids if ids[: len(opening)] == opening else opening + ids


@lru_cache(maxsize=8)
def _opening(tokenizer: ChatTokenizer) -> list[int]:
    """What a tokenizer puts before every text, such as a token that begins it."""
    whole, bare = (list(tokenizer(PROBE, add_special_tokens=added)["input_ids"]) for added in (True, False))
    return next(whole[:start] for start in range(len(whole)) if whole[start : start + len(bare)] == bare)


def solution_ids(solution: str, tokenizer: ChatTokenizer) -> list[int]:
    """Token ids of a response that the data gives; special tokens in it are read as text."""
    return encode(quoted(solution, special_tokens(tokenizer)), tokenizer)


def forged_tokens(problem: Problem, config: Config, tokenizer: ChatTokenizer) -> list[str]:
    """The control tokens that a problem holds as text, in what is read of it."""
    texts = [student_text(problem, config)]
    if has_views(problem, config):
        texts += teacher_texts(problem, config)
    found = [match for text in texts for match in forged(text, control_tokens(config.prompt, tokenizer))]
    if config.recipe.responses == "solution" and problem.solution:
        found += forged(problem.solution, special_tokens(tokenizer))
    return list(dict.fromkeys(match[0] for match in found))
