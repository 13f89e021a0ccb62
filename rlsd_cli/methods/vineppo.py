"""Each step of a response earns what it did to the chance of a right answer."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import Count, Section
from rlsd_cli.methods.base import Continuations, Method, PolicyGradient, everyone

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    samples: Count = Field(9, description="continuations sampled from each prefix (K); more make its value more exact")
    step_ends: str = Field("\n;", min_length=1, description="characters that end a step of a response")
    max_steps: Count = Field(16, description="steps of a response whose value is estimated; more are joined, evenly")


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """The gain of the step that a token is in: the value after it less that before it."""
    from rlsd_cli.core.evidence import Credit

    del settings, step
    return Credit(evidence.gain, {})


METHOD = Method(
    name="vineppo",
    summary="each step earns what it did to the chance of a right answer, by sampling on from its start and its end",
    source="VinePPO, arXiv 2410.01679",
    deviations=(
        "steps end with a character of `credit.step_ends`, not by a parser of solutions; "
        "long responses have `credit.max_steps` joined steps",
    ),
    settings=Settings,
    continuations=Continuations(
        where=everyone,
        num=lambda settings: settings.samples,
        ends=lambda settings: settings.step_ends,
        most=lambda settings: settings.max_steps,
    ),
    terms=(PolicyGradient(moves=everyone, credit=credit),),
    defaults={"advantage.scale": "none"},
)
