"""The estimate of a run's memory: its parts against what torch keeps, and what is read from files and the system."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.batch import make_batch
from rlsd_cli.policy.catalog import local_path
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.memory_estimate import check_fits, estimate, expected
from rlsd_cli.policy.memory_parts import MB, Memory, Setting, in_words
from rlsd_cli.policy.memory_update import Batch, largest_batch, layer_bytes
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.quickstart import untrained
from rlsd_cli.policy.scoring import features
from rlsd_cli.policy.shape import ModelShape, read_shape
from rlsd_cli.rollout.attention import NAME
from rlsd_cli.rollout.decoders import PrefixDecoder, WaveDecoder
from rlsd_cli.rollout.hf_sampler import twin

Configure = Callable[..., Config]
SETTING = Setting("cpu", "float32", "float32", tokens_per_microbatch=512, packed=True, prompt_tokens=20)
SMALL = ModelShape(1_000_000, 1000, 64, 200, 3, num_heads=4, queries=64, keys=32, context_length=512, tied=True)
LARGE = SMALL._replace(num_parameters=9_000_000, vocabulary=100_000, num_layers=10)


def llama(folder: Path, *, tied: bool, num_layers: int = 2) -> LlamaForCausalLM:
    """A model with grouped heads that are wider than the hidden size asks for, and its directory."""
    shape: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 4, "head_dim": 16}
    shape |= {"num_key_value_heads": 2, "vocab_size": 101, "num_hidden_layers": num_layers}
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=tied, max_position_embeddings=77)).eval()
    model.save_pretrained(folder, max_shard_size="30KB")
    return model


def policy_of(model: Any, dtype: torch.dtype, *, packed: bool, recompute: float = 0.0) -> Policy:
    attention = "packed" if packed else "padded"
    execution = Execution(str(dtype)[6:], attention=attention, recompute=recompute)
    return Policy(model, None, torch.device("cpu"), frozenset([1]), 1, 0, 77, execution)


# -- the shape of a model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_shape_is_read_from_the_headers_of_the_weight_files(tied: bool, tmp_path: Path) -> None:
    model = llama(tmp_path, tied=tied)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    shape = read_shape(str(tmp_path))
    assert shape.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape == ModelShape(
        shape.num_parameters, 101, 48, 80, 2, 4, queries=64, keys=32, context_length=77, tied=tied
    )
    layers = sum(parameter.numel() for parameter in model.model.layers.parameters()) + 48
    assert shape.trunk == layers


def test_an_output_head_that_is_stored_although_it_is_tied_counts_once(tmp_path: Path) -> None:
    model = llama(tmp_path, tied=True)
    (tmp_path / "model.safetensors.index.json").unlink()
    stored = {name: value.clone() for name, value in model.state_dict().items()}
    assert "lm_head.weight" in stored
    save_file(stored, tmp_path / "model.safetensors")
    assert read_shape(str(tmp_path)).num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["quickstart", "quickstart-untrained", "tiny-untrained"])
def test_the_shapes_of_tiny_policies_are_theirs(name: str) -> None:
    path = local_path(name) if name == "quickstart" else None
    model = AutoModelForCausalLM.from_pretrained(path) if path else untrained(0, name)[0]
    shape = read_shape(name)
    assert shape.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.context_length == model.config.max_position_embeddings
    assert shape.vocabulary == model.config.vocab_size


@pytest.mark.parametrize(
    ("changed", "wrapped", "intermediate"),
    [({"intermediate_size": [64, 96]}, False, 96), ({}, True, 80)],
    ids=["layers of different widths", "the text part of a model that reads more"],
)
def test_a_shape_is_that_of_the_text_part_and_of_its_widest_layer(
    changed: dict[str, Any], wrapped: bool, intermediate: int, tmp_path: Path
) -> None:
    llama(tmp_path, tied=True)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changed
    path.write_text(json.dumps({"text_config": config, "hidden_size": 7} if wrapped else config), encoding="utf-8")
    shape = read_shape(str(tmp_path))
    assert (shape.hidden, shape.intermediate, shape.num_layers) == (48, intermediate, 2)


def test_files_that_say_too_little_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 48}', encoding="utf-8")
    with pytest.raises(RlsdError, match="do not say how large it is") as caught:
        read_shape(str(tmp_path))
    assert caught.value.exit_code == 3


def test_a_config_that_is_no_json_is_the_files_fault_and_not_ours(tmp_path: Path) -> None:
    for text in ('{"a": ', "[1]"):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(RlsdError, match="do not say how large it is") as caught:
            read_shape(str(tmp_path))
        assert caught.value.exit_code == 3


# -- the parts --------------------------------------------------------------------------------------------------------


def kept_for_backward(policy: Policy, batch: Any) -> int:
    """Bytes that autograd keeps of a forward pass, weights aside."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in policy.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features(policy, policy.model, batch, batch.mask)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_is_counted_as_autograd_keeps_it(dtype: torch.dtype, packed: bool, tmp_path: Path) -> None:
    prompt, response, group = 20, 12, 3
    found = []
    for num_layers in (1, 3):
        model = llama(tmp_path, tied=True, num_layers=num_layers)
        policy = policy_of(model, dtype, packed=packed)
        prompts, responses = [[5] * prompt] * group, [[7] * response] * group
        batch = make_batch(prompts, responses, 0, policy.device, packed=packed)
        found.append(kept_for_backward(policy, batch))
    read = prompt + group * (response - 1) if packed else group * (prompt + response)
    rows = group * (prompt + response - 1) if packed else read
    shape, setting = read_shape(str(tmp_path)), SETTING._replace(dtype=str(dtype)[6:], packed=packed)
    copy = 2 * (shape.trunk - 48 - 3 * 2 * 48) // 3 if dtype == torch.bfloat16 else 0
    assert (found[1] - found[0]) / 2 == layer_bytes(shape, Batch(read, rows, scored=0), setting) + copy


