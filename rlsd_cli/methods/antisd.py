"""GRPO less what the privileged teacher expected: the policy is paid for what it found by itself."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.core.schedules import warmup_decay
from rlsd_cli.fields import CountOrZero, NonNegative, Section
from rlsd_cli.methods.base import Method, PolicyGradient, View, has_advantage

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    weight: NonNegative = Field(1.0, description="lambda: weight of what is taken from the advantage; 0 is GRPO")
    decay_steps: CountOrZero = Field(0, description="steps over which lambda falls linearly to 0; 0: no decay")


def weight(settings: Settings, step: int) -> float:
    """Lambda at a step."""
    return warmup_decay(step, initial=settings.weight, decay_steps=settings.decay_steps)


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.gates.softplus_credit` of the gap."""
    from rlsd_cli.core.gates import softplus_credit

    return softplus_credit(evidence.advantage, evidence.gap("hint")[:, 0], evidence.mask, weight=weight(settings, step))


METHOD = Method(
    name="antisd",
    summary="each token loses of its advantage the more, the more the privileged teacher expected it",
    source="AntiSD, arXiv 2605.11609",
    deviations=(
        "the source switches it off where the entropy falls below 0.93 of that of the first five steps; "
        "`credit.decay_steps` lets it end instead, so that a step depends on its number alone",
        "groups without variance are left out",
    ),
    settings=Settings,
    views={"hint": View(where=has_advantage, when=lambda settings, step: weight(settings, step) > 0)},
    terms=(PolicyGradient(credit=credit),),
    defaults={"teacher.view": "solution"},
    schedules={"lambda": weight},
    off={"credit.weight": 0.0},
)
