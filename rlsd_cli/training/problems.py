"""The problems of a run: within the curriculum, with prompts that fit, and with references that can be graded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rlsd_cli import console
from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import bound, is_used
from rlsd_cli.data.problems import Problem, select
from rlsd_cli.data.prompts import has_views, teacher_texts
from rlsd_cli.data.room import Window, teacher_limit, teacher_refusal, too_long_for_teacher
from rlsd_cli.data.sources import Splits, describe_splits, load_splits
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import check_problems, describe_faults
from rlsd_cli.grading.rewards import check_rewards
from rlsd_cli.rollout.fitting import fitted, say_forged
from rlsd_verifiers.pool import Pool

if TYPE_CHECKING:
    from rlsd_cli.policy.tokenizer import Room


class RunProblems(NamedTuple):
    """The problems that a run reads.

    splits: those whose prompts fit
    described: how many they are, and what they hash to
    num_overlong: how many prompts of each split do not fit
    """

    splits: Splits
    described: Mapping[str, Any]
    num_overlong: Mapping[str, int]


def load_problems(config: Config, model: "Room") -> RunProblems:
    """Read the problems of a run, and leave out what the config says to leave out."""
    splits, num_overlong = fitted_splits(bounded(load_splits(config), config), config, model)
    return RunProblems(splits, describe_splits(splits), num_overlong)


def bounded(splits: Splits, config: Config) -> Splits:
    """The splits with the training problems that the curriculum takes."""
    found = bound(splits.train, config)
    if is_used(config):
        console.talk(f"curriculum: {found.in_words(config)}")
    return splits._replace(train=found.kept)


def fitted_splits(splits: Splits, config: Config, model: "Room") -> tuple[Splits, dict[str, int]]:
    """The splits without prompts that do not fit, and how many of each are left out; the teacher's views are tried."""
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


def _try_teacher(problems: list[Problem], config: Config, model: "Room") -> None:
    """Refuse what the teacher cannot read, or say how often that is. A missing view is reported elsewhere."""
    window = Window(model.context_length, config.rollout.max_new_tokens)
    seen = [problem for problem in problems if has_views(problem, config)]
    if not (found := too_long_for_teacher(seen, config, model.tokenizer, window)):
        return
    refusal = teacher_refusal(found, len(problems), teacher_limit(config, window.room))
    if config.teacher.overlong == "error":
        raise refusal
    console.warning(f"{refusal.message} before the longest response; rollouts without room get no teacher")


def checked(splits: Splits, config: Config, pool: Pool) -> Splits:
    """The problems that can be used. What cannot be graded is counted and left out; a missing view is an error."""
    kept = []
    for name, problems in zip(("training", "held-out"), splits, strict=True):
        graded = name == "held-out" or config.recipe.responses == "policy"
        faults = check_problems(problems, config, pool) if graded else {}
        if faults:
            console.warning(f"{len(problems)} {name} problems, of which {describe_faults(faults)}")
        kept.append([problem for problem in problems if problem.id not in faults])
        if not kept[-1]:
            raise RlsdError(
                f"no {name} answer of `{config.data}` can be graded: {next(iter(faults.values()))}",
                hint="choose another `verifier`, or correct the `answer` fields",
            )
    check_rewards(kept[0], config, pool)
    for problem in kept[0]:
        teacher_texts(problem, config)
        if config.recipe.responses == "solution" and not problem.solution:
            raise RlsdError(f"problem `{problem.id}` has no `solution` to learn from", hint="`sft` needs solutions")
    return Splits(*kept)
