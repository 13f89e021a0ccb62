"""The summary of a file of verdicts: outcomes, a confusion matrix where there are labels, and the worst patterns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rlsd_cli.statistics.rates import wilson
from rlsd_verifiers import Outcome, Submission
from rlsd_verifiers.auto import choose
from rlsd_verifiers.maths.quick import read, reference_text
from rlsd_verifiers.maths.tree import walk
from rlsd_verifiers.verdict import NO_VERDICT

MAX_PATTERNS = 5
RATES = ("false_accept_rate", "false_reject_rate", "accuracy", "precision", "recall")

Table = tuple[Sequence[str], list[Sequence[object]]]
"""A header, and rows."""


class Tally:
    """Counts of rows: by outcome, and for labelled rows by label, with what goes wrong most."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self._by_label: dict[bool, Counter[Outcome]] = {True: Counter(), False: Counter()}
        self._patterns: dict[tuple[str, str, Outcome], tuple[int, object]] = {}

    @property
    def rows(self) -> int:
        return self.outcomes.total()

    def add(self, outcome: Outcome, label: bool | None, submission: Submission | None, name: object) -> None:
        """Count a row, called `name`, whose label says whether its response is right."""
        self.outcomes[outcome] += 1
        if label is None:
            return
        self._by_label[label][outcome] += 1
        if submission and outcome not in NO_VERDICT and label != (outcome is Outcome.CORRECT):
            pattern = "false reject" if label else "false accept", reference_kind(submission), outcome
            count, example = self._patterns.get(pattern, (0, name))
            self._patterns[pattern] = count + 1, example

    def in_words(self, seconds: float) -> str:
        """Progress after so many seconds, in a line."""
        correct, wrong = self.outcomes[Outcome.CORRECT], self.outcomes[Outcome.WRONG]
        other = self.rows - correct - wrong
        counts = f"{correct:,} correct  {wrong:,} wrong  {other:,} other"
        return f"{self.rows:,} rows  {self.rows / seconds:,.0f}/s  {counts}"

    def summary(self) -> dict[str, Any]:
        """Counts, and rates with 95 % Wilson intervals; a rate of nothing is None."""
        correct, verdicts = self.outcomes[Outcome.CORRECT], _verdicts(self.outcomes)
        summary: dict[str, Any] = {"rows": self.rows, "verdicts": verdicts, "correct": correct}
        summary["accuracy"], summary["ci95"] = _rate(correct, verdicts)
        summary["outcomes"] = _counts(self.outcomes)
        if any(self._by_label.values()):
            summary["labels"] = self._labels()
        return summary

    def _labels(self) -> dict[str, Any]:
        """With TP, FP, TN, FN over the labelled rows that reached a verdict:

        false accept = FP / (FP + TN), false reject = FN / (FN + TP), accuracy = (TP + TN) / all,
        precision = TP / (TP + FP), recall = TP / (TP + FN).
        """
        is_correct, is_wrong = self._by_label[True], self._by_label[False]
        positives, negatives = _verdicts(is_correct), _verdicts(is_wrong)
        tp, fp = is_correct[Outcome.CORRECT], is_wrong[Outcome.CORRECT]
        shares = (
            (fp, negatives),
            (positives - tp, positives),
            (tp + negatives - fp, positives + negatives),
            (tp, tp + fp),
            (tp, positives),
        )
        labels: dict[str, Any] = {"is_correct": _counts(is_correct), "is_wrong": _counts(is_wrong)}
        for name, share in zip(RATES, shares, strict=True):
            labels[name], labels[_interval_of(name)] = _rate(*share)
        worst = sorted(self._patterns.items(), key=lambda item: -item[1][0])[:MAX_PATTERNS]
        labels["worst"] = [
            {"error": error, "reference": kind, "outcome": str(outcome), "count": count, "example": example}
            for (error, kind, outcome), (count, example) in worst
        ]
        return labels


def _verdicts(outcomes: Counter[Outcome]) -> int:
    return sum(count for outcome, count in outcomes.items() if outcome not in NO_VERDICT)


