import math

import pytest
import torch
from torch.testing import assert_close

from rlsd_cli.core.gates import dead_zone_credit, gate_credit, one_sided_gap, softplus_credit

GOLDEN = {"rtol": 0, "atol": 1e-5}
GAP = torch.tensor([[0.05, -0.3, 0.0, 1.5]])
MASK = torch.ones(1, 4, dtype=torch.bool)


def test_antisd_takes_from_the_advantage_what_the_teacher_expected():
    found = softplus_credit(torch.ones(1), GAP, MASK, weight=1.0)
    assert_close(found.value, torch.tensor([[0.987344, 1.069396, 1.0, 0.495867]]), **GOLDEN)
    below = softplus_credit(torch.zeros(1), torch.full((1, 4), -2.0), MASK, weight=1.0).value
    assert_close(below, torch.full((1, 4), 0.283110), **GOLDEN)


def test_antisd_without_a_gap_is_the_advantage_to_the_last_bit():
    advantage = torch.tensor([0.1 + 0.2])
    assert torch.equal(softplus_credit(advantage, torch.zeros(1, 4), MASK, weight=1.0).value, advantage.expand(1, 4))
    assert torch.equal(softplus_credit(advantage, GAP, MASK, weight=0.0).value, advantage.expand(1, 4))


@pytest.mark.parametrize(("advantage", "expected"), [(1.0, [1, 1, 1, 1.28]), (-1.0, [-1, -1.02, -1, -1])])
def test_amr_sd_raises_what_agrees_with_the_verdict_beyond_a_dead_zone(advantage, expected):
    found = dead_zone_credit(torch.tensor([advantage]), GAP, MASK, gain=0.2, blame=0.1, dead_zone=0.1)
    assert_close(found.value, torch.tensor([expected], dtype=torch.float32), **GOLDEN)


def test_amr_sd_bounds_the_gap():
    found = dead_zone_credit(torch.ones(1), torch.full((1, 4), 99.0), MASK, gain=0.2, blame=0.1, dead_zone=0.1)
    assert_close(found.value, torch.full((1, 4), 1 + 0.2 * 4.9), **GOLDEN)


def test_sdars_credit_is_the_gate_of_the_gap():
    found = gate_credit(GAP, MASK, sharpness=5.0)
    assert_close(found.value, torch.tensor([[0.562177, 0.182426, 0.5, 0.999447]]), **GOLDEN)
    assert torch.equal(found.diagnostics["gate"], found.value)


@pytest.mark.parametrize(("correct", "expected"), [(True, [0.05, 0, 0, 1.5]), (False, [0, -0.3, 0, 0])])
def test_opdvr_counts_the_gap_where_it_agrees_with_the_verdict(correct, expected):
    assert_close(one_sided_gap(GAP, MASK, correct=correct).value, torch.tensor([expected], dtype=torch.float32))


def test_padding_gets_no_credit_whatever_its_gap():
    mask, gap = torch.tensor([[True, False]]), torch.tensor([[1.0, math.nan]])
    for found in (
        softplus_credit(torch.ones(1), gap, mask, weight=1.0),
        dead_zone_credit(torch.ones(1), gap, mask, gain=1.0, blame=1.0, dead_zone=0.0),
        gate_credit(gap, mask, sharpness=1.0),
        one_sided_gap(gap, mask, correct=True),
    ):
        assert found.value[0, 1] == 0
        assert found.value[0, 0] != 0