def test_the_largest_batch_is_within_its_budget_and_holds_one_response_at_least(configure: Configure) -> None:
    config = configure({"rollout.max_new_tokens": 30, "prompts_per_step": 4, "samples_per_prompt": 8})
    whole = largest_batch(config, SETTING._replace(tokens_per_microbatch=10_000))
    assert whole == (4 * (20 + 8 * 30), 4 * 8 * 50, 4 * 8 * 30)
    half = largest_batch(config, SETTING._replace(tokens_per_microbatch=2 * 260))
    assert half == (520, 2 * 8 * 50, 2 * 8 * 30)
    assert largest_batch(config, SETTING._replace(tokens_per_microbatch=80)) == (80, 2 * 50, 2 * 30)
    assert largest_batch(config, SETTING._replace(tokens_per_microbatch=1)) == (50, 50, 30)
    assert largest_batch(config, SETTING._replace(tokens_per_microbatch=120, packed=False)) == (100, 100, 60)


UPDATE, ROLLOUT = ("gradients", "activations", "head"), ("keys and values", "sampling")


def sizes(memory: Memory) -> dict[str, int]:
    return {component.name: component.num_bytes for component in memory.components}


def test_what_each_choice_adds_or_saves(configure: Configure) -> None:
    def parts(setting: Setting = SETTING, **overrides: Any) -> dict[str, int]:
        keys = {name.replace("__", "."): value for name, value in overrides.items()}
        return sizes(estimate(configure({"method": "rlvr"} | keys), LARGE, setting))

    copy = 4 * LARGE.num_parameters
    plain = parts()
    assert plain["weights"] == plain["gradients"] == copy
    assert plain["optimiser state"] == 2 * copy
    assert plain.keys().isdisjoint({"teacher", "reference", "sampler", "compute copy", "moments unpacked"})
    assert parts(optim__state="8bit")["optimiser state"] == pytest.approx(2 * copy / 4, rel=0.02)
    assert parts(method="rlsd")["teacher"] == parts(loss__kl_coef=0.1)["reference"] == copy
    assert "teacher" not in parts(method="rlsd", teacher__weights="live")
    assert "teacher" not in parts(method="rlsd", credit__mix=0.0)
    assert parts(SETTING._replace(sampling_dtype="bfloat16"))["sampler"] == copy / 2
    assert parts(SETTING._replace(dtype="bfloat16"))["activations"] < plain["activations"]
    kept = [parts(optim__recompute=share)["activations"] for share in (0.0, 0.5, 1.0)]
    assert kept[0] > kept[1] > kept[2]
    assert parts(method="opsd")["head"] > plain["head"]
    assert parts(rollout__batch_size=4)["keys and values"] < plain["keys and values"]
    gpu = parts(SETTING._replace(device="cuda"), method="rlsd", teacher__device="cpu")
    assert gpu["teacher"] == 4 * LARGE.head
    assert "process" not in gpu
    assert parts(method="rlsd", teacher__device="cpu")["teacher"] == copy


