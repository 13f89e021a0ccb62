"""The summary of a check of many problems."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rlsd_cli.data.lengths import quantiles
from rlsd_cli.data_checks.check import Checked
from rlsd_cli.data_checks.check_views import FAULTS, NOTES

MAX_EXAMPLES = 3


class Report:
    """Counts of rows, faults and lengths; of the problems with a fault only the first few are kept."""

    def __init__(self) -> None:
        self.rows = self.problems = self.faultless = 0
        self.submitted = self.self_accepting = 0
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.details: dict[str, str] = {}
        self._lengths: dict[str, Counter[int]] = {"student": Counter(), "teacher": Counter()}

    def add(self, checked: Checked) -> None:
        self.rows += 1
        self.problems += checked.found.problem is not None
        self.faultless += checked.is_faultless
        reasons = {flag.reason: flag.detail for flag in reversed(checked.flags)}
        for reason, detail in reasons.items():
            self.counts[reason] += 1
            named = self.examples.setdefault(reason, [])
            if len(named) < MAX_EXAMPLES:
                named.append(name_of(checked))
            self.details.setdefault(reason, detail)
        if checked.own and "unsolved" not in reasons:
            self.submitted += 1
            self.self_accepting += checked.own.correct is True
        if checked.tokens:
            self._lengths["student"][checked.tokens.student] += 1
            if checked.tokens.teacher is not None:
                self._lengths["teacher"][checked.tokens.teacher] += 1

    @property
    def share(self) -> float:
        """Rows without a fault, of all rows."""
        return self.faultless / self.rows if self.rows else 0.0

    def first_fault(self) -> str | None:
        """The name of the first problem in the first line of the table that has a problem."""
        reasons = (reason for reason in FAULTS if reason in self.examples)
        return next((self.examples[reason][0] for reason in reasons), None)

    def summary(self) -> dict[str, Any]:
        lengths = {view: quantiles(counts) for view, counts in self._lengths.items() if counts}
        return {
            "problems": self.problems,
            "rows": self.rows,
            "faultless": self.faultless,
            "share": self.share,
            "self_accepting": self.self_accepting,
            "self_accepting_rate": self.self_accepting / self.submitted if self.submitted else None,
            "reasons": {reason: self.counts[reason] for reason in FAULTS if self.counts[reason]},
            "notes": {reason: self.counts[reason] for reason in NOTES if self.counts[reason]},
            "lengths": lengths or None,
        }

    def table(self) -> Iterator[Sequence[object]]:
        """A line for each reason: how often, where first, and why there."""
        for kind, reasons in (("fault", FAULTS), ("note", NOTES)):
            for reason in reasons:
                if number := self.counts[reason]:
                    first = ", ".join(self.examples[reason]) + (", ..." if number > MAX_EXAMPLES else "")
                    yield reason, kind, number, percent(number, self.rows), first, self.details[reason]

    def words(self) -> Iterator[str]:
        """The summary in sentences."""
        things = "problems have" if self.rows == self.problems else "rows have"
        yield f"{self.faultless:,} of {self.rows:,} {things} no fault ({percent(self.faultless, self.rows)})"
        if self.submitted:
            yield f"{self.self_accepting:,} of {self.submitted:,} references accept themselves"


HEADER = ("reason", "kind", "problems", "share", "first", "the first one")


def name_of(checked: Checked) -> str:
    """The id of a row's problem, or its place where it holds none."""
    return checked.found.where if checked.found.problem is None else checked.found.problem.id


def percent(number: int, of: int) -> str:
    """`99.96 %`, rounded down: 100 % is all of them, and 0 % is none."""
    share = 100 * number / of
    if number and share < 0.01:
        return "< 0.01 %"
    return f"{math.floor(round(100 * share, 6)) / 100:.2f} %"
