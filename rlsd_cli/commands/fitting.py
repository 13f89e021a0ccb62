"""What the commands that ask a model say of prompts before they ask: what a template does, and which do not fit."""

from typing import TYPE_CHECKING, NamedTuple

from rlsd_cli import console

if TYPE_CHECKING:
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.data.sources import Splits
    from rlsd_cli.policy.tokenizer import Room


class Fitted(NamedTuple):
    """The problems that fit, and the places of those that are left out."""

    kept: "list[Problem]"
    left_out: frozenset[int]


def load_tried(config: "Config") -> "Room":
    """The tokenizer of a config's model and the room it has, once its chat template is tried and talked about."""
    from rlsd_cli.data.chat import try_template
    from rlsd_cli.policy.tokenizer import load_room

    room = load_room(config.model)
    for sentence in try_template(config, room.tokenizer):
        console.warning(sentence)
    return room


def fitted(
    problems: "list[Problem]",
    things: str,
    config: "Config",
    model: "Room",
    response: int,
    asked: "list[Problem] | None" = None,
) -> Fitted:
    """The problems whose prompts leave room for a response of so many tokens.

    Where they are not left out, it is only those that will be `asked` that have to fit: all, if None.

    Raises:
        RlsdError: some do not fit, and the config does not say to leave them out; or all do not.
    """
    from rlsd_cli.data.room import Window, student_refusal, too_long_for_student

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


def fitted_splits(splits: "Splits", config: "Config", model: "Room") -> "tuple[Splits, dict[str, int]]":
    """The splits without prompts that do not fit, and how many of each are left out; the teacher's views are tried."""
    from rlsd_cli.evaluation.evaluate import select

    limit = config.rollout.max_new_tokens
    train = fitted(splits.train, "training problems", config, model, limit)
    response = config.evaluation.max_new_tokens or limit
    asked = select(splits.held_out, config.evaluation.problems)
    held_out = fitted(splits.held_out, "held-out problems", config, model, response, asked)
    if config.uses_teacher:
        _try_teacher(train.kept, config, model)
    say_forged([*train.kept, *held_out.kept], config, model)
    num_left_out = {"train": len(train.left_out), "held_out": len(held_out.left_out)}
    return splits._replace(train=train.kept, held_out=held_out.kept), num_left_out


def _try_teacher(problems: "list[Problem]", config: "Config", model: "Room") -> None:
    """Refuse what the teacher cannot read, or say how often that is. A view that is missing is said elsewhere."""
    from rlsd_cli.data.prompts import has_views
    from rlsd_cli.data.room import Window, teacher_limit, teacher_refusal, too_long_for_teacher

    window = Window(model.context_length, config.rollout.max_new_tokens)
    seen = [problem for problem in problems if has_views(problem, config)]
    if not (found := too_long_for_teacher(seen, config, model.tokenizer, window)):
        return
    refusal = teacher_refusal(found, len(problems), teacher_limit(config, window.room))
    if config.teacher.overlong == "error":
        raise refusal
    console.warning(f"{refusal.message} before the longest response; where it does not fit there is no teacher")


def say_forged(problems: "list[Problem]", config: "Config", model: "Room") -> None:
    """Say how many problems hold text that a tokenizer would take for control tokens."""
    from rlsd_cli.data.prompts import forged_tokens

    found = [tokens for problem in problems if (tokens := forged_tokens(problem, config, model.tokenizer))]
    if found:
        hold = "1 problem holds" if len(found) == 1 else f"{len(found):,} problems hold"
        console.warning(f"{hold} text that is a control token, such as `{found[0][0]}`; it is read as text")
