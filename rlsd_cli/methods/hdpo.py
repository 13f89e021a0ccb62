"""GRPO; and where every response fails, what the policy answers when it is told is distilled into it."""

from typing import Any

from pydantic import Field

from rlsd_cli.fields import Count, NonNegative, Section
from rlsd_cli.methods.base import STUDENT, Distill, Draw, Method, PolicyGradient, View
from rlsd_cli.methods.rules import all_failed, drawn_under, is_correct, problem_view_fault


class Settings(Section):
    weight: NonNegative = Field(
        0.1, description="lambda: weight of the distillation; 0 is GRPO, the source 0.01 to 0.1"
    )
    told_samples: Count = Field(
        8, description="responses sampled to a failed problem with the privileged prompt; the correct ones are kept"
    )


def weight(settings: Settings, step: int) -> float:
    """Lambda, the same at every step."""
    del step
    return settings.weight


def fault(config: Any) -> str | None:
    """Why the config contradicts the method."""
    if config.rollout.refill:
        return "`rollout.refill` replaces the groups in which all fail, and `hdpo` learns from these: set it to 0"
    return problem_view_fault(config, "samples with the privileged prompt")


METHOD = Method(
    name="hdpo",
    summary="GRPO; where all responses fail, correct responses sampled with the privileged prompt are distilled",
    source="HDPO, arXiv 2603.23871",
    deviations=(
        "the number of responses with the privileged prompt and its template are not in the source: "
        "`credit.told_samples` and `teacher.template`",
        "outside the teacher's top k the JSD is exact, log(2) / 2 times the student's mass; the source says log(2)",
    ),
    settings=Settings,
    views={"told": View(where=drawn_under("told"))},
    draws=(
        Draw(
            under="told",
            where=lambda group, settings: settings.weight > 0 and all_failed(group, settings),
            num=lambda settings: settings.told_samples,
            keep=is_correct,
        ),
    ),
    terms=(
        PolicyGradient(route=drawn_under(STUDENT)),
        Distill(view="told", route=drawn_under("told"), coef=weight, counted="own"),
    ),
    defaults={
        "teacher.view": "solution",
        "teacher.weights": "live",
        "distill.divergence": "jsd",
        "distill.top_k": 64,
        "distill.top_k_of": "teacher",
        "advantage.baseline": "leave_one_out",
        "advantage.scale": "none",
        "loss.reduction": "token_mean",
        "loss.clip_high": 0.2,
    },
    fault=fault,
    off={"credit.weight": 0.0},
)
