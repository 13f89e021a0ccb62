"""What a teacher is shown: functions of a problem, of a rollout and its group, or of other problems.

Without a text the teacher is not asked.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.methods.base import Attempt, View

Shown = tuple[str, ...]
SHOWN_CHARS = 50
"""Characters of a response that stand for its answer where the verifier found none (as in CEPO, arXiv 2605.19436)."""


# -- of a problem -----------------------------------------------------------------------------------------------------


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


# -- of a rollout and its group ---------------------------------------------------------------------------------------


def _others(attempt: Attempt, group: Sequence[Attempt], correct: bool) -> Shown:
    """The other responses of the group with this verdict, from the one that follows the rollout on, in turn."""
    found = [other for other in group if other.number != attempt.number and other.correct is correct]
    turned = sorted(found, key=lambda other: (other.number < attempt.number, other.number))
    return tuple(filter(None, (other.response for other in turned)))


def _sibling(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """Correct responses of the group, never the rollout itself."""
    return _others(attempt, group, correct=True)


def _wrong_sibling(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """Wrong responses of the group, never the rollout itself."""
    return _others(attempt, group, correct=False)


def _own(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """The rollout itself."""
    del group
    return tuple(filter(None, [attempt.response]))


def _answer_of(attempt: Attempt) -> str:
    return attempt.extracted or attempt.response[:SHOWN_CHARS]


def _wrong_answer(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """The answer of the wrong response with the lowest score, the first of several."""
    del attempt
    wrong = [other for other in group if other.correct is False]
    worst = min(wrong, key=lambda other: other.score or 0.0, default=None)
    return tuple(filter(None, [worst and _answer_of(worst)]))


def _mistake(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """The rollout's own answer where it is wrong; else the most frequent wrong answer of the group."""
    if attempt.correct is False:
        return tuple(filter(None, [attempt.extracted]))
    answers = Counter(other.extracted for other in group if other.correct is False and other.extracted)
    return tuple(filter(None, (answer for answer, _ in answers.most_common(1))))


def _feedback(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """What the verifier said of the rollout, where it is wrong."""
    del group
    return tuple(filter(None, [attempt.reason])) if attempt.correct is False else ()


def _sibling_feedback(attempt: Attempt, group: Sequence[Attempt]) -> Shown:
    """A correct response of the group and the verifier's words on the rollout, in one text; either may be lacking."""
    text = "\n\n".join([*_sibling(attempt, group)[:1], *_feedback(attempt, group)])
    return tuple(filter(None, [text]))


OF_GROUPS: Mapping[str, Callable[[Attempt, Sequence[Attempt]], Shown]] = {
    "sibling": _sibling,
    "wrong_sibling": _wrong_sibling,
    "own": _own,
    "wrong_answer": _wrong_answer,
    "mistake": _mistake,
    "feedback": _feedback,
    "sibling_feedback": _sibling_feedback,
}
"""The views that depend on what was answered."""


# -- of other problems ------------------------------------------------------------------------------------------------


class Strangers:
    """Other problems of the same data, for hints that say nothing about a problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems

    def of(self, problem: Problem) -> Iterator[Problem]:
        """The problems with another answer, from a place on that the id of the problem decides."""
        first = zlib.crc32(problem.id.encode())
        for step in range(len(self.problems)):
            other = self.problems[(first + step) % len(self.problems)]
            if other.answer != problem.answer and other.question != problem.question:
                yield other


def _other(problem: Problem, strangers: Strangers, config: Config, most: int) -> Shown:
    """What `teacher.view` shows of other problems."""
    texts = (text for other in strangers.of(problem) for text in OF_PROBLEMS[config.teacher.view](other, config)[:1])
    return tuple(islice(texts, most))


OF_OTHERS: Mapping[str, Callable[[Problem, Strangers, Config, int], Shown]] = {"other": _other}
"""The views that show something of other problems."""


def shown(
    view: View, problem: Problem, attempt: Attempt, group: Sequence[Attempt], strangers: Strangers, config: Config
) -> Shown:
    """The texts that the teacher is shown after a view of a rollout."""
    name, most = view.shows or config.teacher.view, view.most(config.credit)
    if name in OF_OTHERS:
        return OF_OTHERS[name](problem, strangers, config, most)
    texts = OF_PROBLEMS[name](problem, config) if name in OF_PROBLEMS else OF_GROUPS[name](attempt, group)
    return texts[:most]


def problem_views(config: Config) -> list[str]:
    """The views of the method that a problem alone decides."""
    names = dict.fromkeys(view.shows or config.teacher.view for view in config.recipe.views.values())
    return [name for name in names if name in OF_PROBLEMS]
