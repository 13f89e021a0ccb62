"""Signs that a run is not learning what it should; each is said once, with the number that triggered it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_verifiers import Outcome

OVER_LIMIT = (Outcome.TIMEOUT, Outcome.MEMORY, Outcome.OUTPUT_LIMIT)


class Sign(NamedTuple):
    """`text` is formatted with the metric's value and, as `family`, with the model's type."""

    metric: str
    is_bad: Callable[[float], bool]
    text: str


SIGNS = (
    Sign(
        "sampler_mismatch_abs_mean",
        lambda v: v > 0.0,
        "sampler and trainer of a `{family}` model are {:.2g} nats a token apart, which is more than rounding",
    ),
    Sign(
        "zero_variance_rate",
        lambda v: v == 1.0,
        "no group has an advantage ({:.0%} zero variance): nothing to learn from",
    ),
    Sign("no_answer_rate", lambda v: v > 0.2, "{:.0%} of the responses give no answer: check the format asked for"),
    Sign("truncated_rate", lambda v: v > 0.1, "{:.0%} of the responses are cut at `rollout.max_new_tokens`"),
    Sign("no_verdict_rate", lambda v: v > 0.0, "{:.1%} of the responses reached no verdict"),
    Sign("over_limit_rate", lambda v: v > 0.02, "{:.1%} of the responses score 0 because verifying them hit a limit"),
    Sign(
        "teacher_student_gap_abs_mean",
        lambda v: v < 1e-6,
        "teacher and student agree to {:.1g} nats: is the privileged view empty?",
    ),
    Sign(
        "bound_rate", lambda v: v > 0.5, "{:.0%} of the credit weights are at a bound: does the teacher's prompt fit?"
    ),
)


def warnings_of(
    metrics: Mapping[str, Any], config: Config, family: str = "", rounding_gap: float = 1e-3
) -> dict[str, str]:
    """The signs shown by one step's metrics: what triggered each, and its text.

    family: type of the model. rounding_gap: nats that sampler and trainer may be apart, in the types they compute in.
    """
    low, high = metrics["credit_clip_low_rate"], metrics["credit_clip_high_rate"]
    outcomes = metrics["outcomes"]
    num_verified = sum(outcomes.values())
    values = dict(metrics) | {
        "bound_rate": None if low is None else low + high,
        "over_limit_rate": sum(outcomes.get(kind, 0) for kind in OVER_LIMIT) / num_verified if num_verified else None,
    }
    if (values.get("sampler_mismatch_abs_mean") or 0.0) <= rounding_gap:
        values["sampler_mismatch_abs_mean"] = None
    if config.teacher.view == "none":
        values["teacher_student_gap_abs_mean"] = None
    return {
        sign.metric: sign.text.format(values[sign.metric], family=family)
        for sign in SIGNS
        if values[sign.metric] is not None and sign.is_bad(values[sign.metric])
    }
