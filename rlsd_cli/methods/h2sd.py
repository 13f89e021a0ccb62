"""Right responses: RLSD, the teacher shown the response itself. Wrong ones: the told teacher is distilled."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import NonNegative
from rlsd_cli.methods.base import Distill, Method, PolicyGradient, View
from rlsd_cli.methods.rules import Mixed, is_correct, is_mixed, is_wrong, mix

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Mixed):
    fail_weight: NonNegative = Field(0.1, description="weight of the distillation of wrong responses")


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` of the teacher that is shown the response itself."""
    from rlsd_cli.core.credit import self_distilled_credit

    own = evidence.readings["own"]
    return self_distilled_credit(
        evidence.advantage,
        evidence.student_logp,
        own.logp[:, 0],
        evidence.mask,
        mix=mix(settings, step),
        clip=settings.clip,
        weighted=own.shown[:, 0],
    )


def fail_weight(settings: Settings, step: int) -> float:
    """The weight of the distillation, the same at every step."""
    del step
    return settings.fail_weight


METHOD = Method(
    name="h2sd",
    summary="right responses: RLSD, the teacher shown the response itself; wrong ones: reverse KL to the told teacher",
    source="H2SD, arXiv 2607.18955",
    deviations=(
        "the weight of the distillation is not stated in the source: `credit.fail_weight`",
        "hints are what `teacher.view` names; the source may have a stronger model write them",
    ),
    settings=Settings,
    views={"own": View("own", where=is_correct, when=is_mixed), "hint": View(where=is_wrong)},
    terms=(
        PolicyGradient(route=is_correct, credit=credit),
        Distill(view="hint", route=is_wrong, coef=fail_weight),
    ),
    defaults={"teacher.view": "solution", "distill.divergence": "reverse_kl", "loss.reduction": "token_mean"},
    schedules={"lambda": mix},
)
