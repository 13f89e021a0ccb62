"""Prompts before a model is asked: what its chat template does with them, and which leave no room for a response."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rlsd_cli import console
from rlsd_cli.config.schema import Config
from rlsd_cli.data.chat import try_template
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import forged_tokens
from rlsd_cli.data.room import Window, student_refusal, too_long_for_student

if TYPE_CHECKING:
    from rlsd_cli.policy.tokenizer import Room


class Fitted(NamedTuple):
    """The problems that fit, and the places of those that are left out."""

    kept: list[Problem]
    left_out: frozenset[int]


def load_tried(config: Config) -> "Room":
    """Load the tokenizer of a config's model and the room it has; try its chat template, and warn of what it does."""
    from rlsd_cli.policy.tokenizer import load_room  # loads transformers

    room = load_room(config.model)
    for sentence in try_template(config, room.tokenizer):
        console.warning(sentence)
    return room


def fitted(
    problems: list[Problem],
    things: str,
    config: Config,
    model: "Room",
    response: int,
    asked: Sequence[Problem] | None = None,
) -> Fitted:
    """Keep the problems whose prompts leave room for a response of so many tokens.

    Where the config says to stop at one that does not, only those that will be `asked` have to fit: all, if None.

    Raises:
        RlsdError: some do not fit, and the config does not say to leave them out; or all do not.
    """
    skips, window = config.prompt.overlong == "skip", Window(model.context_length, response)
    tried = problems if skips or asked is None else asked
    found = too_long_for_student(tried, config, model.tokenizer, window)
    if not found:
        return Fitted(problems, frozenset())
    refusal = student_refusal(found, len(tried), things, window)
    if not skips or len(found) == len(problems):
        raise refusal
    console.warning(f"{refusal.message}: left out")
    left_out = frozenset(each.place for each in found)
    return Fitted([problem for place, problem in enumerate(problems) if place not in left_out], left_out)


def say_forged(problems: Sequence[Problem], config: Config, model: "Room") -> None:
    """Warn of problems that hold text which a tokenizer would take for control tokens."""
    found = [tokens for problem in problems if (tokens := forged_tokens(problem, config, model.tokenizer))]
    if found:
        hold = "1 problem holds" if len(found) == 1 else f"{len(found):,} problems hold"
        console.warning(
            f"{hold} text that looks like a control token, such as `{found[0][0]}`; it is tokenised as plain text"
        )
