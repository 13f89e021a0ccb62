"""Methods that are defaults of the policy gradient: their numbers, and the keys with which `rlvr` is each of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from rlsd_cli.config.schema import Config
from rlsd_cli.core.advantages import group_advantages
from rlsd_cli.core.weights import token_weights
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.training.losses import SURROGATES
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import after, assert_equal, begin, weights

Begin = Callable[..., Trainer]
Configure = Callable[..., Config]
Keys = dict[str, Any]
GOLDEN = {"rtol": 0, "atol": 1e-5}

AS_RLVR: dict[str, Keys] = {
    "dapo": {"loss.reduction": "token_mean", "rollout.refill": 64},
    "dr_grpo": {"advantage.scale": "none", "loss.reduction": "constant", "loss.clip_high": 0.2},
    "gspo": {"loss.surrogate": "gspo", "optim.updates_per_batch": 2},
    "cispo": {
        "loss.surrogate": "cispo",
        "loss.clip_low": 1.0,
        "loss.reduction": "token_mean",
        "optim.updates_per_batch": 2,
    },
    "rloo": {"advantage.baseline": "leave_one_out", "advantage.scale": "none", "loss.reduction": "constant"},
    "reinforce_pp": {
        "advantage.baseline": "batch_mean",
        "advantage.scale": "batch_std",
        "loss.reduction": "token_mean",
        "loss.clip_high": 0.2,
    },
    "reinforce_pp_baseline": {
        "advantage.scale": "batch_std",
        "loss.reduction": "token_mean",
        "loss.clip_high": 0.2,
    },
}
"""The keys with which `rlvr` is the method."""
OF_ALL = ("optim.updates_per_batch",)
"""Keys of the list above that say nothing of a method's own."""


@pytest.fixture(scope="module")
def start(configure: Configure) -> Iterator[Begin]:
    """`start(method, overrides)`: a trainer at its first step."""
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(configure()))
        base = {"optim.lr": 3e-4}
        yield lambda method, overrides=None: begin(configure(base | {"method": method} | (overrides or {})), pool)


# -- what equals what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "keys"), AS_RLVR.items(), ids=AS_RLVR)
def test_rlvr_with_these_keys_is_the_method_bit_for_bit(start: Begin, method: str, keys: Keys) -> None:
    own = after(start(method), (1, 2))
    assert_equal(own, after(start("rlvr", keys), (1, 2)), exactly=True)
    plain = after(start("rlvr", {key: keys[key] for key in OF_ALL if key in keys}), (1, 2))
    assert any(not torch.equal(own[name], value) for name, value in plain.items()), "and they have an effect"


@pytest.mark.parametrize("surrogate", ["gspo", "cispo"])
def test_with_one_update_a_batch_gspo_and_cispo_are_rlvr_bit_for_bit_and_refuse_it(
    start: Begin, configure: Configure, surrogate: str
) -> None:
    plain = after(start("rlvr"), (1, 2))
    assert_equal(after(start("rlvr", {"loss.surrogate": surrogate}), (1, 2)), plain, exactly=True)
    with pytest.raises(RlsdError, match=r"`optim.updates_per_batch` = 1 leaves every importance ratio at 1"):
        configure({"method": surrogate, "optim.updates_per_batch": 1})


# -- advantages -------------------------------------------------------------------------------------------------------

SCORES = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])


def advantages(config: Config) -> Tensor:
    chosen = config.advantage
    valid = torch.ones_like(SCORES, dtype=torch.bool)
    return group_advantages(
        SCORES, valid, baseline=chosen.baseline, scale=chosen.scale, ddof=chosen.ddof, eps=chosen.eps
    )


@pytest.mark.parametrize(
    ("method", "first", "second"),
    [
        ("dapo", [1.499997, -0.499999], [0.866024, -0.866024]),
        ("gspo", [1.499997, -0.499999], [0.866024, -0.866024]),
        ("cispo", [1.499997, -0.499999], [0.866024, -0.866024]),
        ("dr_grpo", [0.75, -0.25], [0.5, -0.5]),
        ("rloo", [1.0, -0.333333], [0.666667, -0.666667]),
        ("reinforce_pp", [1.207612, -0.724567], [1.207612, -0.724567]),
        ("reinforce_pp_baseline", [1.449135, -0.483045], [0.96609, -0.96609]),
    ],
)
def test_advantages_of_two_groups(configure: Configure, method: str, first: list[float], second: list[float]) -> None:
    """The batch: mean 3 / 8, deviation sqrt(1.875 / 7) = 0.517549."""
    found = advantages(configure({"method": method}))
    expected = [[first[0]] + [first[1]] * 3, [second[0]] * 2 + [second[1]] * 2]
    assert_close(found, torch.tensor(expected), **GOLDEN)


def test_rloo_is_dr_grpo_times_the_group_over_all_others_of_it(configure: Configure) -> None:
    rloo, dr_grpo = (advantages(configure({"method": method})) for method in ("rloo", "dr_grpo"))
    assert_close(rloo, dr_grpo * 4 / 3)


def test_reinforce_pp_learns_from_groups_of_one_and_methods_with_a_group_baseline_refuse_them(
    start: Begin, configure: Configure
) -> None:
    trainer = start("reinforce_pp", {"samples_per_prompt": 1, "prompts_per_step": 16})
    before = weights(trainer)
    moved = after(trainer)
    assert any(not torch.equal(moved[name], value) for name, value in before.items())
    for method in AS_RLVR.keys() - {"reinforce_pp"}:
        with pytest.raises(RlsdError, match="leaves every group of"):
            configure({"method": method, "samples_per_prompt": 1})


