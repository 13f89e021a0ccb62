"""A token earns more where the update has since made the tokens after it likelier."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rlsd_cli.fields import Fraction, NonNegative, Positive, Section
from rlsd_cli.methods.base import Method, PolicyGradient
from rlsd_cli.methods.rules import needs_ratios

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


class Settings(Section):
    half_life: Positive = Field(32.0, description="tokens after which a later token's log-ratio counts half (tau)")
    clip_low: Fraction = Field(0.0, description="clip range of credit weights below 1; 0.2 in the 7B recipe")
    clip_high: NonNegative = Field(0.2, description="clip range of credit weights above 1")
    safety: Positive = Field(
        10.0,
        description="importance ratio above which a token of negative advantage has a weight of 0.8 to 1; 3 in the "
        "7B recipe",
    )
    ratio_limit: Annotated[float, Field(gt=1.0)] = Field(
        10.0,
        description="importance ratio above which a token is in no sum; two such tokens leave a response of negative "
        "advantage without credit",
    )


def credit(evidence: "Evidence", settings: Settings, step: int) -> "Credit":
    """`core.future_kl.future_kl_credit` of the policy now and before the update."""
    from rlsd_cli.core.future_kl import future_kl_credit

    del step
    return future_kl_credit(
        evidence.advantage, evidence.logp, evidence.old_logp, evidence.mask, **settings.model_dump()
    )


METHOD = Method(
    name="fipo",
    summary="a token earns more where the update has since made the tokens after it likelier",
    source="FIPO, arXiv 2603.19835",
    deviations=(
        "a response that is dropped for its ratios has credit 0 and stays in the denominators; "
        "the source takes it out of them",
        "above `credit.safety` the weight is held to 0.8 to 1, as in the released code; the paper sets it to 1",
        "a batch has two updates by default; the source's 32B recipe has eight",
        "no dynamic sampling and no penalty on long responses by default; the source has both, as its presets have",
    ),
    settings=Settings,
    terms=(PolicyGradient(credit=credit),),
    defaults={
        "loss.clip_low": 0.2,
        "loss.clip_high": 0.28,
        "loss.dual_clip": 10.0,
        "loss.reduction": "token_mean",
        "optim.updates_per_batch": 2,
    },
    fault=needs_ratios,
)
