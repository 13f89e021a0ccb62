"""The probability of a whole response is drawn to what scores and the privileged teacher say it should be."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import NonNegative, Positive, Section
from rlsd_cli.methods.base import Method, Regression, View

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.evidence import Evidence


class Settings(Section):
    teacher_weight: NonNegative = Field(1.0, description="beta_T: weight of the mean teacher gap in the target")
    reward_weight: NonNegative = Field(15.0, description="eta_A: weight of the advantage in the target")
    gap_clip: Positive = Field(4.0, description="largest gap between teacher and initial policy at a token, nats")


def target(evidence: "Evidence", settings: Settings) -> "Tensor":
    """`core.credit.balance_target` of the readings by teacher and initial policy."""
    from rlsd_cli.core.credit import balance_target

    told, initial = evidence.readings["hint"], evidence.readings["initial"]
    return balance_target(
        evidence.advantage,
        evidence.old_logp,
        told.logp[:, 0],
        initial.logp[:, 0],
        evidence.mask,
        evidence.group,
        shown=told.shown[:, 0],
        teacher_weight=settings.teacher_weight,
        reward_weight=settings.reward_weight,
        gap_clip=settings.gap_clip,
    )


METHOD = Method(
    name="flowsd",
    summary="a response's mean log-probability is drawn to what its score and the privileged teacher say it should be",
    source="FlowSD, Trajectory-Balanced On-Policy Self-Distillation (Huang et al., 2026)",
    deviations=(
        "the policy before the update is the sampler's reading of it",
        "a response whose teacher is shown nothing has gap 0 and stays in its group's mean; the source leaves it out",
        "the mean is over the responses to a prompt, whatever each teacher was shown",
    ),
    settings=Settings,
    views={"hint": View(), "initial": View(shows="none", by="initial")},
    terms=(Regression(target=target),),
    defaults={"loss.reduction": "sequence_mean"},
)