def test_dapo_draws_further_problems_in_place_of_groups_without_signal(start: Begin) -> None:
    metrics, _ = start("dapo").step(1)
    assert metrics["refilled_groups"] > 0
    without, _ = start("dapo", {"rollout.refill": 0}).step(1)
    assert without["refilled_groups"] == 0


# -- losses -----------------------------------------------------------------------------------------------------------


def loss_of(config: Config, logp: list[float], old_logp: list[float], credit: list[float]) -> tuple[Tensor, Tensor]:
    """The loss of each token of one response, and its gradient at the log-probabilities."""
    make_ratio, surrogate = SURROGATES[config.loss.surrogate]
    now = torch.tensor([logp], requires_grad=True)
    mask = torch.ones_like(now, dtype=torch.bool)
    found = surrogate(make_ratio(now, torch.tensor([old_logp]), mask), torch.tensor([credit]), mask, now, config.loss)
    found.loss.sum().backward()
    assert now.grad is not None
    return found.loss.detach(), now.grad


NOW, OLD = [-0.9, -0.7, -1.2], [-1.0] * 3


def test_gspo_clips_a_whole_response_with_its_own_narrow_bounds(configure: Configure) -> None:
    """The ratio of the response is exp(0.2 / 3) = 1.068939."""
    config = configure({"method": "gspo"})
    won, gradient = loss_of(config, NOW, OLD, [1.0] * 3)
    assert_close(won, torch.full((1, 3), -1.0004), **GOLDEN)
    assert not gradient.any()
    lost, gradient = loss_of(config, NOW, OLD, [-1.0] * 3)
    assert_close(lost, torch.full((1, 3), 1.068939), **GOLDEN)
    assert_close(gradient, torch.full((1, 3), 1.068939), **GOLDEN)


def test_cispo_clips_the_weight_above_and_keeps_the_gradient_of_every_token(configure: Configure) -> None:
    loss, gradient = loss_of(configure({"method": "cispo"}), NOW, OLD, [1.0] * 3)
    assert_close(loss, torch.tensor([[0.994654, 0.896, 0.982477]]), **GOLDEN)
    assert_close(gradient, torch.tensor([[-1.105171, -1.28, -0.818731]]), **GOLDEN)
    _, unlikely = loss_of(configure({"method": "cispo"}), [-3.0], [-1.0], [1.0])
    assert_close(unlikely, torch.tensor([[-0.135335]]), **GOLDEN)


@pytest.mark.parametrize(
    ("method", "loss"), [("dapo", -5 / 6), ("dr_grpo", -0.625), ("rloo", -0.625), ("gspo", -0.5), ("cispo", -5 / 6)]
)
def test_what_a_token_of_a_long_and_of_a_short_response_weighs(configure: Configure, method: str, loss: float) -> None:
    """Four tokens of credit 1.5 and two of -0.5, under a limit of four."""
    mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    weight = token_weights(mask, configure({"method": method}).loss.reduction, max_tokens=4)
    assert (-weight * torch.tensor([[1.5], [-0.5]])).sum().item() == pytest.approx(loss)


# -- the numbers of other trainers' tests -----------------------------------------------------------------------------

HALF_ONE_AND_A_HALF = [-1.69315, -1.0, -0.59453]
"""Ratios of 0.5, 1 and 1.5 to log-probabilities of -1."""
HALF_ONE_AND_TEN = [-1.69315, -1.0, -0.69741]
"""Ratios of 0.5, 1 and 10 to log-probabilities of -1, -1 and -3."""
PEERS = {"loss.clip_low": 0.2, "loss.clip_high": 0.2}


@pytest.mark.parametrize(
    ("method", "keys", "logp", "old_logp", "credit", "losses"),
    [
        pytest.param(
            "rlvr", {}, HALF_ONE_AND_A_HALF, [-1.0] * 3, [1.0, -1.0, 2.0], [-0.5, 1.0, -2.4], id="NeMo-RL-clipped"
        ),
        pytest.param(
            "gspo", {}, HALF_ONE_AND_A_HALF, [-1.0] * 3, [1.0, -1.0, 2.0], [-0.9086, 0.9086, -1.8171], id="NeMo-RL-gspo"
        ),
        pytest.param(
            "rlvr",
            {"loss.dual_clip": 3.0},
            HALF_ONE_AND_TEN,
            [-1.0, -1.0, -3.0],
            [1.0, -1.0, -4.0],
            [-0.5, 1.0, 12.0],
            id="SkyRL-dual-clip",
        ),
        pytest.param(
            "cispo",
            {},
            HALF_ONE_AND_TEN,
            [-1.0, -1.0, -3.0],
            [1.0, -1.0, -4.0],
            [1.35452, -1.0, -3.347568],
            id="SkyRL-cispo",
        ),
    ],
)
def test_losses_are_those_of_the_tests_of_nemo_rl_and_skyrl(
    configure: Configure,
    method: str,
    keys: Keys,
    logp: list[float],
    old_logp: list[float],
    credit: list[float],
    losses: list[float],
) -> None:
    """NeMo-RL tests/unit/algorithms/test_loss_functions.py, SkyRL tests/train/algorithms/test_losses.py."""
    loss, _ = loss_of(configure({"method": method} | PEERS | keys), logp, old_logp, credit)
    assert_close(loss, torch.tensor([losses]), rtol=1e-4, atol=1e-4)
