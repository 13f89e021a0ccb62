"""Evidence made of plain numbers: one response, or several of one length."""

from collections.abc import Mapping, Sequence

import torch

from rlsd_cli.core.evidence import Evidence, Reading

Numbers = Sequence[float]


def reading(*texts: Numbers, shown: bool = True) -> Reading:
    """A response after texts: the log-probabilities of its tokens after each."""
    logp = torch.tensor([list(map(list, texts))], dtype=torch.float32)
    return Reading(
        logp if shown else torch.zeros_like(logp),
        torch.zeros_like(logp),
        torch.full_like(logp, shown, dtype=torch.bool),
    )


def evidence(advantage: float, student: Numbers, readings: Mapping[str, Reading]) -> Evidence:
    """What is known of one response."""
    logp = torch.tensor([list(student)], dtype=torch.float32)
    one = torch.tensor([advantage])
    return Evidence(
        mask=torch.ones_like(logp, dtype=torch.bool),
        advantage=one,
        score=one,
        logp=logp,
        old_logp=logp,
        sampled_logp=logp,
        student_logp=logp,
        readings=readings,
        group=torch.zeros(1, dtype=torch.long),
        gain=torch.zeros_like(logp),
    )