def test_the_peak_is_the_larger_of_rollout_and_update_on_a_gpu_and_both_on_a_cpu(configure: Configure) -> None:
    config = configure({"method": "rlvr"})
    on_cpu, on_gpu = (estimate(config, SMALL, SETTING._replace(device=device)) for device in ("cpu", "cuda"))
    parts = sizes(on_cpu)
    always = parts["weights"] + parts["optimiser state"] + parts["process"]
    rollout = parts["keys and values"] + parts["sampling"]
    update = parts["gradients"] + parts["activations"] + parts["head"] + parts["fragmentation"]
    assert on_cpu.peak_bytes == always + rollout + update
    assert on_cpu.fixed_bytes == always + parts["gradients"]
    parts = sizes(on_gpu)
    assert "fragmentation" not in parts
    update, rollout = (sum(parts.get(name, 0) for name in names) for names in (UPDATE, ROLLOUT))
    assert on_gpu.peak_bytes == parts["weights"] + parts["optimiser state"] + max(update, rollout)


def test_gradients_and_activations_are_there_together_only_where_there_are_several_micro_batches(
    configure: Configure,
) -> None:
    chosen = {"method": "rlvr", "rollout.max_new_tokens": 30, "prompts_per_step": 4, "samples_per_prompt": 8}
    config = configure(chosen)
    whole = 4 * (20 + 8 * 30)
    one, two = (estimate(config, LARGE, SETTING._replace(tokens_per_microbatch=whole - less)) for less in (0, 1))
    assert "fragmentation" not in sizes(one)
    assert one.during("update") + sizes(one)["gradients"] < two.during("training", "update")
    assert sizes(one)["gradients"] == one.during("step") == two.during("training")
    assert sizes(two)["head"] - sizes(one)["head"] == pytest.approx(4 * LARGE.head, rel=0.01)
    padded = SETTING._replace(packed=False, tokens_per_microbatch=whole)
    assert "fragmentation" in sizes(estimate(config, LARGE, padded))
    alone = SETTING._replace(tokens_per_microbatch=whole)
    assert "fragmentation" in sizes(estimate(configure(chosen | {"adapter.rank": 4}), LARGE, alone))


@pytest.mark.parametrize("shared", [True, False])
def test_keys_and_values_are_counted_as_the_decoders_hold_them_at_the_limit(
    shared: bool, configure: Configure, tmp_path: Path
) -> None:
    samples, tokens, prompts = 3, 40, [[5] * 20, [6] * 19]
    model = llama(tmp_path, tied=True)
    decoder: Any = (PrefixDecoder if shared else WaveDecoder)(twin(model, torch.float32), prompts, 0, model.device)
    if shared:
        decoder.model.set_attn_implementation(NAME)
    decoder.add([prompt for prompt in (0, 1) for _ in range(samples)])
    with torch.no_grad():
        for age in range(tokens):
            decoder.step(torch.full([2 * samples], 7), torch.full([2 * samples], age))
    if shared:
        held = [part for layer in decoder.layers for part in (*layer.own, *layer.prefixes)]
    else:
        held = [part for layer in decoder.cache.layers for part in (layer.keys, layer.values)]
    num_bytes = sum(part.untyped_storage().nbytes() for part in held)
    settings = {
        "method": "rlvr",
        "rollout.max_new_tokens": tokens,
        "prompts_per_step": 2,
        "samples_per_prompt": samples,
    }
    config = configure(settings | {"evaluation.problems": 1})
    counted = sizes(estimate(config, read_shape(str(tmp_path)), SETTING._replace(packed=shared)))["keys and values"]
    a_layer_twice = 3 / 2
    if shared:
        assert counted == a_layer_twice * num_bytes
    else:
        assert num_bytes <= counted / a_layer_twice < 1.4 * num_bytes


