"""REINFORCE whose baseline of a response is the mean score of the others of its group."""

from rlsd_cli.methods.base import Method, PolicyGradient

METHOD = Method(
    name="rloo",
    summary="the baseline of a response is the mean score of the other responses of its group",
    source="RLOO, arXiv 2402.14740",
    deviations=(
        "a sum over the tokens of a response is divided by `rollout.max_new_tokens`, which changes the size of the "
        "gradient and not its direction",
        "a KL to the initial policy is a term of the loss (`loss.kl_coef`), 0 by default; the source subtracts it from "
        "the score",
        "importance ratios of a second update are clipped; the source has one update a batch",
    ),
    terms=(PolicyGradient(),),
    defaults={"advantage.baseline": "leave_one_out", "advantage.scale": "none", "loss.reduction": "constant"},
)
