"""FIPO: what it refuses, which updates it changes, and where it equals the plain policy gradient."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from rlsd_cli.config.schema import Config
from rlsd_cli.core.future_kl import future_kl_credit
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.methods.fipo import METHOD, Settings
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import after, assert_equal, begin

Begin = Callable[..., Trainer]


@pytest.fixture(scope="module")
def start(configure: Callable[..., Config]) -> Iterator[Begin]:
    """`start(overrides)`: a trainer at its first step."""
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(configure()))

        def make(**overrides: Any) -> Trainer:
            keys = {key.replace("__", "."): value for key, value in overrides.items()}
            return begin(configure({"method": "fipo", "optim.lr": 3e-4, "samples_per_prompt": 8} | keys), pool)

        yield make


def test_the_defaults_are_those_of_the_32b_recipe() -> None:
    assert Settings().model_dump() == {
        "half_life": 32.0,
        "clip_low": 0.0,
        "clip_high": 0.2,
        "safety": 10.0,
        "ratio_limit": 10.0,
    }
    assert METHOD.defaults["loss.dual_clip"] == 10.0


def test_one_update_a_batch_is_refused_with_the_reason(configure: Callable[..., Config]) -> None:
    with pytest.raises(RlsdError, match=r"`optim.updates_per_batch` = 1 leaves every importance ratio at 1"):
        configure({"method": "fipo", "optim.updates_per_batch": 1})


def test_without_a_band_it_is_rlvr_with_its_loss_bit_for_bit(start: Begin) -> None:
    plain = after(start(method="rlvr", **{key.replace(".", "__"): value for key, value in METHOD.defaults.items()}))
    assert_equal(after(start(credit__clip_low=0.0, credit__clip_high=0.0)), plain, exactly=True)
    weighed = after(start())
    assert any(not torch.equal(weighed[name], value) for name, value in plain.items()), "and it has an effect"


def test_in_a_step_the_first_update_has_the_advantage_and_the_second_its_weight(start: Begin) -> None:
    metrics, records = start(credit__clip_low=0.2).step(1)
    trained = [record for record in records if record.credit is not None]
    first = [record for record in trained if record.old_logp is None]
    second = [record for record in trained if record.old_logp is not None]
    assert len(first) > 1
    assert len(second) > 1
    for record in first:
        assert record.credit == pytest.approx([record.advantage] * len(record.credit))
    spread = 0.0
    for record in second:
        logp, old_logp = torch.tensor([record.student_logp]), torch.tensor([record.old_logp])
        mask = torch.ones_like(logp, dtype=torch.bool)
        settings = Settings(clip_low=0.2).model_dump()
        expected = future_kl_credit(torch.tensor([record.advantage]), logp, old_logp, mask, **settings)
        assert_close(torch.tensor([record.credit]), expected.value, rtol=1e-4, atol=1e-4)
        spread = max(spread, expected.diagnostics["weight"].std().item())
    assert spread > 1e-3
    assert metrics["credit_dropped_rate"] == 0.0
    assert metrics["credit_weight_mean"] == pytest.approx(1.0, abs=0.2)
