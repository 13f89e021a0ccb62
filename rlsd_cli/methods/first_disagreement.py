"""RLSD that stops at the first token at which the teacher disagrees: what follows it has weight 1."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import Positive
from rlsd_cli.methods.base import Method, PolicyGradient, View, has_advantage
from rlsd_cli.methods.rules import Mixed, is_mixed, mix

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Mixed):
    threshold: Positive = Field(0.25, description="how far the teacher is below the student where it disagrees, nats")


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` of the tokens up to and including the first disagreement."""
    from rlsd_cli.core.contrast import up_to_first_below
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    mask, reading, gap = evidence.mask, evidence.readings["hint"], evidence.gap("hint")[:, 0]
    bounds = {"mix": mix(settings, step), "clip": settings.clip}
    found = self_distilled_credit(
        evidence.advantage,
        evidence.student_logp,
        reading.logp[:, 0],
        mask,
        weighted=reading.shown[:, 0] & up_to_first_below(gap, mask, threshold=settings.threshold),
        **bounds,
    )
    check_credit(found, evidence.advantage, mask, **bounds)
    return found


METHOD = Method(
    name="first_disagreement",
    summary="RLSD up to the first token at which the teacher disagrees; what follows has the plain advantage",
    source="ours: what the credit laboratory suggests (docs/credit.md)",
    settings=Settings,
    views={"hint": View(where=has_advantage, when=is_mixed)},
    terms=(PolicyGradient(credit=credit),),
    defaults={"teacher.view": "solution"},
    schedules={"lambda": mix},
    off={"credit.mix": 0.0},
)