def test_weights_are_updated_while_gradients_are_there(configure: Configure) -> None:
    memory = estimate(configure({"method": "rlvr", "optim.state": "8bit"}), LARGE._replace(num_layers=1), SETTING)
    parts = sizes(memory)
    assert memory.highest == "step"
    held = ("weights", "optimiser state", "process", "gradients", "moments unpacked", *ROLLOUT)
    assert memory.peak_bytes == sum(parts[name] for name in held)


def test_an_adapter_has_gradients_and_moments_of_its_own_alone(configure: Configure) -> None:
    settings = {"method": "rlsd", "teacher.weights": "frozen", "loss.kl_coef": 0.1, "adapter.rank": 8}
    parts, plain = (sizes(estimate(configure(chosen), LARGE, SETTING)) for chosen in (settings, {"method": "rlsd"}))
    adapter = 4 * LARGE.adapter(8)
    assert parts["gradients"] == parts["teacher"] == parts["reference"] == parts["optimiser state"] / 2 == adapter
    assert parts["weights"] == plain["weights"] + adapter
    assert parts["head"] < plain["head"]


def test_what_is_split_counts_for_one_process_and_what_is_offloaded_not_at_all(configure: Configure) -> None:
    def parts(layout: str, processes: int, device: str = "cuda") -> dict[str, int]:
        config = configure({"optim.layout": layout, "teacher.weights": "frozen", "loss.kl_coef": 0.1})
        memory = estimate(config, LARGE, SETTING._replace(device=device, processes=processes))
        return {part.name: part.num_bytes for part in memory.components}

    held = ("weights", "gradients", "optimiser state", "teacher", "reference")
    whole, four = parts("whole", 4), parts("sharded", 4)
    assert parts("whole", 1) == whole == parts("sharded", 1)
    assert [four[name] for name in held] == [whole[name] // 4 for name in held]
    assert "sampler" not in whole
    assert four["sampler"] == 4 * LARGE.num_parameters
    assert 0 < four["gathered"] < 2 * whole["weights"] + whole["gradients"]
    assert not parts("offloaded", 1).keys() & set(held)
    assert parts("offloaded", 1, "cpu")["weights"] == whole["weights"]


def test_split_weights_are_copied_into_the_compute_type_a_layer_at_a_time(configure: Configure) -> None:
    setting = SETTING._replace(device="cuda", dtype="bfloat16", processes=4)

    def copied(layout: str, recompute: float) -> int:
        config = configure({"optim.layout": layout, "optim.recompute": recompute})
        return sizes(estimate(config, LARGE, setting))["compute copy"]

    assert copied("whole", 1.0) == copied("whole", 0.0) == copied("sharded", 0.0) == 2 * LARGE.trunk
    assert copied("sharded", 1.0) == 2 * LARGE.trunk // LARGE.num_layers


def test_a_run_that_cannot_fit_is_refused_and_one_that_may_not_is_warned_of(configure: Configure) -> None:
    memory = estimate(configure({"method": "rlvr"}), SMALL._replace(num_parameters=10**9), SETTING)
    with pytest.raises(RlsdError, match=r"takes at least 15\.\d GiB, and 10\.0 GiB are free") as caught:
        check_fits(memory, 10 * 2**30)
    assert caught.value.exit_code == 3
    assert caught.value.hint == "the largest part is optimiser state, 7.5 GiB: `optim.state=8bit`"
    tight = check_fits(memory, memory.fixed_bytes)
    assert tight is not None
    assert "`optim.tokens_per_microbatch`" in tight
    assert check_fits(memory, memory.peak_bytes) is None


def test_what_the_machine_chooses_is_assumed_to_be_what_takes_more(configure: Configure) -> None:
    config = configure({"dtype": "auto", "rollout.dtype": "auto"})
    cpu = expected(config, SMALL, "cpu", bfloat16_sampling=True)
    assert (cpu.dtype, cpu.sampling_dtype, cpu.packed) == ("float32", "bfloat16", True)
    assert expected(config, SMALL, "cuda", bfloat16_sampling=False).sampling_dtype == "bfloat16"
    asked = configure({"dtype": "bfloat16", "rollout.dtype": "float32", "optim.tokens_per_microbatch": 99})
    assert expected(asked, SMALL, "cpu", bfloat16_sampling=True)[1:4] == ("bfloat16", "float32", 99)


def test_sizes_in_words() -> None:
    assert [in_words(size) for size in (0, 513 * MB, 3 * 2**30)] == ["0 MiB", "513 MiB", "3.0 GiB"]
