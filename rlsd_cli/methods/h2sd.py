"""Right responses: RLSD, the teacher shown the response itself. Wrong ones: the told teacher is distilled."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rlsd_cli.fields import NonNegative
from rlsd_cli.methods.base import Attempt, Distill, Method, PolicyGradient, View
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


def is_weighed(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for correct rollouts that scored above their group."""
    return is_correct(attempt, group, settings) and attempt.advantage > 0


def fault(config: Any) -> str | None:
    """Why the config contradicts the method."""
    if config.teacher.view == "own":
        return "`teacher.view=own` shows a wrong response as if it were a correct result: `h2sd` needs a hint there"
    return None


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
    views={"own": View("own", where=is_weighed, when=is_mixed), "hint": View(where=is_wrong)},
    terms=(
        PolicyGradient(route=is_correct, credit=credit),
        Distill(view="hint", route=is_wrong, coef=fail_weight),
    ),
    defaults={"teacher.view": "solution", "distill.divergence": "reverse_kl", "loss.reduction": "token_mean"},
    schedules={"lambda": mix},
    fault=fault,
)
