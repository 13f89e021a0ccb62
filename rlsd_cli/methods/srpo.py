"""GRPO; but a wrong response with a correct sibling learns from the teacher that is shown it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import NonNegative, Section
from rlsd_cli.methods.base import Attempt, Distill, Method, PolicyGradient, View

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.evidence import Evidence


class Settings(Section):
    sharpness: NonNegative = Field(
        1.0, description="beta: how fast the weight of a distilled token falls with the teacher's entropy, 1 / nats"
    )


def is_distilled(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for a wrong rollout of a group in which another is correct."""
    del settings
    return attempt.correct is False and any(other.correct is True for other in group)


def is_rewarded(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for all other rollouts."""
    return not is_distilled(attempt, group, settings)


def by_certainty(evidence: "Evidence", settings: Settings) -> "Tensor":
    """`core.token_rules.certainty_weights` of the teacher's entropy, over the tokens that are distilled."""
    from rlsd_cli.core.token_rules import certainty_weights

    reading = evidence.readings["sibling"]
    return certainty_weights(reading.entropy[:, 0], evidence.mask & reading.shown[:, 0], sharpness=settings.sharpness)


METHOD = Method(
    name="srpo",
    summary="GRPO; a wrong response with a correct sibling learns from the teacher that is shown it instead",
    source="SRPO, arXiv 2604.02288",
    deviations=("a wrong response whose teacher prompt does not fit is in no term; the source gives it GRPO's loss",),
    settings=Settings,
    views={"sibling": View("sibling", where=is_distilled, sampled=True)},
    terms=(
        PolicyGradient(route=is_rewarded),
        Distill(view="sibling", route=is_distilled, tokens=by_certainty),
    ),
    defaults={
        "teacher.weights": "ema",
        "teacher.ema_rate": 0.05,
        "distill.divergence": "jsd",
        "distill.top_k": 100,
        "distill.ratio_cap": 2.0,
        "loss.reduction": "token_mean",
        "optim.lr": 5e-6,
    },
)
