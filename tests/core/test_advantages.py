import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsd_cli.core.advantages import group_advantages

BASELINES = ("mean", "leave_one_out", "none")
SCALES = ("group_std", "batch_std", "none")
QUICK = settings(deadline=None, max_examples=40, database=None)
GOLDEN = {"rtol": 0, "atol": 1e-5}


def advantages(*rows, valid=None, **options):
    scores = torch.tensor(rows, dtype=torch.float32)
    valid = torch.ones_like(scores, dtype=torch.bool) if valid is None else torch.tensor(valid)
    return group_advantages(scores, valid, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1.499997, -0.499999, -0.499999, -0.499999]),
        ({"eps": 1e-4}, [1.4997, -0.4999, -0.4999, -0.4999]),
        ({"ddof": 0}, [1.732047, -0.577349, -0.577349, -0.577349]),
        ({"scale": "none"}, [0.75, -0.25, -0.25, -0.25]),
        ({"baseline": "leave_one_out", "scale": "none"}, [1.0, -0.333333, -0.333333, -0.333333]),
        ({"baseline": "none", "scale": "none"}, [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_one_success_of_four_by_hand(options, expected):
    assert_close(advantages([1, 0, 0, 0], **options), torch.tensor([expected]), **GOLDEN)


@pytest.mark.parametrize(("ddof", "won", "lost"), [(1, 1.620182, -0.540061), (0, 1.732051, -0.57735)])
def test_two_successes_of_eight_by_hand(ddof, won, lost):
    expected = torch.tensor([[won] * 2 + [lost] * 6])
    assert_close(advantages([1, 1, 0, 0, 0, 0, 0, 0], ddof=ddof), expected, **GOLDEN)


@pytest.mark.parametrize("score", [0.0, 1.0, 0.1, -0.3, 1e-7, 12345.678])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
def test_equal_scores_earn_exactly_nothing(baseline, scale, score):
    result = advantages([score] * 7, [0, 1, 0, 1, 0, 0, 0], baseline=baseline, scale=scale)
    assert torch.equal(result[0], torch.zeros(7))


def test_a_lone_sample_keeps_its_score_only_without_a_baseline():
    lone = {"valid": [[True, False, False]]}
    assert advantages([0.7, 5, 9], **lone, baseline="none").tolist() == [[pytest.approx(0.7), 0, 0]]
    assert advantages([0.7, 5, 9], **lone, baseline="mean").tolist() == [[0, 0, 0]]
    assert advantages([0.7, 5, 9], **lone, baseline="leave_one_out").tolist() == [[0, 0, 0]]


def test_equal_scores_without_a_baseline_are_zero_once_scaled():
    assert advantages([0.1, 0.1, 0.1], baseline="none").tolist() == [[0, 0, 0]]


def test_invalid_samples_leave_no_trace():
    valid = [[True, True, True, True, False, False]]
    result = advantages([1, 0, 0, 0, math.nan, math.inf], valid=valid)
    assert torch.equal(result[:, :4], advantages([1, 0, 0, 0]))
    assert torch.equal(result[:, 4:], torch.zeros(1, 2))


def test_batch_std_is_that_of_every_valid_score():
    rows = ([1.0, 0.0, 0.0, 9.0], [1.0, 1.0, 0.0, 1.0])
    valid = [[True, True, True, False], [True, True, True, True]]
    std = torch.tensor([1.0, 0, 0, 1, 1, 0, 1]).std()
    centred = advantages(*rows, valid=valid, scale="none")
    assert_close(advantages(*rows, valid=valid, scale="batch_std"), centred / (std + 1e-6))


GROUPS = st.integers(2, 6).flatmap(
    lambda size: st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 0.1, 0.5, -2.0]), min_size=size, max_size=size), min_size=1, max_size=4
    )
)
OPTIONS = st.fixed_dictionaries(
    {"baseline": st.sampled_from(BASELINES), "scale": st.sampled_from(SCALES), "ddof": st.sampled_from([0, 1])}
)


@QUICK
@given(GROUPS, OPTIONS, st.randoms(use_true_random=False))
def test_permuting_a_group_permutes_its_advantages(rows, options, random):
    order = random.sample(range(len(rows[0])), len(rows[0]))
    permuted = advantages(*([row[i] for i in order] for row in rows), **options)
    assert_close(permuted, advantages(*rows, **options)[:, order], rtol=1e-4, atol=1e-5)


@QUICK
@given(GROUPS, OPTIONS.filter(lambda o: o["baseline"] != "none"), st.sampled_from([-3.0, 0.5, 7.25]))
def test_shifting_all_scores_changes_nothing(rows, options, shift):
    shifted = advantages(*([score + shift for score in row] for row in rows), **options)
    assert_close(shifted, advantages(*rows, **options), rtol=1e-4, atol=1e-4)


@QUICK
@given(GROUPS, OPTIONS, st.data())
def test_never_nan_and_zero_where_invalid(rows, options, data):
    row = st.lists(st.booleans(), min_size=len(rows[0]), max_size=len(rows[0]))
    valid = data.draw(st.lists(row, min_size=len(rows), max_size=len(rows)))
    result = advantages(*rows, valid=valid, **options)
    assert result.isfinite().all()
    assert not result[~torch.tensor(valid)].any()


def test_the_batch_mean_is_over_all_valid_scores_and_equal_scores_give_exact_zeros():
    scores, valid = torch.tensor([[1.0, 0.0], [0.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    found = group_advantages(scores, valid, baseline="batch_mean", scale="none")
    torch.testing.assert_close(found, torch.tensor([[2 / 3, -1 / 3], [-1 / 3, 0.0]]))
    same = group_advantages(torch.full((2, 2), 0.1), torch.ones(2, 2, dtype=torch.bool), baseline="batch_mean")
    assert torch.equal(same, torch.zeros(2, 2))
