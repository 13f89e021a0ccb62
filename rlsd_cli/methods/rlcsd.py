"""GRPO; and tokens that tell right responses from wrong ones apart get a contrast added, in a mean of their own."""

from typing import TYPE_CHECKING

from pydantic import Field

from rlsd_cli.fields import NonNegative, Positive, Section
from rlsd_cli.methods.base import Method, PolicyGradient, View, at_most, has_advantage, one

if TYPE_CHECKING:
    from torch import Tensor

    from rlsd_cli.core.contrast import Residual
    from rlsd_cli.core.evidence import Credit, Evidence

MOST = 4
"""Wrong responses that the teacher is shown at most."""


class Settings(Section):
    temperature: Positive = Field(
        0.02, description="tau: nats of contrast at which tanh bends; a small one keeps its sign alone"
    )
    scale: Positive = Field(0.5, description="beta x lambda: largest contrast that is added to an advantage")
    limit: Positive = Field(2.0, description="bound of the contrast that is added")
    threshold: NonNegative = Field(0.02, description="delta: a token with a larger contrast is selected")
    selected_weight: NonNegative = Field(1.0, description="eta: weight of the mean over selected tokens")


def residual(evidence: "Evidence", settings: Settings) -> "Residual":
    """`core.contrast.contrast_residual` of a correct sibling against wrong ones."""
    from rlsd_cli.core.contrast import contrast_residual, mixture_logp

    right, wrong = evidence.readings["right"], evidence.readings["wrong"]
    return contrast_residual(
        right.logp[:, 0],
        mixture_logp(wrong.logp, wrong.shown),
        evidence.mask & right.shown[:, 0] & wrong.shown.any(1),
        temperature=settings.temperature,
        scale=settings.scale,
        limit=settings.limit,
        threshold=settings.threshold,
    )


def plain(evidence: "Evidence", settings: Settings) -> "Tensor":
    """1 at the tokens that are not selected."""
    return (~residual(evidence, settings).selected).float()


def chosen(evidence: "Evidence", settings: Settings) -> "Tensor":
    """1 at the tokens that are selected."""
    return residual(evidence, settings).selected.float()


def contrasted(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """The advantage plus the contrast, which cannot turn its sign; 0 where the advantage is 0."""
    import torch

    from rlsd_cli.core.contrast import keep_sign
    from rlsd_cli.core.evidence import Credit

    del step
    found, base = residual(evidence, settings), evidence.advantage[:, None]
    value = keep_sign(base + found.value, evidence.advantage)
    return Credit(torch.where(evidence.mask & (base != 0), value, 0.0), {"selected": found.selected})


def selected_weight(settings: Settings, step: int) -> float:
    """Eta, the same at every step."""
    del step
    return settings.selected_weight


METHOD = Method(
    name="rlcsd",
    summary="GRPO; tokens that tell right from wrong siblings apart get their contrast added, in a mean of their own",
    source="RLCSD, arXiv 2606.11709, released configuration",
    deviations=("a response without a correct and a wrong sibling has no contrast",),
    settings=Settings,
    views={
        "right": View("sibling", where=has_advantage),
        "wrong": View("wrong_sibling", where=has_advantage, most=at_most(MOST)),
    },
    terms=(
        PolicyGradient(tokens=plain, coef=one, counted="own"),
        PolicyGradient(tokens=chosen, credit=contrasted, coef=selected_weight, counted="own"),
    ),
    defaults={
        "teacher.weights": "snapshot",
        "teacher.sync_every": 10,
        "loss.reduction": "token_mean",
        "loss.clip_high": 0.2,
    },
)
