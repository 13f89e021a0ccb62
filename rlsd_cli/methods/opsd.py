"""The privileged teacher decides alone."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import NonNegative, Section
from rlsd_cli.methods.base import Distill, Method, View

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.evidence import Evidence


class Settings(Section):
    position_power: NonNegative = Field(
        0.0,
        description="weight of a token: its relative position in the response to this power (PW-OPSD); 0: all alike",
    )


def by_position(evidence: "Evidence", settings: Settings) -> "Tensor":
    """`core.token_rules.position_weights`."""
    from rlsd_cli.core.token_rules import position_weights

    return position_weights(evidence.mask, power=settings.position_power)


METHOD = Method(
    name="opsd",
    summary="the privileged teacher decides direction and magnitude, token by token",
    source="OPSD, arXiv 2601.18734",
    deviations=("PW-OPSD (2605.21606) does not state how its weights grow: here as a power of the relative position",),
    settings=Settings,
    views={"hint": View()},
    terms=(Distill(view="hint", tokens=by_position),),
    defaults={"teacher.view": "solution", "teacher.weights": "frozen", "distill.token_clip": 0.05},
)
