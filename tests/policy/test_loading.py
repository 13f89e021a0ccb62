"""Real, tiny models with one fault each: what is loaded right, and what is refused with which words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy import loading
from rlsd_cli.policy.catalog import locate
from rlsd_cli.policy.loading import load_model
from rlsd_cli.policy.model import Policy, export_model, load_policy, load_trainable
from rlsd_cli.policy.quickstart import tokenizer
from rlsd_cli.policy.tokenizer import context_length, load_room
from rlsd_cli.training.optimizer import make_optimizer

SIZES = {
    **{"vocab_size": 24, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0},
}
IDS = torch.arange(2, 14)[None]
WEIGHTS = "model.safetensors"
DOWN = "model.layers.1.mlp.down_proj.weight"

Tensors = dict[str, Tensor]
Make = Callable[..., Path]


def llama(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES | changes))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A directory with a model (a small Llama without one) and the tokenizer of quickstart, which has 20 tokens."""

    def made(model: Any = None, folder: str = "model") -> Path:
        (model or llama()).save_pretrained(tmp_path / folder)
        tokenizer().save_pretrained(tmp_path / folder)
        return tmp_path / folder

    return made


@pytest.fixture
def policy_of(configure: Callable[..., Config]) -> Callable[..., Policy]:
    return lambda folder, **changes: load_trainable(configure({"model": str(folder)} | changes))


def rewrite(folder: Path, change: Callable[[Tensors], Tensors], file: str = WEIGHTS) -> None:
    save_file(change(load_file(folder / file)), folder / file, metadata={"format": "pt"})


def configured(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")


def refused(folder: Path | str, load: Callable[[str], Any] = load_model) -> str:
    """What is said of a model that cannot be loaded: that the machine cannot, with a hint."""
    with pytest.raises(RlsdError) as caught:
        load(str(folder))
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def without(tensors: Tensors, name: str) -> Tensors:
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: without(tensors, DOWN), f"1 missing ({DOWN})"),
        (lambda tensors: without(tensors, "lm_head.weight"), "1 missing (lm_head.weight)"),
        (
            lambda tensors: tensors | {"model.layers.2.mlp.up_proj.weight": torch.ones(2)},
            "1 unexpected (model.layers.2",
        ),
        (lambda tensors: tensors | {DOWN: torch.ones(32, 40)}, f"1 of another shape ({DOWN} (32, 40) for (32, 48))"),
        (lambda tensors: {f"net.{key}": value for key, value in tensors.items()}, "21 missing"),
    ],
)
def test_tensors_that_are_not_the_models_are_refused_by_name(
    make: Make, change: Callable[[Tensors], Tensors], words: str
) -> None:
    rewrite(folder := make(), change)
    message = refused(folder)
    assert words in message
    assert str(folder) in message


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda name: f"_orig_mod.{name}", "`_orig_mod.`"),
        (lambda name: f"module.{name}", "`module.`"),
        (lambda name: f"module._orig_mod.{name}", "`module.`, `_orig_mod.`"),
        (lambda name: name.replace("layers.1.", "layers.1._orig_mod."), "`_orig_mod.`"),
        (lambda name: f"base_model.model.{name}", "`base_model.model.`"),
    ],
)
def test_a_wrappers_prefix_is_said_and_taken_off_and_does_not_come_back(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrap: Callable[[str], str], said: str
) -> None:
    folder = make(plain := llama())
    rewrite(folder, lambda tensors: {wrap(name): value for name, value in tensors.items()})
    model, _ = load_model(str(folder))
    assert torch.equal(logits(model), logits(plain))
    said_once = capsys.readouterr().err
    assert said_once.count("is taken off the names") == 1
    assert all(prefix in said_once for prefix in said.split(", "))
    model.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / WEIGHTS).keys() == plain.state_dict().keys()


