"""GRPO that averages over tokens, clips higher above than below, and replaces groups without signal."""

from rlsd_cli.methods.base import Method, PolicyGradient

METHOD = Method(
    name="dapo",
    summary="GRPO with a mean over tokens, a wider clip above 1, and groups without signal replaced",
    source="DAPO, arXiv 2503.14476",
    deviations=(
        "at most `rollout.refill` problems a step replace groups without signal; the source samples until the batch is "
        "full",
        "its penalty on long responses is a part of the score, `reward.parts.overlong=1`, that the preset has and the "
        "method alone has not",
    ),
    terms=(PolicyGradient(),),
    defaults={"loss.reduction": "token_mean", "loss.clip_low": 0.2, "loss.clip_high": 0.28, "rollout.refill": 64},
)
