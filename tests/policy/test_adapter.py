from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from rlsd_cli.config.schema import Config, TeacherConfig
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.catalog import base_of
from rlsd_cli.policy.model import Policy, export_adapter, load_policy, load_trainable
from rlsd_cli.policy.teacher import Teacher, initial_copy

IDS = torch.arange(2, 20)[None]
Adapted = Callable[..., Policy]


@pytest.fixture
def adapted(configure: Callable[..., Config]) -> Adapted:
    """The quickstart policy with an adapter."""

    def make(overrides: dict[str, Any] | None = None) -> Policy:
        return load_trainable(configure({"adapter.rank": 4} | (overrides or {})))

    return make


@pytest.fixture
def plain(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure())


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits.float()


@torch.no_grad()
def move(policy: Policy, amount: float = 0.01) -> None:
    """An update of what is trained, as far as others can tell."""
    for parameter in policy.model.parameters():
        if parameter.requires_grad:
            parameter.add_(amount)


def own_bytes(model: Any, policy: Policy) -> int:
    """Of the weights that a model does not share with the policy."""
    shared = {parameter.data_ptr() for parameter in policy.model.parameters()}
    return sum(p.nbytes for p in model.parameters() if p.data_ptr() not in shared)


def test_a_fresh_adapter_changes_nothing_and_is_all_that_is_trained(adapted: Adapted, plain: Policy) -> None:
    policy = adapted()
    assert torch.equal(logits(policy.model), logits(plain.model))
    trained = {name: value for name, value in policy.model.named_parameters() if value.requires_grad}
    assert all("lora_" in name for name in trained)
    width, gate = 2 * 4 * 128, 4 * (128 + 384)
    assert sum(value.numel() for value in trained.values()) == 4 * (4 * width + 3 * gate)


def test_the_seed_makes_the_adapter_and_leaves_other_draws_alone(adapted: Adapted) -> None:
    def first(policy: Policy) -> torch.Tensor:
        return next(value for name, value in policy.model.named_parameters() if "lora_A" in name)

    before = torch.random.get_rng_state()
    one, same, other = (adapted({"seed": seed}) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first(one), first(same))
    assert not torch.equal(first(one), first(other))


def test_the_frozen_teacher_is_the_adapter_switched_off_and_no_second_copy(adapted: Adapted, plain: Policy) -> None:
    policy = adapted()
    teacher = Teacher(policy, TeacherConfig(weights="frozen"))
    move(policy)
    teacher.after_update(1)
    assert torch.equal(logits(teacher.model), logits(plain.model))
    assert not torch.equal(logits(policy.model), logits(plain.model))
    trained = sum(p.nbytes for p in policy.model.parameters() if p.requires_grad)
    assert own_bytes(teacher.model, policy) == own_bytes(initial_copy(policy), policy) == trained
    assert teacher.state() is None
    assert all(p.requires_grad == ("lora_" in name) for name, p in policy.model.named_parameters())


def test_a_snapshot_is_a_second_adapter_and_all_that_a_checkpoint_keeps_of_it(adapted: Adapted) -> None:
    policy = adapted()
    teacher = Teacher(policy, TeacherConfig(weights="snapshot", sync_every=2))
    start = logits(policy.model)
    move(policy)
    teacher.after_update(1)
    assert torch.equal(logits(teacher.model), start)
    teacher.after_update(2)
    assert torch.equal(logits(teacher.model), logits(policy.model))
    state = teacher.state()
    assert state
    assert all("lora_" in name for name in state)
    kept = {name: value.clone() for name, value in state.items()}
    other = Teacher(adapted(), TeacherConfig(weights="snapshot"))
    other.load_state(kept)
    assert torch.equal(logits(other.model), logits(teacher.model))
    with pytest.raises(AssertionError, match="another teacher"):
        other.load_state({name: value for name, value in kept.items() if "layers.0" not in name})


def test_it_is_saved_as_peft_reads_it_and_merged_where_it_is_loaded(
    adapted: Adapted, plain: Policy, configure: Callable[..., Config], tmp_path: Path
) -> None:
    policy = adapted()
    move(policy)
    policy.save(tmp_path / "saved")
    base = base_of(str(tmp_path / "saved"))
    assert base
    assert not (tmp_path / "saved" / "config.json").exists()
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), tmp_path / "saved"
    )
    torch.testing.assert_close(logits(theirs), logits(policy.model))
    merged = load_policy(configure({"model": str(tmp_path / "saved")}))
    assert not any("lora_" in name for name, _ in merged.model.named_parameters())
    torch.testing.assert_close(logits(merged.model), logits(policy.model), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(merged.model), logits(plain.model), atol=1e-3)
    again = adapted()
    again.load_weights(tmp_path / "saved")
    assert torch.equal(logits(again.model), logits(policy.model))


def test_an_exported_adapter_is_the_same_in_another_type(adapted: Adapted, tmp_path: Path) -> None:
    policy = adapted()
    move(policy)
    policy.save(tmp_path / "saved")
    (tmp_path / "saved" / "trainer_state").touch()
    export_adapter(tmp_path / "saved", tmp_path / "out", "bfloat16")
    assert not (tmp_path / "out" / "trainer_state").exists()
    other = adapted()
    other.load_weights(tmp_path / "out")
    torch.testing.assert_close(logits(other.model), logits(policy.model), atol=0.05, rtol=0.05)


def test_an_adapter_of_other_modules_is_not_taken_over(adapted: Adapted, tmp_path: Path) -> None:
    adapted({"adapter.targets": ["o_proj"]}).save(tmp_path / "saved")
    with pytest.raises(RlsdError, match="another model's adapter: it has `model"):
        adapted({"adapter.targets": ["q_proj"]}).load_weights(tmp_path / "saved")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"adapter.targets": ["nothing_proj"]}, "`adapter.targets`"),
        ({"model": "quickstart-untrained"}, "cannot be the base"),
    ],
)
def test_what_cannot_have_an_adapter_says_so(adapted: Adapted, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(RlsdError, match=message):
        adapted(overrides)


def test_an_adapter_is_no_base_of_another(adapted: Adapted, tmp_path: Path) -> None:
    adapted().save(tmp_path / "saved")
    with pytest.raises(RlsdError, match="cannot be the base"):
        adapted({"model": str(tmp_path / "saved")})
