"""GRPO; tokens whose gap agrees with the verdict beyond a dead zone earn more."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.core.schedules import warmup_decay
from rlsd_cli.fields import CountOrZero, NonNegative, Section
from rlsd_cli.methods.base import Method, PolicyGradient, View, has_advantage

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    gain: NonNegative = Field(0.2, description="lambda: extra credit a nat of gap, of rollouts above their group")
    blame: NonNegative = Field(0.1, description="gamma: extra blame a nat of gap, of rollouts below their group")
    dead_zone: NonNegative = Field(0.1, description="tau: nats of gap that change nothing")
    decay_steps: CountOrZero = Field(50, description="steps over which both fall linearly to 0; 0: no decay")


def share(settings: Settings, step: int) -> float:
    """What is left of gain and blame at a step."""
    return warmup_decay(step, initial=1.0, decay_steps=settings.decay_steps)


def is_read(settings: Settings, step: int) -> bool:
    """True at the steps at which a credit could differ from the advantage."""
    return share(settings, step) * max(settings.gain, settings.blame) > 0


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.gates.dead_zone_credit` of the gap."""
    from rlsd_cli.core.gates import dead_zone_credit

    left = share(settings, step)
    return dead_zone_credit(
        evidence.advantage,
        evidence.gap("hint")[:, 0],
        evidence.mask,
        gain=left * settings.gain,
        blame=left * settings.blame,
        dead_zone=settings.dead_zone,
    )


METHOD = Method(
    name="amr_sd",
    summary="tokens whose gap agrees with the verdict beyond a dead zone earn more; none earns less than in GRPO",
    source="AMR-SD, arXiv 2605.18529",
    deviations=("the teacher is shown what `teacher.view` names; the source lets the model write a critique",),
    settings=Settings,
    views={"hint": View(where=has_advantage, when=is_read)},
    terms=(PolicyGradient(credit=credit),),
    defaults={"teacher.view": "solution"},
    schedules={"lambda": lambda settings, step: settings.gain * share(settings, step)},
    off={"credit.gain": 0.0, "credit.blame": 0.0},
)