def test_a_plain_model_is_loaded_without_a_word(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    model, _ = load_model(str(make(plain := llama(tie_word_embeddings=True))))
    assert torch.equal(logits(model), logits(plain))
    assert capfd.readouterr() == ("", "")


def test_causal_masks_and_frequencies_of_old_checkpoints_are_let_be(make: Make) -> None:
    config = transformers.GPT2Config(vocab_size=24, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=1)
    folder = make(plain := transformers.GPT2LMHeadModel(config).eval())
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64), "transformer.h.0.attn.masked_bias": torch.zeros(1)}
    rewrite(folder, lambda tensors: tensors | masks)
    assert torch.equal(logits(load_model(str(folder))[0]), logits(plain))
    folder = make(folder="llama")
    rewrite(folder, lambda tensors: tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    load_model(str(folder))


def test_the_text_part_of_a_larger_model_is_loaded_and_what_is_left_out_is_said(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SIZES | {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "head_dim": 8}
    text |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4}
    config = transformers.Qwen3_5Config(text_config=text)
    folder = make(plain := transformers.Qwen3_5ForCausalLM(config.text_config).eval())
    (folder / "config.json").write_text(config.to_json_string(use_diff=False), encoding="utf-8")

    def composed(tensors: Tensors) -> Tensors:
        renamed = {name.replace("model.", "model.language_model."): value for name, value in tensors.items()}
        return renamed | {"model.seeing.blocks.0.weight": torch.ones(3)}

    rewrite(folder, composed)
    model, _ = load_model(str(folder))
    assert torch.equal(logits(model), logits(plain))
    said = capsys.readouterr().err
    assert "its text part is loaded, Qwen3_5ForCausalLM" in said
    assert "1 tensors of other parts are left out (model.seeing.blocks.0.weight)" in said
    rewrite(folder, lambda tensors: tensors | {"model.language_model.layers.2.mlp.up_proj.weight": torch.ones(2)})
    assert "1 unexpected (model.layers.2.mlp.up_proj.weight)" in refused(folder)


@pytest.mark.parametrize(
    ("kept", "words"),
    [(-500, "it ends within `model.layers.1."), (100, "ends within its header"), (0, "after 0 bytes")],
)
def test_a_weight_file_that_is_cut_off_is_named_before_weights_are_read(make: Make, kept: int, words: str) -> None:
    file = make() / WEIGHTS
    file.write_bytes(file.read_bytes()[:kept])
    for load in (load_model, load_room):
        message = refused(file.parent, load)
        assert str(file) in message
        assert words in message


def old(folder: Path, tensors: Tensors | None = None) -> Path:
    """The weights of a directory in the format before safetensors."""
    torch.save(tensors or load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    return folder / "pytorch_model.bin"


def test_weights_in_the_old_format_are_held_to_the_same(make: Make) -> None:
    folder = make(plain := llama())
    weights = load_file(folder / WEIGHTS)
    file = old(folder)
    assert torch.equal(logits(load_model(str(folder))[0]), logits(plain))
    file.write_bytes(file.read_bytes()[:-3000])
    assert f"{file} is broken: it ends within its tensors" in refused(folder, load_room)
    make()
    weights[DOWN][0, 3] = torch.nan
    assert f"not finite: `{DOWN}` of {old(folder, weights)}" in refused(folder)


def test_a_shard_that_is_not_there_is_named(make: Make) -> None:
    folder = make()
    llama().save_pretrained(folder, max_shard_size="20KB")
    (folder / WEIGHTS).unlink(missing_ok=True)
    gone = folder / "model-00002-of-00004.safetensors"
    gone.unlink()
    assert f"{gone} is broken: it is not there" in refused(folder, load_room)
    (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    assert "index.json is broken" in refused(folder, load_room)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [DOWN, "model.norm.weight"])
def test_weights_that_are_not_finite_are_refused_with_file_and_tensor(make: Make, name: str, value: float) -> None:
    folder = make()

    def spoil(tensors: Tensors) -> Tensors:
        tensors[name].view(-1)[3] = value
        return tensors

    rewrite(folder, spoil)
    assert f"not finite: `{name}` of {folder / WEIGHTS}" in refused(folder)


def test_a_sum_that_overflows_condemns_no_finite_weight(make: Make) -> None:
    folder = make()
    rewrite(folder, lambda tensors: tensors | {DOWN: torch.full((32, 48), 3e38)})
    load_model(str(folder))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"load_in_4bit": True, "quant_method": "bitsandbytes"}, "quantised (4-bit bitsandbytes)"),
        ({"load_in_8bit": True}, "quantised (8-bit bitsandbytes)"),
        ({"bits": 4, "quant_method": "gptq"}, "quantised (gptq)"),
        ({"quant_method": "awq"}, "quantised (awq)"),
        ({"quant_method": "fp8"}, "quantised (fp8)"),
    ],
)
def test_a_quantised_model_is_refused_before_its_weights_are_read(
    make: Make, settings: dict[str, Any], words: str
) -> None:
    configured(folder := make(), quantization_config=settings)
    assert words in refused(folder, load_room)
    assert words in refused(folder)
    configured(folder, quantization_config=None, text_config={"quantization_config": settings})
    assert words in refused(folder, load_room)
    configured(folder, quantization_config=None, text_config=None)
    load_model(str(folder))


