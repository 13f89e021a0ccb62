"""Two arms on the same problems: per metric what differs, by how much at least and at most, and what would be seen.

The unit is the problem where each arm is one policy, and the training seed where arms are methods: another seed of the
same method is another policy, and problems do not tell how far those lie apart.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rlsd_cli.errors import RlsdError
from rlsd_cli.report.sides import Arm, Kept, Rows
from rlsd_cli.statistics.paired import (
    Difference,
    Scores,
    clustered_difference,
    compare_pass_at_k,
    compare_scores,
    holm,
)
from rlsd_cli.statistics.rates import mean_pass_at_k
from rlsd_cli.statistics.seeds import (
    MANY,
    Improvement,
    Mean,
    compare_interquartile_means,
    mean_over_seeds,
    probability_of_improvement,
    welch,
)


class Line(NamedTuple):
    """A metric of two arms on one suite.

    metric: `mean@8`, `pass@8`, `tokens`; points: of each seed, by arm
    difference: what the second has more than the first; adjusted_p: by Holm over all lines of the comparison
    """

    suite: str
    data: str
    decoding: str
    metric: str
    first: Mean
    second: Mean
    points: tuple[tuple[float, ...], tuple[float, ...]]
    difference: Difference
    adjusted_p: float | None = None

    @property
    def verdict(self) -> Literal["more", "less", "not distinguishable", "unknown"]:
        """What the second has, going by the interval."""
        found = self.difference
        if found.low is None or found.high is None:
            return "unknown"
        return "more" if found.low > 0 else "less" if found.high < 0 else "not distinguishable"


class Robust(NamedTuple):
    """The mean scores of several seeds and suites, by figures that outliers do not move."""

    interquartile_mean: Difference
    improvement: Improvement


class Flip(NamedTuple):
    """A problem of a suite: the mean score of each arm, over samples and seeds."""

    suite: str
    problem_id: str
    first: float
    second: float


class Compared(NamedTuple):
    """A second arm against a first one.

    unit: what intervals generalise to
    left_out: problems by suite that not every policy has, or that one has no verdict on
    notes: what a reader has to know
    """

    first: Arm
    second: Arm
    unit: Literal["problems", "seeds"]
    lines: tuple[Line, ...]
    problems: tuple[Flip, ...]
    left_out: Mapping[str, int]
    robust: Robust | None
    notes: tuple[str, ...]

    @property
    def gained(self) -> list[Flip]:
        """Problems that the second solves more often than not, and the first does not; the largest change first."""
        return sorted((each for each in self.problems if each.first <= 0.5 < each.second), key=_change, reverse=True)

    @property
    def lost(self) -> list[Flip]:
        """The same the other way round."""
        return sorted((each for each in self.problems if each.second <= 0.5 < each.first), key=_change)


def _change(flip: Flip) -> float:
    return flip.second - flip.first


def compare(first: Arm, second: Arm, suites: Sequence[str] | None = None) -> Compared:
    """Compare two arms on the suites that all their policies have been evaluated on, or on those that `suites` begin.

    Raises:
        RlsdError: there is none, or what has one name are not the same problems.
    """
    notes: list[str] = []
    sizes = (len(first.sides), len(second.sides))
    unit: Literal["problems", "seeds"] = "seeds" if min(sizes) > 1 else "problems"
    if unit == "problems" and max(sizes) > 1:
        notes.append(
            f"one arm has {max(sizes)} seeds and the other one: this compares policies, not methods; scores of several "
            "seeds are averaged by problem"
        )
    elif unit == "problems" and all(side.run for arm in (first, second) for side in arm.sides):
        notes.append("one seed each: this compares two policies, not two methods")
    lines, flips, left_out = list[Line](), list[Flip](), dict[str, int]()
    scores: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for suite in _common(first, second, suites):
        table = _table(first, second, suite)
        left_out[suite] = table.left_out
        found = _lines(table, unit)
        lines += found
        scores.append(found[0].points)
        flips += _flips(table)
    adjusted = holm([line.difference.p for line in lines])
    lines = [line._replace(adjusted_p=p) for line, p in zip(lines, adjusted, strict=True)]
    robust = _robust(scores) if unit == "seeds" and min(sizes) >= MANY else None
    return Compared(first, second, unit, tuple(lines), tuple(flips), left_out, robust, tuple(notes))


def _common(first: Arm, second: Arm, wanted: Sequence[str] | None) -> list[str]:
    sides = [*first.sides, *second.sides]
    common = [suite for suite in sides[0].evaluations if all(suite in side.evaluations for side in sides)]
    chosen = [suite for suite in common if not wanted or any(suite.startswith(name) for name in wanted)]
    if chosen:
        return chosen
    each = "\n".join(f"{side.name}: {', '.join(sorted(side.evaluations)) or 'none'}" for side in sides)
    what = f"suite that begins with {' or '.join(wanted)}" if wanted else "suite"
    raise RlsdError(
        f"no {what} has been evaluated for all of them", hint=f"{each}\n`rlsd eval NAME --data FILE` adds one"
    )


class Table(NamedTuple):
    """The rows of every policy on the problems that all have, [arm][side][problem]."""

    suite: str
    summary: Mapping[str, Any]
    ids: list[str]
    rows: tuple[list[list[Rows]], list[list[Rows]]]
    left_out: int


def _table(first: Arm, second: Arm, suite: str) -> Table:
    kept = [[side.evaluations[suite] for side in arm.sides] for arm in (first, second)]
    everyone = [each for arm in kept for each in arm]
    _check_same(suite, everyone)
    ids = [name for name in everyone[0].problems if all(each.has_verdict(name) for each in everyone)]
    known = {name for each in everyone for name in each.problems}
    if not ids:
        raise RlsdError(
            f"no problem of `{suite}` has a verdict in all evaluations", hint="they were made of other data"
        )
    a, b = ([[each.problems[name] for name in ids] for each in arm] for arm in kept)
    return Table(suite, everyone[0].summary, ids, (a, b), len(known) - len(ids))


def _check_same(suite: str, kept: Sequence[Kept]) -> None:
    """Raise RlsdError where evaluations of one name were drawn otherwise, or asked other problems."""
    for key, what in (("samples", "numbers of samples"), ("decoding", "ways of decoding")):
        values = {str(each.summary[key]) for each in kept if key in each.summary}
        if len(values) > 1:
            hint = "`rlsd eval NAME --data FILE --samples K` asks all alike"
            raise RlsdError(f"`{suite}` was evaluated with several {what}: {', '.join(sorted(values))}", hint=hint)
    first = kept[0].problems
    for each in kept[1:]:
        for name, rows in each.problems.items():
            if name in first and first[name][0].get("answer") != rows[0].get("answer"):
                raise RlsdError(
                    f"problem `{name}` of `{suite}` has the reference `{first[name][0].get('answer')}` in "
                    f"{kept[0].folder} and `{rows[0].get('answer')}` in {each.folder}",
                    hint="these are not the same problems: evaluate both on one file",
                )


def _lines(table: Table, unit: Literal["problems", "seeds"]) -> list[Line]:
    samples = table.summary["samples"]
    scores = tuple([[_scores(rows) for rows in side] for side in arm] for arm in table.rows)
    lengths = tuple([[[row["tokens"] for row in rows] for rows in side] for side in arm] for arm in table.rows)

    def line(metric: str, values: Sequence[Sequence[float]], difference: Difference) -> Line:
        points = (tuple(values[0]), tuple(values[1]))
        means = [mean_over_seeds(each) for each in points]
        data, decoding = table.summary["data"], table.summary.get("decoding", "-")
        return Line(table.suite, data, decoding, metric, means[0], means[1], points, difference)

    def of(metric: str, arms: Sequence[Sequence[Scores]]) -> Line:
        values = [[math.fsum(map(_mean, side)) / len(side) for side in arm] for arm in arms]
        if unit == "seeds":
            return line(metric, values, welch(*values))
        a, b = (_pooled(arm) for arm in arms)
        if metric == "tokens":
            return line(metric, values, clustered_difference([_mean(y) - _mean(x) for x, y in zip(a, b, strict=True)]))
        return line(metric, values, compare_scores(a, b))

    found = [of(f"mean@{samples}", scores)]
    if samples > 1:
        values = [[mean_pass_at_k(side, samples)[0] or 0.0 for side in arm] for arm in scores]
        a, b = (_pooled(arm) for arm in scores)
        enough = all(len(each) >= samples for side in (a, b) for each in side)
        if enough:
            difference = welch(*values) if unit == "seeds" else compare_pass_at_k(a, b, samples)
            found.append(line(f"pass@{samples}", values, difference))
    return [*found, of("tokens", lengths)]


def _scores(rows: Rows) -> list[float]:
    return [row["score"] for row in rows if row["score"] is not None]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _pooled(sides: Sequence[Scores]) -> list[list[float]]:
    """The scores of each problem, those of all seeds together."""
    return [[score for each in of_problem for score in each] for of_problem in zip(*sides, strict=True)]


def _flips(table: Table) -> list[Flip]:
    a, b = (_pooled([[_scores(rows) for rows in side] for side in arm]) for arm in table.rows)
    return [Flip(table.suite, *each) for each in zip(table.ids, map(_mean, a), map(_mean, b), strict=True)]


def _robust(scores: Sequence[tuple[tuple[float, ...], tuple[float, ...]]]) -> Robust:
    a, b = (np.array([suite[arm] for suite in scores]).T for arm in (0, 1))
    return Robust(compare_interquartile_means(a, b), probability_of_improvement(a, b))


# -- gates ---------------------------------------------------------------------------------------------------------

GATE = re.compile(r"\s*(?:(\S+):)?([^\s:<>=]+)\s*(>=|<=|>|<)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


class Gate(NamedTuple):
    """What a difference has to be, with its whole interval: `[SUITE:]METRIC > NUMBER`."""

    text: str
    suite: str
    metric: str
    sign: str
    number: float

    def holds(self, compared: Compared) -> bool:
        """True where every line that it is about lies on the right side.

        Raises:
            RlsdError: there is no such line.
        """
        lines = [line for line in compared.lines if line.metric == self.metric and line.suite.startswith(self.suite)]
        if not lines:
            there = ", ".join(dict.fromkeys(f"{line.suite}:{line.metric}" for line in compared.lines))
            raise RlsdError(f"`--gate {self.text}`: there is no such metric", hint=f"there are {there}")
        return all(self._holds(line.difference) for line in lines)

    def _holds(self, found: Difference) -> bool:
        if found.low is None or found.high is None:
            return False
        bounds = {">": found.low > self.number, ">=": found.low >= self.number}
        return (bounds | {"<": found.high < self.number, "<=": found.high <= self.number})[self.sign]


def parse_gate(text: str) -> Gate:
    """A gate as it is typed; raises RlsdError where it is none."""
    if not (found := GATE.fullmatch(text)):
        raise RlsdError(f"`--gate {text}` is no gate", hint="`--gate 'mean@8 > 0'`, or `SUITE:METRIC >= NUMBER`")
    suite, metric, sign, number = found.groups()
    return Gate(text, suite or "", metric, sign, float(number))
