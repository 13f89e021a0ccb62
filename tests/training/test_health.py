from collections.abc import Callable
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.training.health import warnings_of

FINE = {
    "zero_variance_rate": 0.1,
    "no_answer_rate": 0.0,
    "truncated_rate": 0.0,
    "no_verdict_rate": 0.0,
    "teacher_student_gap_abs_mean": 0.1,
    "credit_clip_low_rate": 0.1,
    "credit_clip_high_rate": 0.1,
    "outcomes": {"correct": 60, "wrong": 40},
}


def warned(config: Config, **changed: Any) -> dict[str, str]:
    return warnings_of(FINE | changed, config)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ({"correct": 98, "timeout": 2}, None),
        ({"correct": 97, "timeout": 3}, "3.0%"),
        ({"correct": 97, "timeout": 1, "memory": 1, "output_limit": 1}, "3.0%"),
        ({"correct": 97, "crash": 3}, None),
        ({"timeout": 1}, "100.0%"),
        ({}, None),
    ],
)
def test_more_than_two_percent_over_a_limit_of_verifying_is_said(
    outcomes: dict[str, int], words: str | None, configure: Callable[..., Config]
) -> None:
    found = warned(configure(), outcomes=outcomes)
    assert set(found) == ({"over_limit_rate"} if words else set())
    assert words is None or words in found["over_limit_rate"]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, None),
        ({"no_verdict_rate": 0.01}, "no_verdict_rate"),
        ({"zero_variance_rate": 1.0}, "zero_variance_rate"),
        ({"no_answer_rate": 0.3}, "no_answer_rate"),
        ({"truncated_rate": 0.2}, "truncated_rate"),
        ({"teacher_student_gap_abs_mean": 0.0}, "teacher_student_gap_abs_mean"),
        ({"credit_clip_low_rate": 0.3, "credit_clip_high_rate": 0.3}, "bound_rate"),
    ],
)
def test_each_sign_is_shown_by_its_metric_alone(
    changed: dict[str, Any], kind: str | None, configure: Callable[..., Config]
) -> None:
    assert set(warned(configure(), **changed)) == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("gap", "allowed", "said"),
    [(9e-4, 1e-3, False), (2e-3, 1e-3, True), (2e-3, 0.25, False), (0.3, 0.25, True), (None, 1e-3, False)],
)
def test_sampler_and_trainer_apart_by_more_than_rounding_are_said_with_the_models_type(
    gap: float | None, allowed: float, said: bool, configure: Callable[..., Config]
) -> None:
    found = warnings_of(FINE | {"sampler_mismatch_abs_mean": gap}, configure(), "rwkv", allowed)
    assert set(found) == ({"sampler_mismatch_abs_mean"} if said else set())
    assert not said or "`rwkv`" in found["sampler_mismatch_abs_mean"]
