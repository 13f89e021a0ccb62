"""What a teacher is shown: functions of a problem, a rollout and its group. Without a text it is not asked."""

from collections.abc import Callable, Mapping, Sequence

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.methods.base import Attempt, View

Shown = tuple[str, ...]


def _answer(problem: Problem, config: Config) -> Shown:
    del config
    return tuple(filter(None, [problem.answer]))


def _solution(problem: Problem, config: Config) -> Shown:
    del config
    return tuple(filter(None, [problem.solution]))


def _hints(problem: Problem, config: Config) -> Shown:
    """The first `teacher.num_hints` hints in one text, numbered from 1."""
    hints = (problem.hints or ())[: config.teacher.num_hints]
    return tuple(filter(None, ["\n".join(f"{number}. {hint}" for number, hint in enumerate(hints, start=1))]))


def _none(problem: Problem, config: Config) -> Shown:
    """One empty text: the teacher reads what the student reads."""
    del problem, config
    return ("",)


OF_PROBLEMS: Mapping[str, Callable[[Problem, Config], Shown]] = {
    "answer": _answer,
    "solution": _solution,
    "hints": _hints,
    "none": _none,
}
"""The views that a problem alone decides: what they show can be asked for before anything is sampled."""

OF_GROUPS: Mapping[str, Callable[[Problem, Attempt, Sequence[Attempt]], Shown]] = {}
"""The views that depend on what was answered."""


def shown(view: View, problem: Problem, attempt: Attempt, group: Sequence[Attempt], config: Config) -> Shown:
    """The texts that the teacher is shown after a view of a rollout."""
    name = view.shows or config.teacher.view
    texts = OF_PROBLEMS[name](problem, config) if name in OF_PROBLEMS else OF_GROUPS[name](problem, attempt, group)
    return texts[: view.most]


def problem_views(config: Config) -> list[str]:
    """The views of the method that a problem alone decides."""
    names = dict.fromkeys(view.shows or config.teacher.view for view in config.recipe.views.values())
    return [name for name in names if name in OF_PROBLEMS]
