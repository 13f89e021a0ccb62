"""GRPO without what its standard deviation and its response length do to the gradient."""

from rlsd_cli.methods.base import Method, PolicyGradient

METHOD = Method(
    name="dr_grpo",
    aliases=("drgrpo",),
    summary="GRPO whose advantage is divided by no deviation, and whose loss is divided by no length",
    source="Dr. GRPO, arXiv 2503.20783",
    terms=(PolicyGradient(),),
    defaults={"advantage.scale": "none", "loss.reduction": "constant", "loss.clip_high": 0.2},
)
