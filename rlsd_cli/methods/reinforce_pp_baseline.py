"""REINFORCE with the mean of the group as its baseline, normalised over the whole batch."""

from rlsd_cli.methods.base import Method, PolicyGradient

METHOD = Method(
    name="reinforce_pp_baseline",
    aliases=("reinforce++-baseline",),
    summary="the baseline is the mean score of the group, and the divisor the deviation of the whole batch",
    source="REINFORCE++, arXiv 2501.03262",
    deviations=(
        "the divisor is the deviation of the batch's scores over responses; the source's is that of scores less their "
        "group's mean over tokens, which is smaller",
        "a KL to the initial policy is a term of the loss (`loss.kl_coef`), 0 by default; the source has one",
    ),
    terms=(PolicyGradient(),),
    defaults={
        "advantage.baseline": "mean",
        "advantage.scale": "batch_std",
        "loss.reduction": "token_mean",
        "loss.clip_high": 0.2,
    },
)