def test_a_model_with_its_own_code_is_refused_and_nobody_is_asked(
    make: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("a question"))
    code = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    configured(folder := make(), auto_map=code, model_type="own", architectures=["OwnForCausalLM"])
    (folder / "configuration_own.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    assert "needs code of its own (`modeling_own.OwnForCausalLM`)" in refused(folder, load_room)
    configured(folder, model_type="llama")
    assert "needs code of its own" in refused(folder, load_room)
    configured(folder, auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"}, architectures=None)
    load_model(str(folder))
    settings = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert "the tokenizer of model" in (message := refused(folder, load_room))
    assert "needs code of its own" in message
    assert "trust_remote_code" not in message
    assert capfd.readouterr() == ("", "")


def encoder(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 24, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    sizes |= {
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "embedding_size": 32,
    } | changes
    return AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **sizes))


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_an_encoder_is_refused_and_the_same_layers_as_a_decoder_are_not(
    make: Make, configure: Callable[..., Config], kind: str
) -> None:
    policies = [configure({"model": str(make(encoder(kind, is_decoder=it), str(it)))}) for it in (False, True)]
    with pytest.raises(RlsdError, match="looks at later tokens, as encoders do") as caught:
        load_policy(policies[0])
    assert caught.value.exit_code == 3
    load_policy(policies[1])


def test_a_model_that_is_no_language_model_and_a_type_nobody_knows_are_refused(make: Make) -> None:
    folder = make()
    transformers.T5Config(vocab_size=24).save_pretrained(folder)
    assert "is no causal language model (model type `t5`)" in refused(folder, load_room)
    configured(folder, model_type="llamma", architectures=["LlammaForCausalLM"])
    assert f"type `llamma`, which transformers {transformers.__version__} does not know" in refused(folder, load_room)


def test_a_tokenizer_larger_than_the_embedding_is_refused_with_both_numbers(make: Make) -> None:
    folder = make(llama(vocab_size=20))
    load_room(str(folder))
    reader = AutoTokenizer.from_pretrained(folder)
    reader.add_special_tokens({"additional_special_tokens": ["<think>"]})
    reader.save_pretrained(folder)
    message = refused(folder, load_room)
    assert "tokens up to number 20 (`<think>`)" in message
    assert "has 20 rows" in message
    assert message == refused(folder)


def test_a_token_that_stands_for_an_image_may_have_no_row(make: Make) -> None:
    folder = make(llama(vocab_size=20))
    AutoTokenizer.from_pretrained(folder, extra_special_tokens={"image_token": "<image>"}).save_pretrained(folder)
    assert max(load_room(str(folder)).tokenizer.get_vocab().values()) == 20


@pytest.fixture
def adapter(make: Make, tmp_path: Path) -> Path:
    """What `peft` saves, without a tokenizer: an adapter of the model in `base` that changes what it says."""
    base = make(folder="base")
    settings = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings).save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "tokenizer.json").exists()
    return tmp_path / "adapter"


def test_an_adapter_without_a_tokenizer_is_merged_and_all_weights_are_trained(
    adapter: Path, tmp_path: Path, policy_of: Callable[..., Policy], configure: Callable[..., Config]
) -> None:
    policy, plain = policy_of(adapter), llama()
    assert not torch.allclose(logits(policy.model), logits(plain), atol=1e-3)
    assert all(weight.requires_grad for weight in policy.model.parameters())
    assert policy.model.state_dict().keys() == plain.state_dict().keys()
    before = policy.model.model.layers[0].self_attn.q_proj.weight.clone()
    policy.model(input_ids=IDS).logits.logsumexp(-1).sum().backward()
    make_optimizer(policy, configure()).step()
    assert not torch.equal(policy.model.model.layers[0].self_attn.q_proj.weight, before)
    export_model(adapter, tmp_path / "out", "float32")
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    whole, settings = load_file(file), config.read_text(encoding="utf-8")
    first = next(name for name in whole if "lora_B" in name)
    save_file(without(whole, first), file)
    assert "1 of its tensors are missing" in refused(adapter)
    save_file(whole | {first.replace("layers.0", "layers.7"): whole[first].clone()}, file)
    assert "1 of its tensors are unexpected" in refused(adapter)
    save_file(whole | {first: torch.full_like(whole[first], torch.nan)}, file)
    assert f"not finite: `{first}` of {file}" in refused(adapter)
    save_file(whole, file)
    file.write_bytes(file.read_bytes()[:-8])
    assert f"{file} is broken" in refused(adapter, load_room)
    config.write_text(settings.replace(str(tmp_path / "base"), str(tmp_path / "bale")), encoding="utf-8")
    with pytest.raises(RlsdError, match="was made for another model: no model named") as caught:
        load_room(str(adapter))
    assert caught.value.hint == f"did you mean `{tmp_path / 'base'}` or `{tmp_path / 'adapter'}`?"
    config.write_text(settings.replace(str(tmp_path / "base"), str(adapter)), encoding="utf-8")
    assert "was made for another adapter" in refused(adapter, load_room)
    config.write_text("{", encoding="utf-8")
    assert f"{config} does not name the model it was made for: Expecting" in refused(adapter, load_room)


