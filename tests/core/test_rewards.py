"""The parts of a score that are formulas, and their sum."""

import pytest

from rlsd_cli.core.rewards import overlong, total


@pytest.mark.parametrize(
    ("num_tokens", "penalty"), [(70, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (99, -0.95), (100, -1.0), (120, -1.0)]
)
def test_the_penalty_of_length_falls_from_0_to_1_over_the_buffer(num_tokens: int, penalty: float) -> None:
    assert overlong(num_tokens, limit=100, buffer=20) == pytest.approx(penalty)


def test_a_buffer_as_long_as_the_limit_makes_every_token_count() -> None:
    assert [overlong(num, limit=4, buffer=4) for num in range(5)] == [0.0, -0.25, -0.5, -0.75, -1.0]


def test_a_score_is_the_weighted_sum_and_takes_no_part_without_a_weight() -> None:
    assert total({"answer": 1.0, "format": 0.5, "other": 7.0}, {"answer": 2.0, "format": -3.0}) == 0.5
    for score in (0.0, 0.1, 1 / 3, 1.0):
        assert total({"answer": score}, {"answer": 1.0}) == score, "to the last bit"
