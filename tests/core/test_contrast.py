import math

import pytest
import torch
from torch.testing import assert_close

from rlsd_cli.core.contrast import (
    added_credit,
    contrast_residual,
    keep_sign,
    mean_logp,
    mixture_logp,
    up_to_first_below,
)

GOLDEN = {"rtol": 0, "atol": 1e-5}
RIGHT = torch.tensor([[-0.2, -1.0, -0.7]])
WRONG = torch.tensor([[[-1.2, -0.4, -0.7], [-0.9, -0.6, -0.7]]])
ALL = torch.ones(1, 3, dtype=torch.bool)


def residual(temperature=1.3, threshold=0.02, shown=ALL):
    wrong = mixture_logp(WRONG, torch.ones_like(WRONG, dtype=torch.bool))
    return contrast_residual(RIGHT, wrong, shown, temperature=temperature, scale=0.5, limit=2.0, threshold=threshold)


def test_the_contrast_is_that_of_rlcsd():
    wrong = mixture_logp(WRONG, torch.ones_like(WRONG, dtype=torch.bool))
    assert_close(RIGHT - wrong, torch.tensor([[0.838792, -0.504992, 0.0]]), **GOLDEN)
    found = residual()
    assert_close(found.value, torch.tensor([[0.284223, -0.185014, 0.0]]), **GOLDEN)
    assert found.selected.tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [(0.3, [0.584223, 0.114986, 0.3]), (-0.1, [0.0, -0.285014, -0.1]), (0.0, [0.284223, -0.185014, 0.0])],
)
def test_a_credit_falls_to_0_and_not_beyond(advantage, expected):
    base = torch.tensor([advantage])
    assert_close(keep_sign(base[:, None] + residual().value, base), torch.tensor([expected]), **GOLDEN)


def test_a_small_temperature_leaves_the_sign_alone():
    assert_close(residual(temperature=1e-6).value, torch.tensor([[0.5, -0.5, 0.0]]), **GOLDEN)


def test_a_token_without_both_readings_is_not_selected_and_gets_nothing():
    found = residual(shown=torch.tensor([[True, False, True]]), threshold=0.0)
    assert found.selected.tolist() == [[True, False, False]]
    assert found.value[0, 1] == 0


def test_a_mixture_is_over_the_texts_that_there_are():
    one = torch.tensor([[[True, True, False], [False, False, False]]])
    assert_close(mixture_logp(WRONG, one), torch.tensor([[-1.2, -0.4, 0.0]]))
    assert_close(mean_logp(WRONG, one), torch.tensor([[-1.2, -0.4, 0.0]]))
    both = torch.ones_like(WRONG, dtype=torch.bool)
    assert_close(mixture_logp(WRONG, both)[0, 0], torch.tensor(math.log((math.exp(-1.2) + math.exp(-0.9)) / 2)))
    assert_close(mean_logp(WRONG, both), torch.tensor([[-1.05, -0.5, -0.7]]))


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        (1.5, [1.525, 1.4, 1.5, 1.6]),
        (-0.5, [-0.475, -0.6, -0.5, -0.4]),
        (0.0, [0.025, -0.1, 0.0, 0.1]),
        (0.05, [0.075, 0.0, 0.05, 0.15]),
    ],
)
def test_added_evidence_is_that_of_sipo(advantage, expected):
    evidence, mask = torch.tensor([[0.05, -0.3, 0.0, 1.5]]), torch.ones(1, 4, dtype=torch.bool)
    found = added_credit(torch.tensor([advantage]), evidence, mask, weight=0.5, clip=0.2)
    assert_close(found.value, torch.tensor([expected]), **GOLDEN)
    assert_close(found.diagnostics["evidence"], torch.tensor([[0.05, -0.2, 0.0, 0.2]]), **GOLDEN)


def test_padding_gets_no_credit():
    mask = torch.tensor([[True, False]])
    assert added_credit(torch.zeros(1), torch.tensor([[1.0, math.nan]]), mask, weight=1.0, clip=1.0).value[0, 1] == 0


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        ([0.1, -0.2, -0.3, -9.0], [True, True, True, False]),
        ([-0.3, 1.0, 1.0, 1.0], [True, False, False, False]),
        ([0.1, -0.25, 0.1, 0.1], [True, True, True, True]),
    ],
)
def test_tokens_count_up_to_and_including_the_first_disagreement(gap, expected):
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert up_to_first_below(torch.tensor([gap]), mask, threshold=0.25).tolist() == [expected]


def test_a_disagreement_in_the_padding_is_none():
    mask = torch.tensor([[False, True, True]])
    assert up_to_first_below(torch.tensor([[-9.0, 0.0, -9.0]]), mask, threshold=0.25).tolist() == [[False, True, True]]
