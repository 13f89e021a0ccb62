"""Draws against SplitMix64 in plain integers, and against distributions worked out by hand."""

import random

import pytest
import torch

from rlsd_cli.rollout import draws
from rlsd_cli.rollout.draws import choose, draw, row_key, uniforms
from rlsd_cli.rollout.sampler import Sampling

BITS = (1 << 64) - 1


def splitmix64(seed: int, number: int) -> int:
    """The `number`-th output (from 1) of the generator, whose state grows by the golden ratio."""
    state = (seed + number * 0x9E3779B97F4A7C15) & BITS
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & BITS
    return state ^ (state >> 31)


def test_uniforms_are_the_upper_bits_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [splitmix64(1234567, number) for number in range(1, 5)] == published
    drawn = random.Random(0)
    keys = [1234567, 0, BITS, 1 << 63, *(drawn.getrandbits(64) for _ in range(200))]
    signed = torch.tensor([key - (1 << 64) if key >> 63 else key for key in keys])
    positions = torch.tensor([0, 1, 2, 3, 1000, 2**31])
    expected = [[(splitmix64(key, int(place) + 1) >> 11) / 2**53 for place in positions] for key in keys]
    assert uniforms(signed[:, None], positions).tolist() == expected


def test_rows_have_keys_of_their_own() -> None:
    names = [(seed, prompt, sample) for seed in ("0/1", "0/11") for prompt in ("1", "11", "p") for sample in range(12)]
    keys = {row_key(*name) for name in names}
    assert len(keys) == len(names)
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)
    assert row_key("0/1", "p", 3) in keys


@pytest.mark.parametrize("size", [3, 256, 257, 1000])
def test_the_token_at_which_the_cumulative_weight_passes_the_uniform(size: int) -> None:
    weights = torch.rand(500, size, generator=torch.Generator().manual_seed(0)) * (torch.arange(size) % 3 != 1)
    uniform = torch.rand(500, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    cumulative = weights.double().cumsum(-1)
    expected = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1)
    assert choose(weights, uniform).tolist() == expected.tolist()


@pytest.mark.parametrize("size", [5, 256, 700, 1 << 18])
def test_no_draw_is_outside_the_support(size: int) -> None:
    """Also where the uniform is at either of its ends, and weights are as small as they come."""
    for support in ([0], [size - 1], [size // 2], [1, size - 2]):
        for weight in (1.0, 0.3, 2.0**-40):
            weights = torch.zeros(2, size)
            weights[:, support] = weight
            chosen = choose(weights, torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.double))
            assert chosen.tolist() == [support[0], support[-1]]


def test_the_highest_uniform_draws_the_last_token_of_a_vocabulary_of_equals() -> None:
    for size in (3, 1 << 14, (1 << 18) - 1, 1 << 18):
        assert choose(torch.ones(1, size), torch.tensor([1 - 2.0**-53], dtype=torch.double)).tolist() == [size - 1]


def test_frequencies_follow_the_distribution() -> None:
    rows = 20_000
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(rows, 1)
    keys = torch.tensor([row_key("seed", "prompt", sample) for sample in range(rows)])
    token, logp = draw(logits, Sampling(1, temperature=2.0), uniforms(keys, torch.tensor(5)))
    expected = torch.softmax(torch.tensor([1.0, 0.5, 0.0, -0.5]), -1)
    counts = torch.bincount(token, minlength=4)
    assert ((counts - rows * expected) ** 2 / (rows * expected)).sum() < 16.3  # 99.9 % quantile, 3 degrees of freedom
    torch.testing.assert_close(logp, expected.log()[token])


def test_the_uniforms_of_a_row_are_independent_of_one_another() -> None:
    keys = torch.tensor([row_key("seed", "prompt", sample) for sample in range(400)])
    cells = (uniforms(keys[:, None], torch.arange(65)) * 4).long()
    pairs = torch.bincount((cells[:, :-1] * 4 + cells[:, 1:]).flatten(), minlength=16)
    expected = pairs.sum() / 16
    assert ((pairs - expected) ** 2 / expected).sum() < 37.7  # 99.9 % quantile, 15 degrees of freedom


def test_top_k_and_top_p_restrict_the_support_and_report_whole_probabilities() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(500, 1)
    uniform = torch.rand(500, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    whole = torch.log_softmax(logits[0], -1)
    for sampling, allowed in (
        (Sampling(1, top_k=2), {0, 1}),
        (Sampling(1, top_p=0.6), {0}),
        (Sampling(1, top_p=0.7), {0, 1}),
        (Sampling(1, top_k=3, top_p=0.7), {0, 1}),
    ):
        token, logp = draw(logits, sampling, uniform)
        assert set(token.tolist()) == allowed
        torch.testing.assert_close(logp, whole[token])


@pytest.mark.parametrize("sampling", [Sampling(1, 0.0), Sampling(1, 0.7), Sampling(1, top_k=5), Sampling(1, top_p=0.5)])
def test_rows_are_drawn_one_like_all(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(7, 300, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(7, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    token, logp = draw(logits, sampling, uniform)
    monkeypatch.setattr(draws, "LOGITS_PER_DRAW", 600)
    in_parts, logp_in_parts = draw(logits, sampling, uniform)
    assert in_parts.tolist() == token.tolist()
    assert logp_in_parts.tolist() == logp.tolist()
    if sampling.temperature == 0.0:
        assert token.tolist() == logits.argmax(-1).tolist()
