"""Intervals of the laboratory: the number itself, and bounds that cover it as often as they say."""

import pytest
import torch

from rlsd_cli.lab.intervals import correlation, mean, ratio


def test_a_mean_is_the_mean_and_its_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator, covered, trials = torch.Generator().manual_seed(1), 0, 300
    for _ in range(trials):
        figure = mean(torch.bernoulli(torch.full((100,), 0.3), generator=generator).tolist())
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.3 <= figure.high
    assert 0.91 <= covered / trials <= 0.98


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    assert ratio([1, 0], [1, 9]).mean == pytest.approx(0.1)
    assert ratio([0, 0], [0, 0]).mean is None
    assert mean([]).mean is None


def test_a_correlation_is_pearsons_over_all_tokens() -> None:
    generator = torch.Generator().manual_seed(2)
    pairs = [(x := torch.randn(7, generator=generator), x + torch.randn(7, generator=generator)) for _ in range(20)]
    x, y = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    found = correlation(pairs)
    assert found.mean == pytest.approx(float(torch.corrcoef(torch.stack([x, y]))[0, 1]), abs=1e-6)
    assert found.low < found.mean < found.high  # type: ignore[operator]
    assert correlation([(torch.ones(3), torch.ones(3))]).mean is None


def test_the_same_numbers_give_the_same_interval() -> None:
    assert mean([0, 1, 1, 0, 1]) == mean([0, 1, 1, 0, 1])
