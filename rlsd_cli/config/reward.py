"""The section `reward`: the parts of a response's score, and what they weigh."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from rlsd_cli.errors import did_you_mean
from rlsd_cli.fields import Count, Section
from rlsd_verifiers.registry import is_import_path

ANSWER, FORMAT, OVERLONG = "answer", "format", "overlong"
NAMED = (ANSWER, FORMAT, OVERLONG)
THINKS = r"(?s)\s*<think>(?:(?!</?think>).)*</think>\s*(?=\S)(?:(?!</?think>).)+"
"""A thought between its tags, then an answer; no further tag."""

Weight = Annotated[float, Field(strict=True, ge=-1e6, le=1e6)]


def _known(name: str) -> str:
    if name not in NAMED and not is_import_path(name):
        known = f"the parts are {', '.join(NAMED)}, `module:function` and `./file.py:function`"
        raise ValueError(f"there is no such part; {did_you_mean(name, NAMED) or known}")
    return name


def _weights(parts: dict[str, float]) -> dict[str, float]:
    """The parts that weigh something, in an order that does not depend on how they were given."""
    weighed = {name: parts[name] for name in (*NAMED, *sorted(parts.keys() - {*NAMED})) if parts.get(name)}
    if not weighed:
        raise ValueError("no part is left: one at least needs a weight other than 0")
    if weighed.get(OVERLONG, 1.0) < 0:
        raise ValueError(f"`{OVERLONG}` is 0 or less by itself: its weight is the size of the penalty, above 0")
    return weighed


def _pattern(text: str | None) -> str | None:
    try:
        re.compile(text or "")
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"this is no regular expression: {error}") from error
    return text


class RewardConfig(Section):
    parts: Annotated[dict[Annotated[str, AfterValidator(_known)], Weight], AfterValidator(_weights)] = Field(
        {ANSWER: 1.0},
        description="parts of a response's score and their weights: `answer` (the verifier's score), `format` (1 where "
        "`reward.format_pattern` matches, else 0), `overlong` (penalty of long responses, 0 to -1), and functions of "
        "your own, `module:function` or `./file.py:function`; `reward.parts.format=0.1` sets one, 0 removes it",
    )
    format_pattern: Annotated[str | None, AfterValidator(_pattern)] = Field(
        None,
        description="regular expression that a whole response matches for the part `format`; none: one thought in "
        "`<think>...</think>`, then an answer",
    )
    overlong_buffer: Count | None = Field(
        None,
        description="tokens before `rollout.max_new_tokens` over which the part `overlong` falls from 0 to -1; none: a "
        "fifth of it",
    )

    @property
    def is_plain(self) -> bool:
        """True where the score is the verifier's."""
        return self.parts == {ANSWER: 1.0}

    @property
    def functions(self) -> tuple[str, ...]:
        """The parts that are the user's own."""
        return tuple(name for name in self.parts if name not in NAMED)

    @property
    def pattern(self) -> str:
        """The regular expression of the part `format`."""
        return THINKS if self.format_pattern is None else self.format_pattern

    def buffer(self, max_new_tokens: int) -> int:
        """The length over which `overlong` falls, in tokens."""
        return self.overlong_buffer or max(1, max_new_tokens // 5)

    @model_validator(mode="after")
    def _used(self) -> Self:
        """Refuse keys of parts that are not among the parts."""
        for part, key in ((FORMAT, "format_pattern"), (OVERLONG, "overlong_buffer")):
            if part not in self.parts and getattr(self, key) is not None:
                raise ValueError(f"`reward.{key}` has no meaning without a part `{part}`: set `reward.parts.{part}`")
        return self
