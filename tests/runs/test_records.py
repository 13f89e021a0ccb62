"""Rollouts as they are written and read again."""

import math
from pathlib import Path

import pytest
import torch

from rlsd_cli.errors import RlsdError
from rlsd_cli.runs.records import RolloutRecord, read_record
from rlsd_cli.runs.rundir import RunDir

LOGP = torch.tensor([-0.1, -1e-7, -17.3, -0.0]).tolist()
RECORD = RolloutRecord(
    step=3,
    group=1,
    sample=0,
    problem_id="p",
    prompt="\u2028Q",
    prompt_ids=[1, 2],
    drawn_under="student",
    version=2,
    response="😀 5",
    token_ids=[3, 4, 5, 6],
    truncated=False,
    outcome="correct",
    extracted="5",
    reason="equal",
    score=1.0,
    correct=True,
    advantage=0.1 + 0.2,
    left_out=None,
    counted=True,
    leaks=False,
    sampled_logp=LOGP,
    old_logp=None,
    student_logp=LOGP,
    teacher_logp=LOGP,
    readings={"hint": [LOGP]},
    credit=LOGP,
    values=[],
    reward_parts={"answer": 1.0, "./r.py:f": 0.1 + 0.2},
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_rollouts_come_back_to_the_last_bit(run: RunDir) -> None:
    digest = run.write_rollouts(3, [RECORD, RECORD._replace(sample=1, sampled_logp=None, outcome=None)])
    run.append_metrics({"step": 3, "rollouts_sha256": digest})
    first, second = run.rollouts(3)
    assert first == RECORD
    assert second.sampled_logp is second.outcome is None
    assert [math.copysign(1, value) for value in first.sampled_logp or []] == [-1.0] * 4
    assert torch.equal(torch.tensor(first.student_logp), torch.tensor(LOGP))


def test_the_same_rollouts_are_the_same_bytes(run: RunDir) -> None:
    run.write_rollouts(1, [RECORD])
    run.write_rollouts(2, [RECORD])
    assert run.rollouts_file(1).read_bytes() == run.rollouts_file(2).read_bytes()


def test_rollouts_that_no_metrics_know_are_refused(run: RunDir) -> None:
    run.write_rollouts(3, [RECORD])
    with pytest.raises(RlsdError, match="is not what the run wrote"):
        run.rollouts(3)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({key: value for key, value in RECORD.row().items() if key != "format"}, "it is of format 1, and format 2"),
        (RECORD.row() | {"format": 3}, "it is of format 3, and format 2"),
        ({key: value for key, value in RECORD.row().items() if key != "credit"}, "'credit' is missing"),
    ],
    ids=["before", "after", "not whole"],
)
def test_a_line_of_another_format_is_refused(row: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_record(row)


def test_a_field_that_a_later_version_adds_is_no_fault() -> None:
    assert read_record(RECORD.row() | {"more": 1}) == RECORD
