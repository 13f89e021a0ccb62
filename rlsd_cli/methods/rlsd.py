"""The verifier decides the direction of a token's update, the privileged teacher its magnitude."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rlsd_cli.core.schedules import warmup_decay
from rlsd_cli.fields import CountOrZero, Fraction, Section
from rlsd_cli.methods.base import Attempt, Method, PolicyGradient, View

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    mix: Fraction = Field(0.5, description="lambda: weight of the teacher in the credit of a token; 0 is GRPO")
    mix_warmup_steps: CountOrZero = Field(0, description="warm-up steps: lambda rises linearly to `credit.mix`")
    mix_decay_steps: CountOrZero = Field(
        50, description="decay steps after the warm-up: lambda falls linearly to 0; 0: no decay"
    )
    mix_first_index: Annotated[int, Field(ge=0, le=1)] = Field(
        1, description="index of step 1 in the warm-up and decay schedule: 0, or 1 (one step already taken)"
    )
    clip: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.2, description="clip range of credit weights (eps_w): [1 - clip, 1 + clip]"
    )
    tokens: Literal["all", "thought"] = Field(
        "all",
        description="tokens that are reweighted: `all`, or `thought`, those up to the closing think tag (none "
        "without the tag)",
    )
    rollouts: Literal["all", "negative"] = Field(
        "all", description="rollouts that are reweighted: `all`, or `negative`, those with a negative advantage"
    )


def mix(settings: Settings, step: int) -> float:
    """Lambda at a step (arXiv 2604.03128, Section 5.1, and its official code)."""
    return warmup_decay(
        step,
        initial=settings.mix,
        warmup_steps=settings.mix_warmup_steps,
        decay_steps=settings.mix_decay_steps,
        first_index=settings.mix_first_index,
    )


def is_read(settings: Settings, step: int) -> bool:
    """True at the steps at which a weight could differ from 1."""
    return mix(settings, step) > 0 and settings.clip > 0


def is_reweighted(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for the rollouts whose tokens are reweighted."""
    del group
    return attempt.advantage < 0 or (attempt.advantage > 0 and settings.rollouts == "all")


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` of the teacher's reading, held to what it promises."""
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    mask, advantage, reading = evidence.mask, evidence.advantage, evidence.readings["hint"]
    bounds = {"mix": mix(settings, step), "clip": settings.clip}
    found = self_distilled_credit(
        advantage, evidence.student_logp, reading.logp[:, 0], mask, weighted=reading.shown[:, 0], **bounds
    )
    check_credit(found, advantage, mask, **bounds)
    return found


METHOD = Method(
    name="rlsd",
    summary="the verifier decides the direction; the privileged teacher scales each token's magnitude",
    source="RLSD, arXiv 2604.03128",
    settings=Settings,
    views={"hint": View(where=is_reweighted, when=is_read, tokens=lambda settings: settings.tokens)},
    terms=(PolicyGradient(credit=credit),),
    schedules={"lambda": mix},
    off={"credit.mix": 0.0},
)
