"""REINFORCE without groups: scores are normalised over the whole batch."""

from rlsd_cli.methods.base import Method, PolicyGradient

METHOD = Method(
    name="reinforce_pp",
    aliases=("reinforce++",),
    summary="scores are normalised over the whole batch, so that a problem may have a single response",
    source="REINFORCE++, arXiv 2501.03262",
    deviations=(
        "a KL to the initial policy is a term of the loss (`loss.kl_coef`), 0 by default; the source subtracts it from "
        "the score of each token",
        "mean and deviation are over responses; the source's are over tokens, where a long response counts more",
    ),
    terms=(PolicyGradient(),),
    defaults={
        "advantage.baseline": "batch_mean",
        "advantage.scale": "batch_std",
        "loss.reduction": "token_mean",
        "loss.clip_high": 0.2,
    },
)
