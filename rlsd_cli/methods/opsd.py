"""The privileged teacher decides alone."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import Fraction, Positive, Section
from rlsd_cli.methods.base import Distill, Method, View

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.evidence import Evidence


class Settings(Section):
    position_floor: Fraction = Field(
        1.0, description="weight of the first tokens, which rises to 1 along a response (PW-OPSD: 0.25); 1: all alike"
    )
    position_centre: Fraction = Field(0.3, description="relative position at which that weight is halfway to 1")
    position_width: Positive = Field(0.1, description="how slowly it rises, as a share of the response")


def by_position(evidence: "Evidence", settings: Settings) -> "Tensor":
    """`core.token_rules.position_weights`."""
    from rlsd_cli.core.token_rules import position_weights

    return position_weights(
        evidence.mask,
        floor=settings.position_floor,
        centre=settings.position_centre,
        width=settings.position_width,
    )


METHOD = Method(
    name="opsd",
    summary="the privileged teacher decides direction and magnitude, token by token",
    source="OPSD, arXiv 2601.18734",
    settings=Settings,
    views={"hint": View()},
    terms=(Distill(view="hint", tokens=by_position),),
    defaults={"teacher.view": "solution", "teacher.weights": "frozen", "distill.token_clip": 0.05},
)
