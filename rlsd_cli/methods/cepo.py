"""RLSD whose gap is between two teachers: one is shown the answer, the other a wrong answer of the group."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import CountOrZero, Fraction
from rlsd_cli.methods.base import Method, PolicyGradient, View, has_advantage
from rlsd_cli.methods.rules import Mixed, is_mixed, mix

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Mixed):
    mix_decay_steps: CountOrZero = Field(25, description="steps over which lambda falls linearly to 0; 0: no decay")
    clip: Fraction = Field(
        0.5, description="clip range of credit weights (eps_w); the paper has 0.5, its released script 0.2"
    )


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.credit.self_distilled_credit` with the teacher that is shown a wrong answer in place of the student."""
    from rlsd_cli.core.credit import check_credit, self_distilled_credit

    right, wrong = evidence.readings["hint"], evidence.readings["wrong"]
    bounds = {"mix": mix(settings, step), "clip": settings.clip}
    found = self_distilled_credit(
        evidence.advantage,
        student_logp=wrong.logp[:, 0],
        teacher_logp=right.logp[:, 0],
        mask=evidence.mask,
        weighted=right.shown[:, 0] & wrong.shown[:, 0],
        **bounds,
    )
    check_credit(found, evidence.advantage, evidence.mask, **bounds)
    return found


METHOD = Method(
    name="cepo",
    summary="the gap between a teacher shown the answer and one shown a wrong answer scales each token's magnitude",
    source="CEPO, arXiv 2605.19436",
    deviations=("without a wrong response every weight is 1, as in the released code; the paper has RLSD there",),
    settings=Settings,
    views={
        "hint": View(where=has_advantage, when=is_mixed),
        "wrong": View("wrong_answer", where=has_advantage, when=is_mixed),
    },
    terms=(PolicyGradient(credit=credit),),
    defaults={"teacher.weights": "live"},
    schedules={"lambda": mix},
    off={"credit.mix": 0.0},
)
