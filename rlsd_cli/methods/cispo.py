"""REINFORCE with clipped importance weights: no token loses its gradient."""

from rlsd_cli.methods.base import Method, PolicyGradient
from rlsd_cli.methods.rules import needs_ratios

METHOD = Method(
    name="cispo",
    summary="the importance weight of a token is clipped and its gradient never",
    source="CISPO, MiniMax-M1, arXiv 2506.13585",
    deviations=(
        "the source tunes the upper bound of the weight and does not print it: `loss.clip_high` is 0.28",
        "a batch has two updates by default; the source has sixteen",
    ),
    terms=(PolicyGradient(),),
    defaults={
        "loss.surrogate": "cispo",
        "loss.clip_low": 1.0,
        "loss.clip_high": 0.28,
        "loss.reduction": "token_mean",
        "optim.updates_per_batch": 2,
    },
    fault=needs_ratios,
)
