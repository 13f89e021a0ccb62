"""The oracle itself, held to published numbers: it must not be wrong where the trainer is."""

import pytest
import torch
from torch import Tensor

from rlsd_cli.config.sections import AdvantageConfig, DistillConfig, LossConfig
from rlsd_cli.methods.rlsd import Settings
from tests.oracle.formulas import advantages, credit, divergence, falling, importance, kl, surrogate

NARROW = ([0.7, 0.2, 0.1], [0.5, 0.3, 0.2])
WIDE = ([0.4, 0.4, 0.05, 0.15], [0.5, 0.25, 0.15, 0.10])


def near(found: Tensor, expected: list[float]) -> bool:
    return found.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1.499997, -0.499999, -0.499999, -0.499999]),
        ({"ddof": 0}, [1.732047, -0.577349, -0.577349, -0.577349]),
        ({"scale": "none"}, [0.75, -0.25, -0.25, -0.25]),
        ({"baseline": "leave_one_out", "scale": "none"}, [1.0, -1 / 3, -1 / 3, -1 / 3]),
    ],
)
def test_advantages_of_one_success_in_four(options: dict[str, object], expected: list[float]) -> None:
    assert advantages([[1, 0, 0, 0]], AdvantageConfig(**options))[0] == pytest.approx(expected, abs=1e-5)  # type: ignore[arg-type]


def test_credit_of_four_tokens() -> None:
    gap = torch.tensor([0.05, -0.30, 0.0, 1.50], dtype=torch.float64)
    assert near(credit(1.5, gap, 0.5, 0.2), [1.538453, 1.35, 1.5, 1.65])
    assert near(credit(-0.5, gap, 0.5, 0.2), [-0.487807, -0.55, -0.5, -0.45])
    assert near(credit(1.5, gap, 1.0, 0.2), [1.576907, 1.2, 1.5, 1.8])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {1: 0.49, 25: 0.25, 50: 0.0, 51: 0.0}),
        ({"mix_first_index": 0}, {1: 0.5, 2: 0.49, 50: 0.01}),
        ({"mix_warmup_steps": 10}, {1: 0.05, 9: 0.45, 10: 0.5, 11: 0.49, 60: 0.0}),
    ],
)
def test_lambda_over_steps(options: dict[str, int], expected: dict[int, float]) -> None:
    s = Settings(**options)  # type: ignore[arg-type]
    found = {
        step: falling(step - 1 + s.mix_first_index, s.mix, s.mix_decay_steps, s.mix_warmup_steps) for step in expected
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_surrogates() -> None:
    ratio = torch.tensor([0.5, 0.9, 1.0, 1.25, 1.3, 4.0], dtype=torch.float64)
    settings, nothing, ones = LossConfig(dual_clip=3.0), torch.zeros(6), torch.ones(6)
    assert near(surrogate(ratio.log(), nothing, ones, settings), [-0.5, -0.9, -1, -1.25, -1.28, -1.28])
    assert near(surrogate(ratio.log(), nothing, -ones, settings), [0.8, 0.9, 1, 1.25, 1.3, 3])
    new, old = torch.tensor([-0.9, -0.7, -1.2], dtype=torch.float64), -torch.ones(3)
    tight = LossConfig(surrogate="gspo", clip_low=3e-4, clip_high=4e-4)
    assert near(surrogate(new, old, torch.ones(3), tight), [-1.0004] * 3)
    assert near(surrogate(new, old, -torch.ones(3), tight), [1.068939] * 3)
    assert near(surrogate(new, old, torch.ones(3), LossConfig(surrogate="cispo")), [0.994654, 0.896, 0.982477])


def test_importance_weights() -> None:
    old, sampled = torch.tensor([-0.9, -0.8, -0.9]), torch.tensor([-1.0, -2.0, -0.5])
    for mode, level, expected in (
        ("truncate", "token", [1.105171, 2.0, 0.67032]),
        ("mask", "token", [1.105171, 0.0, 0.67032]),
        ("truncate", "sequence", 2.0),
        ("mask", "sequence", 0.0),
    ):
        settings = LossConfig(rollout_correction=mode, rollout_correction_level=level)  # type: ignore[arg-type]
        assert torch.as_tensor(importance(old, sampled, settings)).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("pair", "options", "expected"),
    [
        (NARROW, {"divergence": "forward_kl"}, 0.085123),
        (NARROW, {"divergence": "reverse_kl"}, 0.092033),
        (NARROW, {"divergence": "jsd"}, 0.021901),
        (NARROW, {"divergence": "jsd", "beta": 0.1}, 0.007695),
        (NARROW, {"divergence": "jsd", "beta": 0.0}, 0.085123),
        (NARROW, {"divergence": "jsd", "beta": 1.0}, 0.092033),
        (NARROW, {"divergence": "pointwise_clipped_forward_kl", "token_clip": 0.05}, -0.100408),
        (NARROW, {"divergence": "forward_kl", "token_clip": 0.05}, 0.05),
        (WIDE, {"divergence": "reverse_kl", "top_k": 2}, 0.049857),
        (WIDE, {"divergence": "forward_kl", "top_k": 2}, 0.054115),
        (WIDE, {"divergence": "jsd", "top_k": 2}, 0.012908),
        (WIDE, {"divergence": "reverse_kl", "top_k": 2, "tail": False}, 0.056633),
        (WIDE, {"divergence": "reverse_kl", "top_k": 4}, 0.118316),
    ],
)
def test_divergences(pair: tuple[list[float], list[float]], options: dict[str, object], expected: float) -> None:
    teacher, student = (torch.tensor([side], dtype=torch.float64).log() for side in pair)
    settings = DistillConfig(**options)  # type: ignore[arg-type]
    assert divergence(student, teacher, torch.tensor([0]), settings).item() == pytest.approx(expected, abs=1e-6)


def test_the_pointwise_clip_turns_the_gradient() -> None:
    teacher, logits = (torch.tensor([side], dtype=torch.float64).log() for side in NARROW)
    logits.requires_grad_()
    settings = DistillConfig(divergence="pointwise_clipped_forward_kl", token_clip=0.05)
    divergence(logits.log_softmax(-1), teacher, torch.tensor([0]), settings).sum().backward()
    assert logits.grad is not None
    assert near(logits.grad[0], [0.15, -0.11, -0.04])


def test_estimates_of_the_kl() -> None:
    logp, reference = torch.tensor([0.3], dtype=torch.float64), torch.tensor([0.0])
    assert [kl(logp, reference, name).item() for name in ("k1", "k2", "k3")] == pytest.approx(
        [0.3, 0.045, 0.040818], abs=1e-6
    )
