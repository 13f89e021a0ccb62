"""What the laboratory measures. Every figure is of one case a problem, beside what chance and the student alone find.

A blame is a number a token of a wrong response, larger where the signal finds more fault: minus the gap of a hint, the
student's surprisal or entropy, or the size of a method's credit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.lab.cases import Case, Place
from rlsd_cli.lab.hints import Reads
from rlsd_cli.lab.intervals import Figure, correlation, mean, ratio

MOVED = 0.05
"""Nats: a token whose gap is larger is moved."""
COSTLY = -0.25
"""A token that changes the chance of a right answer by this or less is costly."""
DECIDED = 1 / 16
"""The chance of a right answer at which all is decided."""
LARGEST_GAP = 5.0
"""Nats to which gaps are clipped before they are correlated."""
CONTROLS = ("surprisal", "entropy")
PAIRS = (("answer", "peer"), ("answer", "near"), ("answer", "own"), ("answer", "other"), ("other", "other2"))
"""Hints that are set side by side; the last two are the floor: neither has to do with the problem."""


class Looked(NamedTuple):
    """A case with all that was measured of it.

    values: the chance of a right answer before each token, and after the last [n + 1]; None where it was not estimated
    credit: of each token, by method; those in which the response has no advantage are not there
    """

    case: Case
    reads: Reads
    values: Tensor | None
    credit: Mapping[str, Tensor]

    @property
    def is_wrong(self) -> bool:
        return self.case.kind.startswith("wrong")

    @property
    def gains(self) -> Tensor:
        """What each token did to the chance of a right answer."""
        assert self.values is not None
        return self.values.diff()

    def blame(self, name: str) -> Tensor | None:
        """The blame of each token by the signal of this name; None where there is none."""
        if name == "surprisal":
            return -self.reads.student.logp
        if name == "entropy":
            return self.reads.student.entropy
        if name in self.credit:
            return self.credit[name].abs()
        gap = self.reads.gap(name)
        return None if gap is None else -gap


def by_kind(looked: Iterable[Looked]) -> dict[str, list[Looked]]:
    """The cases of each kind, in the order of their names."""
    kinds: dict[str, list[Looked]] = {}
    for each in looked:
        kinds.setdefault(each.case.kind, []).append(each)
    return {kind: kinds[kind] for kind in sorted(kinds, reverse=True)}


# -- the first wrong token --------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """How well a signal finds where a response goes wrong.

    step, token: how often the most blamed token lies in the first wrong step, and is the first wrong token
    auroc: of the first wrong token against all others
    after: how often it finds the step, by how many steps follow it
    """

    step: Figure
    token: Figure
    auroc: Figure
    after: Mapping[int, Figure]


def found(looked: Sequence[Looked], names: Sequence[str]) -> dict[str, Found]:
    """How well each signal finds the first error of wrong responses that have steps, chance first."""
    placed = [each for each in looked if each.case.error and not each.case.error.decision]
    found: dict[str, Found] = {"chance": _chance(placed)} if placed else {}
    for name in names:
        pairs = [(each, blame) for each in placed if (blame := each.blame(name)) is not None]
        if pairs:
            found[name] = Found(
                step=mean([top_share(blame, *_step(each)) for each, blame in pairs]),
                token=mean([top_share(blame, _error(each).token, _error(each).token + 1) for each, blame in pairs]),
                auroc=mean([auroc(blame, _error(each).token) for each, blame in pairs]),
                after=_by_steps_after(pairs, lambda pair: top_share(pair[1], *_step(pair[0]))),
            )
    return found


def _chance(placed: Sequence[Looked]) -> Found:
    """What a token that is drawn at random finds."""

    def share(pair: tuple[Looked, None]) -> float:
        first, last = _step(pair[0])
        return (last - first) / pair[0].case.num_tokens

    pairs = [(each, None) for each in placed]
    return Found(
        mean([share(pair) for pair in pairs]),
        mean([1 / each.case.num_tokens for each in placed]),
        mean([0.5 for _ in placed]),
        _by_steps_after(pairs, share),
    )


def _by_steps_after(
    pairs: Sequence[tuple[Looked, Any]], share: Callable[[tuple[Looked, Any]], float]
) -> dict[int, Figure]:
    numbers = sorted({_error(each).steps_after for each, _ in pairs})
    return {
        number: mean([share(pair) for pair in pairs if _error(pair[0]).steps_after == number]) for number in numbers
    }


def _error(each: Looked) -> Place:
    assert each.case.error
    return each.case.error


def _step(each: Looked) -> tuple[int, int]:
    error = _error(each)
    return error.first, error.last


def top_share(blame: Tensor, first: int, last: int) -> float:
    """The share of the most blamed tokens, of which there may be several, that lie in a span."""
    top = blame == blame.max()
    return float(top[first:last].sum() / top.sum())


def auroc(blame: Tensor, token: int) -> float:
    """The chance that a token is blamed more than another one, where equal counts half."""
    others = torch.cat([blame[:token], blame[token + 1 :]])
    if not len(others):
        return 0.5
    return float(((blame[token] > others).double() + 0.5 * (blame[token] == others)).mean())


# -- where the blame falls --------------------------------------------------------------------------------------------


def shares(blame: Tensor, chosen: Tensor) -> float | None:
    """The share of the blame that falls on chosen tokens; None where nothing is blamed."""
    blame = blame.clamp(min=0)
    return float(blame[chosen].sum() / blame.sum()) if blame.sum() > 0 else None


def late(looked: Sequence[Looked], names: Sequence[str]) -> dict[str, Figure]:
    """The share of the blame that comes after all was decided: after the first wrong token, or a chance of 1/16."""

    def after(each: Looked) -> Tensor | None:
        places = torch.arange(each.case.num_tokens)
        if each.case.error:
            return places > each.case.error.token
        if each.values is None or not (each.values <= DECIDED).any():
            return None
        return places >= int((each.values <= DECIDED).nonzero()[0])

    wrong = [(each, where) for each in looked if each.is_wrong and (where := after(each)) is not None]
    return {"uniform": mean([float(where.double().mean()) for _, where in wrong])} | _shares(wrong, names)


def costly(looked: Sequence[Looked], names: Sequence[str]) -> dict[str, Figure]:
    """The share of the blame that falls on costly tokens, of wrong responses with values.

    `uniform` blames all tokens alike; `ceiling` is what a signal could reach, the share of responses with such a token.
    """
    wrong = [(each, each.gains <= COSTLY) for each in looked if each.is_wrong and each.values is not None]
    return {
        "uniform": mean([float(where.double().mean()) for _, where in wrong]),
        "ceiling": mean([float(where.any()) for _, where in wrong]),
        **_shares(wrong, names),
    }


def _shares(wrong: Sequence[tuple[Looked, Tensor]], names: Sequence[str]) -> dict[str, Figure]:
    figures = {}
    for name in names:
        pairs = ((blame, where) for each, where in wrong if (blame := each.blame(name)) is not None)
        found = [share for blame, where in pairs if (share := shares(blame, where)) is not None]
        if found:
            figures[name] = mean(found)
    return figures


class Costliest(NamedTuple):
    """The token of each response that costs most.

    before, after: the chance of a right answer on either side of it
    is_error: how often it is the first wrong token, or decides to guess
    gaps: the mean gap of each hint there (nats)
    slope, r: over all tokens, of the gap on the change of the log chance, and their correlation, by hint
    """

    before: Figure
    after: Figure
    is_error: Figure
    gaps: Mapping[str, Figure]
    slope: Mapping[str, float]
    r: Mapping[str, Figure]


def costliest(looked: Sequence[Looked], hints: Sequence[str], num: int) -> Costliest | None:
    """What the costliest token did, and whether the teacher saw it; `num` continuations stand behind each chance."""
    valued = [each for each in looked if each.values is not None]
    if not valued:
        return None
    at = {each.case.key: int(each.gains.argmin()) for each in valued}
    placed = [each for each in valued if each.case.error]

    def chance(each: Looked, step: int) -> float:
        assert each.values is not None
        return float(each.values[at[each.case.key] + step])

    gaps, slope, r = {}, {}, {}
    for hint in hints:
        told = [(each, gap) for each in valued if (gap := each.reads.gap(hint)) is not None]
        if told:
            gaps[hint] = mean([float(gap[at[each.case.key]]) for each, gap in told])
            pairs = [
                (log_chances(each.values, num).diff(), gap.clamp(-4, 4))
                for each, gap in told
                if each.values is not None
            ]
            r[hint], slope[hint] = correlation(pairs), _slope(pairs)
    return Costliest(
        mean([chance(each, 0) for each in valued]),
        mean([chance(each, 1) for each in valued]),
        mean([float(at[each.case.key] == _error(each).token) for each in placed]) if placed else Figure(None),
        gaps,
        slope,
        r,
    )


def log_chances(values: Tensor, num: int) -> Tensor:
    """Logarithms of chances that `num` draws estimated, half a draw away from 0 and 1."""
    return ((values * num + 0.5) / (num + 1)).log()


def _slope(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    x, y = (torch.cat([pair[side].double() for pair in pairs]) for side in (0, 1))
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


# -- how much a signal moves ------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """How much a hint or a method moves the credit of tokens.

    moved: share of tokens whose gap is above 0.05 nats
    bound: share of tokens whose weight is at a bound, at this clip
    """

    moved: Figure
    bound: Figure


def moved(looked: Sequence[Looked], hint: str, clip: float) -> Moved | None:
    """How many tokens a hint moves, over the tokens of all responses."""
    pairs = [(each, gap) for each in looked if (gap := each.reads.gap(hint)) is not None]
    if not pairs:
        return None
    lengths = [float(len(gap)) for _, gap in pairs]

    def over(count: Callable[[Looked, Tensor], Tensor]) -> Figure:
        return ratio([float(count(each, gap).sum()) for each, gap in pairs], lengths)

    def at_bound(each: Looked, gap: Tensor) -> Tensor:
        weight = (gap * (-1 if each.is_wrong else 1)).exp()
        return (weight < 1 - clip) | (weight > 1 + clip)

    return Moved(over(lambda _, gap: gap.abs() > MOVED), over(at_bound))


class Spread(NamedTuple):
    """What a method makes of the credit within a response.

    deviation: standard deviation of its size, over its mean
    lift: its size at the first wrong token, over its mean; of wrong responses that the task can place
    """

    deviation: Figure
    lift: Figure


def spread(looked: Sequence[Looked], method: str) -> Spread | None:
    """How unevenly a method spreads credit."""
    sizes = [(each, each.credit[method].abs()) for each in looked if method in each.credit]
    sizes = [(each, size) for each, size in sizes if size.mean() > 0]
    if not sizes:
        return None
    lifts = [float(size[each.case.error.token] / size.mean()) for each, size in sizes if each.case.error]
    return Spread(
        mean([float(size.std(correction=0) / size.mean()) for _, size in sizes]), mean(lifts) if lifts else Figure(None)
    )


class Agreement(NamedTuple):
    """Whether two hints move the same tokens the same way.

    same_sign: of the tokens that both move, the share that both move in one direction
    r: correlation of the gaps
    specific: sum of |difference| over sum of sizes: 0 where the hints say the same
    """

    same_sign: Figure
    r: Figure
    specific: Figure


def agreement(looked: Sequence[Looked], first: str, second: str) -> Agreement | None:
    """Set two hints side by side, over the tokens of all responses that both were shown for."""
    pairs = list(_both(looked, first, second))
    if not pairs:
        return None
    both = [(one.abs() > MOVED) & (other.abs() > MOVED) for one, other in pairs]
    same = [where & (one.sign() == other.sign()) for (one, other), where in zip(pairs, both, strict=True)]
    return Agreement(
        ratio([float(each.sum()) for each in same], [float(each.sum()) for each in both]),
        correlation(
            [(one.clamp(-LARGEST_GAP, LARGEST_GAP), other.clamp(-LARGEST_GAP, LARGEST_GAP)) for one, other in pairs]
        ),
        ratio(
            [float((one - other).abs().sum()) for one, other in pairs],
            [float(one.abs().sum() + other.abs().sum()) for one, other in pairs],
        ),
    )


def _both(looked: Sequence[Looked], first: str, second: str) -> Iterator[tuple[Tensor, Tensor]]:
    for each in looked:
        one, other = each.reads.gap(first), each.reads.gap(second)
        if one is not None and other is not None:
            yield one, other
