"""The choices of a problem as the student reads them: a lettered list, shown once."""

import re
from collections.abc import Iterable

from rlsd_cli.data.layouts import LETTERS
from rlsd_cli.data.problems import Problem, folded


def listing(problem: Problem) -> str:
    """The choices as lines `A. text`; empty where there are none, or `why_unlisted` says why they are left out."""
    return "" if why_unlisted(problem) else _lettered(problem.choices or ())


def why_unlisted(problem: Problem) -> str | None:
    """Why the choices need no list beside the question; None where they need one or there are none."""
    if problem.choices and problem.choices == tuple(LETTERS[: len(problem.choices)]):
        return "the choices are their letters alone"
    return "the question ends with its choices" if stem(problem) != problem.question else None


def stem(problem: Problem) -> str:
    """The question without the choices, where it ends with all of them, each behind its letter, in order.

    White space, the case of the letters and punctuation between the choices may differ. Other questions stay whole.
    """
    if not problem.choices:
        return problem.question
    rest = folded(problem.question)
    for letter, choice in reversed([*zip(LETTERS, problem.choices, strict=False)]):
        rest, text = rest.rstrip(_BETWEEN), folded(choice).rstrip(_BETWEEN)
        end = len(rest) - len(text)
        label = _LABEL.search(rest, max(0, end - _LABEL_CHARS), end)
        if label is None or label[1].upper() != letter or not rest.endswith(text):
            return problem.question
        rest = rest[: label.start()]
    return _first_words(problem.question, len(rest.split()))


_BETWEEN = " .,;"
_LABEL = re.compile(r"(?<!\S)[(\[*]{0,3}([A-Za-z])[)\].:*]{1,3} ?\Z")
_LABEL_CHARS = 8


def _lettered(choices: Iterable[str]) -> str:
    return "\n".join(f"{letter}. {choice.strip()}" for letter, choice in zip(LETTERS, choices, strict=False))


def _first_words(text: str, count: int) -> str:
    """The text up to the end of its word of this number, as it is written."""
    behind = text.split(maxsplit=count)[count:]
    return text[: len(text) - len(behind[0])].rstrip() if behind else text
