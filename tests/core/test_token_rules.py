import torch
from torch.testing import assert_close

from rlsd_cli.core.token_rules import certainty_weights, position_weights

MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_with_a_floor_of_1_every_token_weighs_exactly_1():
    assert torch.equal(position_weights(MASK, floor=1.0, centre=0.3, width=0.1), MASK.float())


def test_weights_rise_along_a_response_as_in_pw_opsd():
    weight = position_weights(MASK, floor=0.25, centre=0.3, width=0.1)
    places = torch.tensor([[1 / 6, 3 / 6, 5 / 6], [0.5, 0.0, 0.0]])
    expected = torch.where(MASK, 0.25 + 0.75 / (1 + (-(places - 0.3) / 0.1).exp()), 0.0)
    assert_close(weight, expected)
    assert (weight[0].diff() > 0).all()


def test_certain_tokens_weigh_more_as_in_srpo():
    entropy, mask = torch.tensor([[0.2, 1.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool)
    expected = torch.tensor([[1.858013, 0.834859, 0.307128]])
    assert_close(certainty_weights(entropy, mask, sharpness=1.0), expected, rtol=0, atol=1e-5)
    assert torch.equal(certainty_weights(entropy, mask, sharpness=0.0), mask.float())


def test_a_mean_of_1_is_over_the_tokens_of_all_responses():
    weight = certainty_weights(torch.tensor([[0.0, 1.0, 1.0], [3.0, 9.0, 9.0]]), MASK, sharpness=1.0)
    assert_close(weight.sum(), torch.tensor(4.0))
    assert not weight[1, 1:].any()
    assert not certainty_weights(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), sharpness=1.0).any()
