"""The verifier decides alone."""

from rlsd_cli.methods.base import Method, PolicyGradient

METHOD = Method(
    name="rlvr",
    aliases=("grpo",),
    summary="the verifier decides; every token of a response gets the same credit",
    source="GRPO, arXiv 2402.03300",
    terms=(PolicyGradient(),),
)