def test_an_adapter_of_another_kind_and_one_without_weights_are_refused(adapter: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(base, prompt).save_pretrained(tmp_path / "prompt")
    assert "of kind PROMPT_TUNING, which cannot be merged" in refused(tmp_path / "prompt")
    (adapter / "adapter_model.safetensors").unlink()
    assert "has no weights" in refused(adapter, load_room)


def experts() -> Any:
    torch.manual_seed(0)
    sizes = SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2}
    return AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("phimoe", **sizes))


def test_an_adapter_of_all_layers_leaves_routers_alone(make: Make, policy_of: Callable[..., Policy]) -> None:
    policy = policy_of(make(experts()), **{"adapter.rank": 2})
    adapted = {name for name, module in policy.model.named_modules() if hasattr(module, "lora_A")}
    assert any("q_proj" in name for name in adapted)
    assert not any("router" in name for name in adapted)


def test_an_adapter_that_the_model_cannot_compute_with_is_refused(make: Make, policy_of: Callable[..., Policy]) -> None:
    with pytest.raises(
        RlsdError, match=r"cannot compute with an adapter of its modules router \(\w*Router\)"
    ) as caught:
        policy_of(make(experts()), **{"adapter.rank": 2, "adapter.targets": ["router"]})
    assert caught.value.exit_code == 3
    assert "`adapter.targets`" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.json", "{", "config.json is not valid JSON"),
        ("config.json", "[]", "not a JSON object"),
        ("config.json", "{}", "Should have a `model_type` key"),
        ("config.json", '{"model_type": "llama", "hidden_size": "x"}', "'hidden_size' expected int"),
        ("tokenizer.json", "{", "tokenizer.json is not valid JSON"),
        ("tokenizer.json", '{"a": 1}', "the tokenizer of model"),
        ("tokenizer_config.json", "{", "tokenizer_config.json is not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_is_no_fault_of_rlsd(
    make: Make, file: str, text: str, words: str
) -> None:
    folder = make()
    (folder / file).write_text(text, encoding="utf-8")
    assert words in refused(folder, load_room)


def test_whatever_another_library_raises_is_said_of_the_model_and_memory_is_not(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(error: Exception) -> Callable[..., Any]:
        def load(*_: Any, **__: Any) -> Any:
            raise error

        return load

    folder = make()
    for error, words in (
        (ImportError("it requires the sentencepiece package\n\nread more"), "it requires the sentencepiece package"),
        (KeyError("own"), "KeyError: 'own'"),
        (AttributeError("no such thing"), "AttributeError: no such thing"),
    ):
        monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", raising(error))
        assert refused(folder) == f"cannot load model `{folder}`: {words}"
    for lack in (MemoryError(), torch.OutOfMemoryError("none left")):
        monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", raising(lack))
        with pytest.raises(type(lack)):
            load_model(str(folder))


def test_a_directory_without_weights_or_tokenizer_says_what_is_lacking(make: Make) -> None:
    folder = make()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert "the tokenizer of model" in refused(folder, load_room)
    assert "no file of one is there" in refused(folder, load_room)
    tokenizer().save_pretrained(folder)
    (folder / WEIGHTS).unlink()
    assert "no file named model.safetensors" in refused(folder)


@pytest.mark.parametrize("name", ["llama", "a/b/c", "./model", "models/", "my model/base", "/nowhere", "~/nowhere"])
def test_what_is_no_directory_and_no_hub_name_is_never_asked_of_the_hub(name: str) -> None:
    assert f"no model named `{name}`" in refused(name, load_room)


def test_a_mistyped_path_is_answered_with_the_model_beside_it(make: Make, tmp_path: Path) -> None:
    folder = make(folder="final")
    with pytest.raises(RlsdError, match="no model named") as caught:
        locate(str(tmp_path / "finall"))
    assert caught.value.hint == f"did you mean `{folder}`?"
    with pytest.raises(RlsdError, match="it is a file"):
        locate(str(folder / WEIGHTS))


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "default"}, 64),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, 256),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}, 64),
        ({"rope_type": "linear", "factor": 4.0, "original_max_position_embeddings": 64}, 64),
    ],
)
def test_yarn_stretches_the_context_by_its_factor(rope: dict[str, Any], length: int) -> None:
    assert context_length(LlamaConfig(**SIZES, rope_parameters=rope | {"rope_theta": 1e4})) == length


def test_the_context_is_that_of_the_text_part() -> None:
    assert context_length(transformers.Gemma3Config(text_config=SIZES)) == 64