def _counts(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {str(outcome): outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


def _rate(successes: int, n: int) -> tuple[float | None, list[float] | None]:
    if not n:
        return None, None
    mean, low, high = wilson(successes, n)
    return mean, [low, high]


def _interval_of(rate: str) -> str:
    return f"{rate.removesuffix('_rate')}_ci95"


# -- kinds of references -------------------------------------------------------------------------------------------

KINDS = {
    "percent": "percentage",
    "unit": "number with a unit",
    "degrees": "number with a unit",
    "mixed": "fraction",
    "union": "interval",
    "braces": "set",
    "set_builder": "set",
    "square": "list",
    "or": "list",
} | {op: op for op in ("interval", "set", "list", "tuple", "matrix")}


def reference_kind(submission: Submission) -> str:
    """How `math` reads a reference: `integer`, `interval`, `matrix`, ...; for grouping, not for grading."""
    if (verifier := choose(submission)) != "math":
        return {"code": "tests"}.get(verifier, verifier)
    node = read(reference_text(submission.answer or "").strip()).node
    while node and node.op == "negative":
        node = node.args[0]
    if node is None:
        return "text"
    if node.op == "number":
        return "integer" if node.args[1] is None else "decimal"
    if node.op == "relation":
        return {"=": "equation", "in": "membership"}.get(node.args[0][0], "inequality")
    if node.op == "divide" and all(part.op == "number" for part in node.args):
        return "fraction"
    if node.op in ("tuple", "square") and len(node.args) == 2:
        is_endless = any(part.args == ("oo",) for part in walk(node))
        return "interval" if node.op == "square" or is_endless else "tuple"
    return KINDS.get(node.op, "expression")


# -- as tables -----------------------------------------------------------------------------------------------------


def tables(summary: dict[str, Any]) -> Iterator[Table]:
    """A summary, with `file`, `seconds` and `rows_per_second` added to it, for people."""
    total, rate = summary["rows"], summary["rows_per_second"]
    rows: list[Sequence[object]] = [
        (name, count, f"{count / total:.1%}") for name, count in summary["outcomes"].items()
    ]
    rows.append(("all", total, f"{summary['seconds']:.1f} s" + (f", {rate:,.0f} rows/s" if rate else "")))
    share = f"{summary['correct']} of {summary['verdicts']}"
    rows.append(("correct of verdicts", share, _percent(summary["accuracy"], summary["ci95"])))
    yield (summary["file"], "rows", "share"), rows
    if labels := summary.get("labels"):
        yield from _label_tables(labels)


def _label_tables(labels: dict[str, Any]) -> Iterator[Table]:
    said = {"correct": "says correct", "wrong": "says wrong", "no_answer": "no answer", "unparseable": "unparseable"}
    columns = [*said.values(), "over a limit", "no verdict"]
    matrix: list[Sequence[object]] = []
    for key in ("is_correct", "is_wrong"):
        cells = dict.fromkeys(columns, 0)
        for outcome, count in labels[key].items():
            cells[said.get(outcome, "no verdict" if outcome in NO_VERDICT else "over a limit")] += count
        matrix.append((key.replace("_", " "), *cells.values()))
    yield ("label", *columns), matrix
    names = {rate: rate.removesuffix("_rate").replace("_", " ") for rate in RATES}
    yield (
        ("rate", "95% Wilson"),
        [(name, _percent(labels[rate], labels[_interval_of(rate)])) for rate, name in names.items()],
    )
    if labels["worst"]:
        columns = ["worst pattern", "reference", "outcome", "rows", "for example"]
        yield columns, [tuple(each.values()) for each in labels["worst"]]


def _percent(rate: float | None, interval: Sequence[float] | None) -> str:
    """`2.7% [2.0, 3.5]`; `-` for a rate of nothing."""
    if rate is None or interval is None:
        return "-"
    low, high = interval
    return f"{rate:.1%} [{100 * low:.1f}, {100 * high:.1f}]"
