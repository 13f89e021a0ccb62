"""GRPO whose importance ratio is of the whole response."""

from rlsd_cli.methods.base import Method, PolicyGradient
from rlsd_cli.methods.rules import needs_ratios

METHOD = Method(
    name="gspo",
    summary="GRPO whose importance ratio is the mean of a response, so that all its tokens are clipped or none",
    source="GSPO, arXiv 2507.18071",
    deviations=("a batch has two updates by default; the source has four",),
    terms=(PolicyGradient(),),
    defaults={
        "loss.surrogate": "gspo",
        "loss.clip_low": 3e-4,
        "loss.clip_high": 4e-4,
        "optim.updates_per_batch": 2,
    },
    fault=needs_ratios,
)
