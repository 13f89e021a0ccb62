"""RLSD whose gap is between a teacher shown the solution and one shown the response itself."""

from typing import TYPE_CHECKING

from rlsd_cli.methods.base import Method, PolicyGradient, View, has_advantage
from rlsd_cli.methods.rules import Mixed, is_mixed, mix

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


def credit(evidence: "Evidence", settings: Mixed, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` with the teacher that is shown the response in place of the student."""
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    told, own = evidence.readings["hint"], evidence.readings["own"]
    bounds = {"mix": mix(settings, step), "clip": settings.clip}
    found = self_distilled_credit(
        evidence.advantage,
        student_logp=own.logp[:, 0],
        teacher_logp=told.logp[:, 0],
        mask=evidence.mask,
        weighted=told.shown[:, 0] & own.shown[:, 0],
        **bounds,
    )
    check_credit(found, evidence.advantage, evidence.mask, **bounds)
    return found


METHOD = Method(
    name="self_contrast",
    summary="the gap between a teacher shown the solution and one shown the response itself scales each token",
    source="ours: what the credit laboratory suggests (docs/credit.md)",
    settings=Mixed,
    views={
        "hint": View(where=has_advantage, when=is_mixed),
        "own": View("own", where=has_advantage, when=is_mixed),
    },
    terms=(PolicyGradient(credit=credit),),
    defaults={"teacher.view": "solution"},
    schedules={"lambda": mix},
    off={"credit.mix": 0.0},
)
