"""GRPO, and the reverse KL to the privileged teacher at the sampled tokens, where the teacher agrees."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import NonNegative, Section
from rlsd_cli.methods.base import Method, PolicyGradient, View, everyone

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    weight: NonNegative = Field(0.01, description="lambda: weight of the gated distillation; 0 is GRPO")
    sharpness: NonNegative = Field(5.0, description="beta: how fast the gate opens with the gap, 1 / nats")


def weight(settings: Settings, step: int) -> float:
    """Lambda, the same at every step."""
    del step
    return settings.weight


def gated(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.gates.gate_credit`."""
    from rlsd_cli.core.gates import gate_credit

    del step
    reading = evidence.readings["hint"]
    return gate_credit(evidence.gap("hint")[:, 0], evidence.mask & reading.shown[:, 0], sharpness=settings.sharpness)


METHOD = Method(
    name="sdar",
    summary="GRPO plus distillation at the sampled tokens, through a gate that opens where the teacher agrees",
    source="SDAR, arXiv 2605.15155",
    deviations=("the teacher is shown what `teacher.view` names; the source shows it retrieved skills",),
    settings=Settings,
    views={"hint": View(when=lambda settings, step: weight(settings, step) > 0)},
    terms=(PolicyGradient(), PolicyGradient(moves=everyone, credit=gated, coef=weight)),
    defaults={"teacher.view": "solution", "loss.reduction": "token_mean"},
    schedules={"lambda": weight},
    off={"credit.weight": 0.0},
)
