"""GRPO, plus the reverse KL to the privileged teacher on what scored above its group."""

from collections.abc import Sequence

from pydantic import Field

from rlsd_cli.core.schedules import warmup_decay
from rlsd_cli.fields import CountOrZero, NonNegative, Section
from rlsd_cli.methods.base import Attempt, Distill, Method, PolicyGradient, View


class Settings(Section):
    weight: NonNegative = Field(1e-3, description="beta: weight of the distillation before its schedule; 0 is GRPO")
    warmup_steps: CountOrZero = Field(50, description="warm-up steps: beta rises linearly to `credit.weight`")
    decay_steps: CountOrZero = Field(350, description="steps after the warm-up over which beta falls linearly to 0")


def weight(settings: Settings, step: int) -> float:
    """Beta at a step."""
    return warmup_decay(
        step, initial=settings.weight, warmup_steps=settings.warmup_steps, decay_steps=settings.decay_steps
    )


def is_above(attempt: Attempt, group: Sequence[Attempt], settings: Settings) -> bool:
    """True for rollouts that scored above their group."""
    del group, settings
    return attempt.advantage > 0


METHOD = Method(
    name="sdpg",
    summary="GRPO, the reverse KL to the told teacher on responses above their group, and a KL to the initial policy",
    source="SDPG, arXiv 2606.04036",
    deviations=(
        "its reference term `ufkl` is `loss.kl_estimator=k3`, which has the same gradient; `urkl` is `k2`",
        "the weight falls right after its warm-up; in the released code over the last `decay_steps` of the run",
        "in the released code the restriction to responses above their group is an option, off by default",
    ),
    settings=Settings,
    views={"hint": View(where=is_above, when=lambda settings, step: weight(settings, step) > 0)},
    terms=(PolicyGradient(), Distill(view="hint", route=is_above, coef=weight)),
    defaults={
        "teacher.weights": "live",
        "distill.divergence": "reverse_kl",
        "loss.kl_coef": 1e-3,
        "loss.dual_clip": 10.0,
        "loss.reduction": "token_mean",
    },
    schedules={"lambda": weight},
    off={"credit.weight": 0.0, "loss.kl_coef": 0.0},
)
