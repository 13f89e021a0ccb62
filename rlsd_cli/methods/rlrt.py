"""On correct rollouts, the less the privileged teacher expected a token, the more the token earns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import Fraction, Section
from rlsd_cli.methods.base import Attempt, Method, PolicyGradient, View

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    mix: Fraction = Field(0.5, description="lambda: share of the reversed weight in a token's magnitude; 0 is GRPO")
    clip: Fraction = Field(
        0.5,
        description="eps_w: weights stay in [1 - clip, 1 + clip]; "
        "its paper has 1 for base, 0.5 for instruct and 0.2 for thinking models",
    )


def mix(settings: Settings, step: int) -> float:
    """Lambda, the same at every step."""
    del step
    return settings.mix


def is_read(settings: Settings, step: int) -> bool:
    """True where a weight could differ from 1."""
    del step
    return settings.mix > 0 and settings.clip > 0


def is_reweighted(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for the rollouts that the verifier accepted and that scored above their group."""
    del group, settings
    return attempt.correct is True and attempt.advantage > 0


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` with student and teacher exchanged, which turns the sign of the gap."""
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    mask, advantage, reading = evidence.mask, evidence.advantage, evidence.readings["hint"]
    bounds = {"mix": mix(settings, step), "clip": settings.clip}
    found = self_distilled_credit(
        advantage,
        student_logp=reading.logp[:, 0],
        teacher_logp=evidence.student_logp,
        mask=mask,
        weighted=reading.shown[:, 0],
        **bounds,
    )
    check_credit(found, advantage, mask, **bounds)
    return found


METHOD = Method(
    name="rlrt",
    summary="on correct rollouts, tokens that the privileged teacher did not expect earn more",
    source="RLRT, arXiv 2605.10781",
    deviations=(
        "the teacher is shown what `teacher.view` names, the problem's own solution by default; "
        "the source shows it a correct rollout",
    ),
    settings=Settings,
    views={"hint": View(where=is_reweighted, when=is_read)},
    terms=(PolicyGradient(credit=credit),),
    defaults={"teacher.view": "solution"},
    schedules={"lambda": mix},
    off={"credit.mix": 0.0},
)
