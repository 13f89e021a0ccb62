import pytest

from rlsd_cli.core.schedules import learning_rate_scale, warmup_decay


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decay_steps": 50}, {1: 0.49, 2: 0.48, 25: 0.25, 49: 0.01, 50: 0.0, 51: 0.0}),
        ({"decay_steps": 60}, {1: 0.491667, 30: 0.25, 59: 0.008333, 60: 0.0, 61: 0.0}),
        ({"decay_steps": 50, "first_index": 0}, {1: 0.5, 2: 0.49, 26: 0.25, 50: 0.01, 51: 0.0}),
        (
            {"decay_steps": 50, "warmup_steps": 10},
            {1: 0.05, 5: 0.25, 9: 0.45, 10: 0.5, 11: 0.49, 35: 0.25, 60: 0.0},
        ),
        ({}, {1: 0.5, 1000: 0.5}),
        ({"warmup_steps": 4}, {1: 0.125, 4: 0.5, 1000: 0.5}),
    ],
)
def test_a_number_that_rises_and_falls_by_hand(options, expected):
    assert {step: warmup_decay(step, initial=0.5, **options) for step in expected} == pytest.approx(expected, abs=1e-6)


def test_the_decay_ends_at_exactly_zero():
    assert warmup_decay(50, initial=0.5, decay_steps=50) == 0.0
    assert warmup_decay(10**6, initial=0.5, decay_steps=50) == 0.0


SCHEDULES = ("constant", "linear", "cosine")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("warmup_steps", "total_steps"), [(0, 1), (0, 10), (1, 10), (3, 10), (10, 10), (20, 10)])
def test_learning_rate_rises_to_one_and_never_reaches_zero(schedule, warmup_steps, total_steps):
    scales = [
        learning_rate_scale(step, schedule=schedule, warmup_steps=warmup_steps, total_steps=total_steps)
        for step in range(1, total_steps + 1)
    ]
    peak = min(max(warmup_steps, 1), total_steps)
    assert scales[:peak] == sorted(scales[:peak])
    assert scales[peak - 1 :] == sorted(scales[peak - 1 :], reverse=True)
    assert all(0 < scale <= 1 for scale in scales)
    if warmup_steps <= total_steps:
        assert scales[peak - 1] == 1.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_learning_rate_by_hand(schedule, expected):
    scales = [learning_rate_scale(step, schedule=schedule, warmup_steps=2, total_steps=5) for step in range(1, 6)]
    assert scales == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("schedule", "after"), [("constant", 1.0), ("linear", 0.0), ("cosine", 0.0)])
def test_learning_rate_beyond_the_last_step_stays_in_range(schedule, after):
    assert learning_rate_scale(99, schedule=schedule, warmup_steps=2, total_steps=5) == after
