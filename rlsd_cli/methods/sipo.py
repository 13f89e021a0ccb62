"""The advantage, scaled by or added to what tells the right answer from the response's own mistake."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from rlsd_cli.fields import CountOrZero, NonNegative, Section
from rlsd_cli.methods.base import Attempt, Method, PolicyGradient, View, has_advantage
from rlsd_cli.methods.rules import is_mixed, mix

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    form: Literal["additive", "multiplicative"] = Field(
        "additive",
        description="`additive` adds the evidence to the advantage, in groups without variance too; `multiplicative` "
        "scales the advantage with it, as RLSD does",
    )
    mix: NonNegative = Field(
        0.5,
        description="kappa: weight of the evidence (paper: 0.5 maths, 0.15 code); lambda, if multiplicative",
    )
    mix_decay_steps: CountOrZero = Field(0, description="steps over which that falls linearly to 0; 0: no decay")
    clip: NonNegative = Field(0.2, description="bound of the evidence, nats; clip range of weights, if multiplicative")


def is_moved(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for all rollouts where the evidence is added; where it scales, for those with an advantage."""
    return settings.form == "additive" or has_advantage(attempt, group, settings)


def contrast(evidence: "Evidence") -> "tuple[Tensor, Tensor]":
    """Log-probability after the answer less that after the mistake, and True where there are both."""
    right, wrong = evidence.readings["hint"], evidence.readings["mistake"]
    shown = right.shown[:, 0] & wrong.shown[:, 0]
    return (right.logp[:, 0] - wrong.logp[:, 0]).where(shown, right.logp.new_zeros(())), shown


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.contrast.added_credit`, or `core.credit.self_distilled_credit`, of the contrast."""
    from rlsd_cli.core.contrast import added_credit
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    (found, shown), mask, weight = contrast(evidence), evidence.mask, mix(settings, step)
    if settings.form == "additive":
        return added_credit(evidence.advantage, found, mask, weight=weight, clip=settings.clip)
    zero, bounds = found.new_zeros(found.shape), {"mix": weight, "clip": settings.clip}
    scaled = self_distilled_credit(evidence.advantage, zero, found, mask, weighted=shown, **bounds)
    check_credit(scaled, evidence.advantage, mask, **bounds)
    return scaled


def fault(config: Any) -> str | None:
    """Why the config contradicts the method."""
    settings = config.credit
    if settings.form == "multiplicative" and max(settings.mix, settings.clip) > 1:
        return (
            "`credit.form=multiplicative` takes `credit.mix` and `credit.clip` of at most 1: a weight may turn no sign"
        )
    return None


METHOD = Method(
    name="sipo",
    summary="what tells the right answer from the response's own mistake is added to the advantage, or scales it",
    source="SIPO, arXiv 2609.36742",
    deviations=("the confidence-bucket baseline and its other options are left out",),
    settings=Settings,
    views={
        "hint": View(where=is_moved, when=is_mixed),
        "mistake": View("mistake", where=is_moved, when=is_mixed),
    },
    terms=(PolicyGradient(moves=is_moved, credit=credit),),
    defaults={"teacher.weights": "live"},
    schedules={"lambda": mix},
    fault=fault,
)
