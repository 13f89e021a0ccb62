"""One rollout on its way through a step, and its row in the run's records."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlsd_cli.data.problems import Problem
from rlsd_cli.grading.answer_rows import how_it_ran
from rlsd_verifiers import Verdict


@dataclass(eq=False)
class Sample:
    """Everything known of one rollout; each stage of the step fills in its part.

    `counted`: takes part in baseline and loss. `replaced`: its group was dead and another stands for it. `pending`: the
    verdict on its way. `score` None: no verdict was reached. `privileged`: token ids of the teacher's view. Per-token
    lists are as long as `token_ids`.
    """

    problem: Problem
    index: int
    prompt: list[int]
    token_ids: list[int]
    sampled_logp: list[float] | None
    truncated: bool
    response: str
    leaks: bool
    counted: bool = True
    replaced: bool = False
    pending: Future[Verdict] | None = None
    verdict: Verdict | None = None
    score: float | None = None
    advantage: float = 0.0
    privileged: list[int] | None = None
    teacher_skipped: bool = False
    old_logp: list[float] | None = None
    teacher_logp: list[float] | None = None
    student_logp: list[float] | None = None
    credit: list[float] | None = field(default=None)

    def row(self, step: int, prompt: str) -> dict[str, Any]:
        """Its line in `rollouts/`."""
        return {
            "step": step,
            "problem_id": self.problem.id,
            "sample": self.index,
            "prompt": prompt,
            "response": self.response,
            "outcome": str(self.verdict.outcome) if self.verdict else None,
            "reason": self.verdict.reason if self.verdict else None,
            "score": self.score,
            "advantage": self.advantage,
            "truncated": self.truncated,
            "counted": self.counted,
            "leaks": self.leaks,
            "token_ids": self.token_ids,
            "student_logp": self.student_logp if self.student_logp is not None else self.sampled_logp,
            "teacher_logp": self.teacher_logp,
            "credit": self.credit,
        } | (how_it_ran(self.verdict) if self.verdict else {})


def padded(rows: Sequence[Sequence[float] | None], like: Tensor) -> Tensor:
    """Per-token lists as a float32 [B, T] tensor in the shape and place of `like`; 0 where there is nothing."""
    tensor = torch.zeros(like.shape, dtype=torch.float32)
    for index, row in enumerate(rows):
        if row is not None:
            tensor[index, : len(row)] = torch.tensor(row)
    return tensor.to(like.device)


def unpadded(tensor: Tensor, samples: Sequence[Sample]) -> list[list[float]]:
    """The rows of a [B, T] tensor as lists, each as long as its response."""
    return [row[: len(sample.token_ids)] for row, sample in zip(tensor.tolist(), samples, strict=True)]
