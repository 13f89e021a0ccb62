"""The summary of verdicts: rates, intervals, and what goes wrong most."""

import pytest

from rlsd_cli.grading.verdict_summary import Tally, reference_kind
from rlsd_verifiers import Outcome, Submission


def tally_of(counts: dict[tuple[bool | None, str], int]) -> Tally:
    tally = Tally()
    for (label, outcome), count in counts.items():
        for number in range(count):
            tally.add(Outcome(outcome), label, Submission("so 7", "7"), f"{outcome}{number}")
    return tally


def test_rates_and_intervals_of_labelled_rows() -> None:
    """The counts of the worked example in the specification, with rows that reached no verdict beside them."""
    summary = tally_of(
        {
            (True, "correct"): 1902, (True, "wrong"): 41, (True, "no_answer"): 9, (True, "timeout"): 2,
            (False, "correct"): 7, (False, "wrong"): 2210, (False, "no_answer"): 88, (False, "timeout"): 1,
            (True, "crash"): 5, (False, "bad_reference"): 6, (None, "wrong"): 40,
        }
    ).summary()  # fmt: skip
    assert (summary["rows"], summary["verdicts"], summary["correct"]) == (4311, 4300, 1909)
    assert summary["accuracy"] == 1909 / 4300
    assert summary["outcomes"] == {
        "correct": 1909, "wrong": 2291, "no_answer": 97, "bad_reference": 6, "timeout": 3, "crash": 5
    }  # fmt: skip
    labels = summary["labels"]
    assert labels["is_correct"] == {"correct": 1902, "wrong": 41, "no_answer": 9, "timeout": 2, "crash": 5}
    assert (labels["false_accept_rate"], labels["false_reject_rate"]) == (7 / 2306, 52 / 1954)
    assert [round(100 * end, 1) for end in labels["false_accept_ci95"]] == [0.1, 0.6]
    assert [round(100 * end, 1) for end in labels["false_reject_ci95"]] == [2.0, 3.5]
    assert (labels["precision"], labels["recall"]) == (1902 / 1909, 1902 / 1954)
    assert labels["accuracy"] == (1902 + 2299) / 4260
    assert [(each["error"], each["outcome"], each["count"], each["example"]) for each in labels["worst"]] == [
        ("false reject", "wrong", 41, "wrong0"),
        ("false reject", "no_answer", 9, "no_answer0"),
        ("false accept", "correct", 7, "correct0"),
        ("false reject", "timeout", 2, "timeout0"),
    ]


def test_a_rate_of_nothing_is_none() -> None:
    empty = Tally().summary()
    assert (empty["rows"], empty["accuracy"], empty["ci95"], empty["outcomes"]) == (0, None, None, {})
    assert "labels" not in empty
    labels = tally_of({(True, "crash"): 1}).summary()["labels"]
    assert [labels[key] for key in ("false_accept_rate", "false_reject_rate", "accuracy", "precision")] == [None] * 4
    assert labels["worst"] == []


def test_only_the_worst_patterns_are_named() -> None:
    tally = Tally()
    references = ["1", "1.5", "1/2", "x", "x=1", "(1,2)", "Paris"]
    for number, reference in enumerate(references):
        for _ in range(number + 1):
            tally.add(Outcome.WRONG, True, Submission("", reference), number)
    worst = tally.summary()["labels"]["worst"]
    assert [(each["reference"], each["count"]) for each in worst] == [
        ("text", 7), ("tuple", 6), ("equation", 5), ("expression", 4), ("fraction", 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("42", "integer"), ("$-1,234$", "integer"), ("3.50", "decimal"), ("-1/2", "fraction"), ("1 1/2", "fraction"),
        (r"\frac{1}{2}", "fraction"), ("50%", "percentage"), ("5 km", "number with a unit"),
        (r"120^\circ", "number with a unit"), ("(1,2]", "interval"), ("[0,1]", "interval"),
        (r"(-\infty, 3)", "interval"), (r"(1,2)\cup(3,4)", "interval"), (r"x \in [1,2)", "membership"),
        (r"\{1,2\}", "set"), (r"\left\{1\right\}", "set"), ("(1,2)", "tuple"), ("(1,2,3)", "tuple"),
        (r"\left(1, \frac{1}{2}\right)", "tuple"), ("[1,2,3]", "list"), ("1, 2", "list"), ("x or y", "list"),
        ("(1,2), (3,4)", "list"), ("y=2x+1", "equation"), ("x>3", "inequality"), (r"1 \leqslant x", "inequality"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "matrix"), ("Paris", "text"), (r"\text{even}", "text"), ("", "text"),
        ("B", "choice"), ("(C)", "choice"), ("2x+1", "expression"), (r"\frac{x}{2}", "expression"),
        (r"so it is \boxed{7}", "integer"), ("the sum is 6\n#### 6", "integer"),
    ],
)  # fmt: skip
def test_references_are_grouped_by_what_they_are_read_as(reference: str, kind: str) -> None:
    assert reference_kind(Submission("", reference)) == kind


def test_references_of_other_verifiers_and_hostile_ones_have_a_kind_too() -> None:
    assert reference_kind(Submission("", None, tests=[])) == "tests"
    assert reference_kind(Submission("", "Paris", choices=("Rome", "Paris"))) == "choice"
    for text in ("(" * 100_000, "{" * 50_000 + "}" * 50_000, "1," * 50_000, "a" * 100_000, "\\" * 10_000, "\ud800"):
        assert reference_kind(Submission("", text)) == "text"
