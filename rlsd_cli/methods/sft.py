"""Supervised fine-tuning on the solutions of the data."""

from rlsd_cli.methods.base import Likelihood, Method

METHOD = Method(
    name="sft",
    summary="maximise the likelihood of each problem's worked solution",
    source="maximum likelihood",
    responses="solution",
    terms=(Likelihood(),),
    defaults={"loss.reduction": "token_mean", "optim.lr": 1e-5},
)
