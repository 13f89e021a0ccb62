"""Means and ratios with bootstrap intervals; the problem is the unit, and gives at most one case to a figure."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DRAWS = 1000
"""Bootstrap draws (percentile intervals, Efron 1979)."""


class Figure(NamedTuple):
    """A number with its 95 % interval, and how many cases it is of; None where there is none."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:.3f} [{self.low:.2f}, {self.high:.2f}]"


def mean(values: Sequence[float]) -> Figure:
    """The mean of one number a case."""
    return ratio(values, [1.0] * len(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Figure:
    """The sum of one number a case over that of another; None where the denominators add up to 0."""
    above, below = (torch.tensor(values, dtype=torch.double) for values in (numerators, denominators))
    if not below.sum() > 0:
        return Figure(None, n=len(numerators))
    draws = _draws(len(above))
    sums = above[draws].sum(1) / below[draws].sum(1)
    return _figure(float(above.sum() / below.sum()), sums, len(above))


def correlation(pairs: Sequence[tuple[Tensor, Tensor]]) -> Figure:
    """Pearson's r of two numbers a token, over the tokens of all cases."""
    if not pairs:
        return Figure(None)
    moments = torch.stack([_moments(x.double(), y.double()) for x, y in pairs])
    whole = _pearson(moments.sum(0)[None])[0]
    if not whole.isfinite():
        return Figure(None, n=len(pairs))
    return _figure(float(whole), _pearson(moments[_draws(len(pairs))].sum(1)), len(pairs))


def _moments(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([torch.tensor(float(len(x))), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def _pearson(moments: Tensor) -> Tensor:
    n, x, y, xx, yy, xy = moments.double().unbind(-1)
    return (n * xy - x * y) / ((n * xx - x * x) * (n * yy - y * y)).sqrt()


def _draws(n: int) -> Tensor:
    return torch.randint(n, (DRAWS, n), generator=torch.Generator().manual_seed(0))


def _figure(value: float, draws: Tensor, n: int) -> Figure:
    finite = draws[draws.isfinite()]
    low, high = finite.quantile(torch.tensor([0.025, 0.975], dtype=finite.dtype)).tolist()
    return Figure(value, low, high, n)
