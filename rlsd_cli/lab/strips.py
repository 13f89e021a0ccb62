"""A response as lines of equal width: its text, the chance of a right answer, and who blames which character."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlsd_cli.lab.figures import Looked

MARKS = " .:*@"
"""From no blame to the most of the response."""


class Strip(NamedTuple):
    """A line of a picture: what it shows, and one number a token in 0..1; None for the text itself."""

    name: str
    values: Tensor | None


def chosen(looked: Sequence[Looked], hints: Sequence[str], most: int = 4) -> list[Looked]:
    """The first wrong response of each distance from the error to the end, then of each other kind."""
    first: dict[object, Looked] = {}
    told = [each for each in looked if all(each.reads.gap(hint) is not None for hint in hints)]
    for each in sorted(told, key=lambda each: each.values is None):
        error = each.case.error
        kind: object = (0, error.steps_after) if error and not error.decision else (1, each.case.kind)
        first.setdefault(kind, each)
    return [first[kind] for kind in sorted(first, key=str)][:most]


def strips(looked: Looked, hints: Sequence[str]) -> list[Strip]:
    """The text, the chance of a right answer after each token, the student's surprisal, and the blame of each hint."""
    lines = [Strip("response", None)]
    if looked.values is not None:
        lines.append(Strip("chance of right", looked.values[1:].float()))
    blames = {"surprisal": looked.blame("surprisal"), **{f"blame, {hint}": looked.blame(hint) for hint in hints}}
    return lines + [Strip(name, scaled(blame)) for name, blame in blames.items() if blame is not None]


def scaled(blame: Tensor) -> Tensor:
    """Blame over the largest of the response; 0 where there is less than half a nat to see."""
    blame = blame.clamp(min=0)
    return blame / torch.clamp(blame.max(), min=0.5)


def lines(looked: Looked, hints: Sequence[str]) -> Iterator[str]:
    """The picture in text: digits for chances, marks for blame, one column a character."""
    case = looked.case
    problem, error = case.member.rollout.problem, case.error
    at = ""
    if error:
        start, end = case.starts[error.token], case.starts[error.token + 1]
        at = f"   first wrong token: the {case.text[start:end]!r} at {start}"
    yield f"{problem.question}   reference {problem.answer}   {case.kind}{at}"
    for name, values in strips(looked, hints):
        yield f"  {name:<18}{case.text if values is None else _cells(values, looked, digits=name.startswith('chance'))}"


def _cells(values: Tensor, looked: Looked, *, digits: bool) -> str:
    marks = [
        str(min(9, int(value * 10))) if digits else MARKS[round(float(value) * (len(MARKS) - 1))] for value in values
    ]
    starts = looked.case.starts
    cells = "".join(mark * (end - start) for mark, start, end in zip(marks, starts, starts[1:], strict=False))
    return cells.rstrip()
