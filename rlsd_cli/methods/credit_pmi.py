"""RLSD with the part of the gap that any hint would cause taken out."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from rlsd_cli.fields import Count
from rlsd_cli.methods.base import Method, PolicyGradient, View, has_advantage
from rlsd_cli.methods.rules import Mixed, is_mixed, mix, problem_view_fault

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Mixed):
    strangers: Count = Field(1, description="other problems whose hints are the control; each is a reading more")


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` with the mean reading after other problems' hints in place of the student."""
    from rlsd_cli.core.contrast import mean_logp
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    own, other = evidence.readings["hint"], evidence.readings["other"]
    bounds = {"mix": mix(settings, step), "clip": settings.clip}
    found = self_distilled_credit(
        evidence.advantage,
        student_logp=mean_logp(other.logp, other.shown),
        teacher_logp=own.logp[:, 0],
        mask=evidence.mask,
        weighted=own.shown[:, 0] & other.shown.any(1),
        **bounds,
    )
    check_credit(found, evidence.advantage, evidence.mask, **bounds)
    return found


def fault(config: Any) -> str | None:
    """Why the config contradicts the method."""
    return problem_view_fault(config, "shows the teacher the hints of other problems")


METHOD = Method(
    name="credit_pmi",
    aliases=("pmi",),
    summary="RLSD on the input-specific part of the gap: less what the hints of other problems do to the same response",
    source="CREDIT, arXiv 2605.11613: its control, on RLSD's weight",
    deviations=("the source distils with it; here it is RLSD's gap",),
    settings=Settings,
    views={
        "hint": View(where=has_advantage, when=is_mixed),
        "other": View("other", where=has_advantage, when=is_mixed, most=lambda settings: settings.strangers),
    },
    terms=(PolicyGradient(credit=credit),),
    schedules={"lambda": mix},
    fault=fault,
    off={"credit.mix": 0.0},
)
