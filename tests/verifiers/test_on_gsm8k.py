"""The numeric verifier on real problems, where the data lies beside the checkout."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from rlsd_verifiers import Submission, check_reference, verify

GSM8K = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "gsm8k"
pytestmark = pytest.mark.skipif(not GSM8K.is_dir(), reason="the GSM8K files are not beside this checkout")


def read(split: str) -> list[dict[str, str]]:
    with (GSM8K / f"{split}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_gold_answer_accepts_itself_and_its_worked_solution(split: str) -> None:
    rows = read(split)
    assert len(rows) > 1000
    for row in rows:
        gold = Submission("", row["answer"])
        assert check_reference(gold) is None, row["id"]
        assert verify(gold._replace(response=f"{row['solution']}\n#### {row['answer']}")).correct, row["id"]


def test_a_solution_of_another_problem_is_wrong() -> None:
    for row, other in pairwise(read("test")):
        verdict = verify(Submission(f"{other['solution']}\n#### {other['answer']}", row["answer"]))
        assert verdict.correct is (float(row["answer"].replace(",", "")) == float(other["answer"].replace(",", "")))
