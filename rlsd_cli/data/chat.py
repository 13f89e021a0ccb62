"""A user message as the model's chat template puts it: the system message, the flags, the date, and what it refuses.

A template is a program that comes with the model. It may refuse a system message, ignore a flag, or print today's date,
so that the same problem reads differently tomorrow. What it does is tried out on a short message before any work.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Protocol

from rlsd_cli.config.schema import Config
from rlsd_cli.config.sections import PromptConfig
from rlsd_cli.errors import RlsdError, first_line


class ChatTokenizer(Protocol):
    """What a prompt needs of a tokenizer."""

    chat_template: Any
    all_special_tokens: list[str]

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...

    def get_chat_template(self) -> str: ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any: ...

    def __call__(self, text: str, **options: Any) -> Any: ...

    def __hash__(self) -> int: ...


PROBE = "1 + 1"
"""A message that is rendered to see what a template does."""


def in_chat(text: str, prompt: PromptConfig, tokenizer: ChatTokenizer) -> str:
    """The whole prompt of a user message; behind the system message alone where there is no template.

    Raises:
        RlsdError: the template fails, as those do on purpose that take no system message.
    """
    if not (prompt.chat_template or tokenizer.chat_template):
        return f"{prompt.system}\n\n{text}" if prompt.system else text
    try:
        return _render(text, prompt, tokenizer)
    except Exception as error:  # whatever a template raises is the template's
        raise _refusal(error, prompt, tokenizer) from error


def _render(text: str, prompt: PromptConfig, tokenizer: ChatTokenizer) -> str:
    messages = [{"role": "user", "content": text}]
    if prompt.system is not None:
        messages.insert(0, {"role": "system", "content": prompt.system})
    flags = {} if prompt.thinking is None else {"enable_thinking": prompt.thinking}
    template = prompt.chat_template or tokenizer.get_chat_template()
    calendar = _calendar(prompt.date) if "strftime_now" in template else ""
    day = date.fromisoformat(prompt.date).strftime("%d %b %Y")
    rendered: str = tokenizer.apply_chat_template(
        messages,
        chat_template=calendar + template,
        tokenize=False,
        add_generation_prompt=True,
        date_string=day,
        **flags,
    )
    return rendered


@lru_cache(maxsize=8)
def _calendar(day: str) -> str:
    """A macro that stands before a template, in place of the `strftime_now` that looks at the clock.

    Behind it an empty expression, which keeps a new line that the template begins with.
    """
    given = date.fromisoformat(day)
    signs = [f"%{flag}{letter}" for letter in "aAbBcdDeFGHIjmMnpSuUVwWxXyYT" for flag in ("", "-")]
    replaced = "".join(f".replace({sign!r}, {given.strftime(sign)!r})" for sign in signs)
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro %}}{{{{ '' }}}}"


def _refusal(error: Exception, prompt: PromptConfig, tokenizer: ChatTokenizer) -> RlsdError:
    """Why a template fails: on the system message if it does not without one, else as it says itself."""
    if prompt.system is not None:
        try:
            _render(PROBE, prompt.model_copy(update={"system": None}), tokenizer)
        except Exception:
            pass
        else:
            return _no_system(f": {first_line(error)}")
    whose = "`prompt.chat_template`" if prompt.chat_template else "the model's chat template"
    line = f", line {number}" if (number := getattr(error, "lineno", None)) else ""
    return RlsdError(
        f"{whose} cannot be rendered{line}: {first_line(error)}",
        hint="`prompt.chat_template=FILE` replaces it",
    )


def _no_system(why: str) -> RlsdError:
    return RlsdError(
        f"the chat template of this model takes no system message{why}",
        hint="leave `prompt.system` unset, and put its text into `prompt.template`",
    )


def try_template(config: Config, tokenizer: ChatTokenizer) -> Iterator[str]:
    """What is worth knowing of a tokenizer's way with prompts, each in a sentence.

    Raises:
        RlsdError: the template fails, or there is no place in it for the system message.
    """
    prompt = config.prompt
    if not (prompt.chat_template or tokenizer.chat_template):
        if prompt.thinking is not None:
            yield "`prompt.thinking` changes nothing: the model has no chat template"
        return

    def differs(**changes: object) -> bool:
        return in_chat(PROBE, prompt.model_copy(update=changes), tokenizer) != plain

    plain = in_chat(PROBE, prompt, tokenizer)
    if prompt.system and not differs(system=None):
        raise _no_system(", and leaves it out")
    if prompt.thinking is not None and not differs(thinking=not prompt.thinking):
        yield "`prompt.thinking` changes nothing: the chat template does not look at `enable_thinking`"
    if differs(date="1000-01-01"):
        yield f"the chat template prints a date: every prompt says {prompt.date} (`prompt.date`)"
