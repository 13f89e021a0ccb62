"""Families of models, as toys with random weights, against plain forward passes; and what is said where that fails."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.families.toys import (
    BOUND,
    Toy,
    build,
    configured,
    load,
    rows,
    sampling_gaps,
    save,
    scoring_gaps,
    toys,
    train,
)
from rlsd_cli.data.sources import load_splits
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.policy import autotune
from rlsd_cli.policy.batch import decoder_layers, trunk_of
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.model import ROUNDING_GAP, Policy, copy_modules, load_policy, load_trainable
from rlsd_cli.policy.probes import (
    WINDOW,
    Example,
    can_pack,
    check_rows_stand_alone,
    head_is_plain,
    padded_logits,
    short_windows,
)
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.policy.tokenizer import context_length
from rlsd_cli.rollout import probes
from rlsd_cli.rollout.decoders import Decoder, PrefixDecoder, UncachedDecoder, WaveDecoder
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.probes import choose_decoder, is_exact
from rlsd_cli.rollout.sampler import Sampling
from tests.forked import rlsd

CPU = torch.device("cpu")
BASE = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 4,
}
OLD = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 512}
CAPPED = {"sliding_window": 16, "query_pre_attn_scalar": 16}
LOCAL = {"max_window_layers": 0, "layer_types": ["sliding_attention"] * 4}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16}
LINEAR |= {"linear_value_head_dim": 16, "linear_conv_kernel_dim": 4}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 48}
LONGROPE |= {"short_factor": [1.0] * 8, "long_factor": [1.0 + 3 * place for place in range(8)]}
PER_LAYER = {"vocab_size_per_layer_input": 320, "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 0}
HYBRID = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}


def toy(model_type: str, **more: Any) -> Toy:
    return Toy(model_type, BASE | more)


Ways = tuple[bool, bool, type[Decoder]]
PACKED, PADDED, OWN = (True, True, PrefixDecoder), (True, False, WaveDecoder), (False, False, WaveDecoder)
SLOW = (True, False, UncachedDecoder)
COMMON: dict[str, tuple[Toy, Ways]] = {
    "llama": (toy("llama"), PACKED),
    "llama-tied": (toy("llama", tie_word_embeddings=True), PACKED),
    "llama-dynamic": (
        toy(
            "llama",
            max_position_embeddings=64,
            rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
        ),
        PACKED,
    ),
    "qwen3": (toy("qwen3"), PACKED),
    "opt": (toy("opt", ffn_dim=96, word_embed_proj_dim=64), PACKED),
    "phi3-longrope": (toy("phi3", original_max_position_embeddings=48, rope_parameters=LONGROPE), PACKED),
    "mistral": (toy("mistral", sliding_window=16), PADDED),
    "gemma2": (toy("gemma2", **CAPPED), OWN),
    "gemma3": (toy("gemma3_text", **CAPPED), PADDED),
    "gemma3-composite": (toy("gemma3", **CAPPED), PADDED),
    "llama4": (toy("llama4_text", **EXPERTS, attention_chunk_size=16, intermediate_size_mlp=96), PADDED),
    "qwen3_5": (toy("qwen3_5_text", **LINEAR), PADDED),
    "lfm2": (toy("lfm2", layer_types=["conv", "full_attention"] * 2, block_auto_adjust_ff_dim=False), PADDED),
    "mamba": (toy("mamba", state_size=8), PADDED),
}
"""Scored and sampled in every test run. How: whether the head is plain, whether batches are packed, the decoder."""
OTHERS: dict[str, tuple[Toy, Ways]] = {
    "gpt2": (Toy("gpt2", BASE | OLD), PACKED),
    "bert-decoder": (toy("bert", is_decoder=True), (False, True, PrefixDecoder)),
    "granite": (toy("granite", logits_scaling=8.0), (False, True, PrefixDecoder)),
    "gemma4": (toy("gemma4_text", **PER_LAYER, sliding_window=16, global_head_dim=16), PADDED),
    "nemotron": (toy("nemotron"), PADDED),
    "doge": (toy("doge"), PADDED),
    "mpt": (Toy("mpt", BASE | {"d_model": 64, "n_layers": 4, "n_heads": 4, "max_seq_len": 512}), PADDED),
    "falcon": (toy("falcon", head_dim=None, new_decoder_architecture=True, num_kv_heads=2), PADDED),
    "falcon-alibi": (toy("falcon", head_dim=None, alibi=True, multi_query=True), PADDED),
    "mamba2": (toy("mamba2", num_heads=8, state_size=16, n_groups=1, expand=2), PADDED),
    "bamba": (toy("bamba", attn_layer_indices=[1, 3], **HYBRID), PADDED),
    "hrm_text": (toy("hrm_text"), (True, True, WaveDecoder)),
    "minimax": (toy("minimax", **EXPERTS), (True, False, UncachedDecoder)),
    "rwkv": (toy("rwkv"), SLOW),
    "openai-gpt": (Toy("openai-gpt", BASE | OLD), SLOW),
    "xlstm": (toy("xlstm"), (False, False, UncachedDecoder)),
    "recurrent_gemma": (
        toy("recurrent_gemma", attention_window_size=16, lru_width=64),
        (False, False, UncachedDecoder),
    ),
}
"""Of which only the ways are tried in every test run; scored, sampled and trained where slow tests are."""
FILED = {name: each for name, each in toys().items() if not {"bert-encoder"} & {name}}


def policy_of(model: Any, **execution: Any) -> Policy:
    return Policy(model, None, CPU, frozenset({4}), 4, 0, context_length(model.config), Execution(**execution))


def assert_exact(folder: Path, ways: Ways | None = None) -> None:
    policy = load(folder)
    if ways is not None:
        packs = ways[0] and ways[1]
        assert (policy.plain_head, policy.execution.packed, choose_decoder(policy)) == (ways[0], packs, ways[2])
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    given = rows(plain.get_input_embeddings().num_embeddings, min(64, policy.context_length))
    scored = scoring_gaps(policy, plain, given)
    assert scored.logp < BOUND
    assert scored.gradient < BOUND
    sampled = sampling_gaps(policy, plain, given)
    assert sampled.wrong == 0
    assert sampled.drawn < BOUND


# -- exact -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMON)
def test_scores_gradients_and_samples_are_those_of_plain_forward_passes(name: str, tmp_path: Path) -> None:
    given, ways = COMMON[name]
    assert_exact(save(build(given), tmp_path), ways)


@pytest.mark.parametrize("name", OTHERS)
def test_a_family_is_run_in_the_fastest_way_that_is_exact(name: str) -> None:
    given, ways = OTHERS[name]
    model = build(given)
    check_rows_stand_alone(model)
    assert (head_is_plain(model, CPU), can_pack(model, CPU), choose_decoder(policy_of(model))) == ways


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_exact_too(name: str, tmp_path: Path) -> None:
    assert_exact(save(build(OTHERS[name][0]), tmp_path))


def refusal(attempt: Callable[[], object]) -> RlsdError | None:
    """Why something is refused; None where it is not."""
    try:
        attempt()
    except RlsdError as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", FILED)
def test_filed_toys_are_exact_and_train_or_are_refused(name: str, tmp_path: Path) -> None:
    try:
        model = build(FILED[name])
    except Exception as error:
        pytest.skip(f"transformers does not build it: {error}")
    folder = save(model, tmp_path)
    if refused := refusal(lambda: load(folder)):
        assert (refused.exit_code, bool(refused.hint)) == (3, True)
        return
    assert_exact(folder)
    splits = load_splits(configured(tmp_path))
    with open_pool(configured(tmp_path)) as pool:
        for run in ({"method": "rlsd", "dtype": "auto", "rollout.dtype": "auto"}, {"method": "opsd"}):
            if refused := refusal(lambda run=run: train(configured(tmp_path, run), splits, pool)):  # type: ignore[misc]
                assert refused.hint
                assert "not finite" not in refused.message


@pytest.mark.parametrize("name", ["gemma3-composite", "gemma4", "opt", "recurrent_gemma"])
def test_a_run_left_to_the_machine_trains_and_evaluates(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models whose layers, shape or measurement are found elsewhere, or whose modules keep states."""
    monkeypatch.setenv("RLSD_HOME", str(tmp_path / "home"))
    given, _ = (COMMON | OTHERS)[name]
    folder = save(build(given), tmp_path / "model")
    auto = {"method": "opsd", "dtype": "auto", "rollout.dtype": "auto", "optim.tokens_per_microbatch": None}
    config = configured(folder, auto | {"optim.recompute": 1.0})
    with open_pool(config) as pool:
        metrics = train(config, load_splits(config), pool)
    assert metrics["sampler_mismatch_abs_mean"] < ROUNDING_GAP[torch.bfloat16]
    assert metrics["grad_norm"] > 0


# -- probes ------------------------------------------------------------------------------------------------------------


def small_weights(given: Toy) -> Any:
    """A model whose caps hide: scores and logits are tiny."""
    model = build(given)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(1e-2)
    return model


def test_soft_caps_are_seen_however_small_the_weights() -> None:
    full = {"layer_types": ["full_attention"] * 4, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    model = small_weights(toy("gemma2", **CAPPED | full))
    assert not head_is_plain(model, CPU)
    assert not can_pack(model, CPU)
    assert not is_exact(PrefixDecoder, model, 0)


def test_a_mask_that_the_model_makes_itself_is_seen_however_small_the_weights() -> None:
    """Doge adds a learned bias to its mask, which is constant until it is trained."""
    model = small_weights(toy("doge"))
    assert not can_pack(model, CPU)
    assert not is_exact(PrefixDecoder, model, 0)


def test_a_window_of_thousands_is_left_within_a_probe_and_is_itself_again_behind_it() -> None:
    model = build(toy("qwen3", use_sliding_window=True, sliding_window=4096, max_position_embeddings=8192, **LOCAL))
    given = Example([[5, 6, 7, 8, 9, 10]], [[11, 12, 13, 14]])
    with torch.no_grad():
        _, whole = padded_logits(model, given)
        with short_windows(model):
            _, short = padded_logits(model, given)
    assert torch.allclose(short[0, :WINDOW], whole[0, :WINDOW], atol=1e-4)
    assert (short[0, WINDOW + 1 :] - whole[0, WINDOW + 1 :]).abs().max() > 0.1
    assert model.config.sliding_window == 4096
    assert {layer.self_attn.sliding_window for layer in model.model.layers} == {4096}


def test_a_window_that_no_sequence_leaves_is_not_shortened() -> None:
    model = build(toy("mistral", sliding_window=4096))
    with short_windows(model):
        assert model.config.sliding_window == 4096


@pytest.mark.parametrize("kind", probes.DECODERS)
def test_a_decoder_that_mixes_rows_up_is_not_exact(kind: type[Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows that leave take the wrong ones with them."""
    model = build(toy("llama"))
    assert is_exact(kind, model, 0)
    dropped = kind.drop
    monkeypatch.setattr(kind, "drop", lambda self, moves: dropped(self, moves._replace(targets=[], sources=[])))
    assert not is_exact(kind, model, 0)


def test_a_slow_way_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    policy = policy_of(build(toy("rwkv")))
    TransformersSampler(policy, 4)
    assert capsys.readouterr().err.count("no cache of `rwkv` is exact") == 1
    TransformersSampler(policy, 4)
    assert capsys.readouterr().err == ""


def test_where_no_decoder_is_exact_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "DECODERS", (PrefixDecoder, WaveDecoder))
    with pytest.raises(RlsdError, match="`rwkv` cannot be sampled") as refused:
        choose_decoder(policy_of(build(toy("rwkv"))))
    assert (refused.value.exit_code, bool(refused.value.hint)) == (3, True)


@pytest.mark.parametrize(("broken", "words"), [("encoder", "looks at later tokens"), ("nan", "not finite")])
def test_a_model_that_is_not_a_causal_one_is_refused_when_it_is_loaded(broken: str, words: str, tmp_path: Path) -> None:
    model = build(toy("bert") if broken == "encoder" else toy("llama"))
    if broken == "nan":
        next(iter(model.parameters())).data[0, 0] = torch.nan
    save(model, tmp_path)
    with pytest.raises(RlsdError, match=words) as refused:
        load(tmp_path)
    assert (refused.value.exit_code, bool(refused.value.hint)) == (3, True)


def test_a_model_whose_rows_depend_on_what_is_beside_them_is_refused() -> None:
    with pytest.raises(RlsdError, match="others are behind or beside it"):
        check_rows_stand_alone(build(toy("bert")))
    check_rows_stand_alone(build(toy("llama")))


def test_a_refusal_is_a_sentence_and_a_hint_and_leaves_no_run(tmp_path: Path) -> None:
    folder = save(build(toy("bert")), tmp_path / "encoder")
    done = rlsd("train", "quickstart", f"model={folder}", "device=cpu", cwd=tmp_path)
    assert done.returncode == 3
    assert "looks at later tokens" in done.stderr
    assert "hint: " in done.stderr
    assert "fault of rlsd" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_type_that_a_model_does_not_run_in_is_not_sampled_in(capsys: pytest.CaptureFixture[str]) -> None:
    """XGLM's positions are float32, which its bfloat16 layers do not take."""
    names = {"d_model": 64, "ffn_dim": 96, "num_layers": 4, "attention_heads": 4}
    sampler = TransformersSampler(policy_of(build(Toy("xglm", BASE | names)), sampling_dtype="bfloat16"), 4)
    assert {parameter.dtype for parameter in sampler.model.parameters()} == {torch.float32}
    assert "`xglm` does not run with all weights in bfloat16" in capsys.readouterr().err
    other = TransformersSampler(policy_of(build(toy("llama")), sampling_dtype="bfloat16"), 4)
    assert {parameter.dtype for parameter in other.model.parameters()} == {torch.bfloat16}


def test_an_adapter_that_a_model_does_not_run_with_is_refused(tmp_path: Path) -> None:
    save(build(toy("phimoe", **EXPERTS)), tmp_path)
    with pytest.raises(RlsdError, match="cannot compute with an adapter of its modules router") as refused:
        load_trainable(configured(tmp_path, {"adapter.rank": 2, "adapter.targets": ["router"]}))
    assert refused.value.hint
    load_trainable(configured(tmp_path, {"adapter.rank": 2}))


# -- lengths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rope", "room"),
    [
        ({}, 512),
        ({"rope_parameters": LONGROPE}, 48),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}, 512),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, 2048),
        (
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "rope_theta": 1e4,
                    "factor": 4.0,
                    "original_max_position_embeddings": 64,
                }
            },
            512,
        ),
    ],
    ids=["plain", "longrope", "dynamic", "yarn", "yarn, raised"],
)
def test_the_room_of_a_model_is_as_long_as_its_rotary_factors_are_the_same(rope: dict[str, Any], room: int) -> None:
    assert context_length(build(toy("llama", **rope)).config) == room


def test_responses_that_would_change_rotary_factors_are_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    save(build(COMMON["phi3-longrope"][0]), tmp_path)
    with pytest.raises(RlsdError, match=r"`phi3` .* more than 48 tokens .* = 48 crosses") as refused:
        load_policy(configured(tmp_path, {"rollout.max_new_tokens": 48}))
    assert (refused.value.exit_code, bool(refused.value.hint)) == (3, True)


@pytest.mark.parametrize("packed", [True, False])
def test_longer_sequences_are_neither_scored_nor_sampled(packed: bool) -> None:
    policy = policy_of(build(COMMON["phi3-longrope"][0]), attention="packed" if packed else "padded")
    prompt = list(range(5, 35))
    fits, too_long = (policy.batch([prompt], [[7] * count]) for count in (18, 19))
    score_tokens(policy, fits, fits.mask, 1.0)
    with pytest.raises(RlsdError, match="a sequence of 49 tokens is longer than the 48"):
        score_tokens(policy, too_long, too_long.mask, 1.0)
    sampler = TransformersSampler(policy, 4)
    sampler.sample([prompt], ["a"], 1, Sampling(18), "seed")
    with pytest.raises(RlsdError, match="a sequence of 49 tokens is longer than the 48"):
        sampler.sample([prompt], ["a"], 1, Sampling(19), "seed")


# -- shapes and measurements -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "opt", "gemma3-composite", "bert-decoder", "llama4", "xlstm"])
def test_the_layers_of_a_decoder_are_found(name: str) -> None:
    """Also behind another module, beside those that see pictures, and with lists of experts inside."""
    model = build((COMMON | OTHERS)[name][0])
    layers = decoder_layers(model)
    assert len(layers) == 4
    assert (
        sum(parameter.numel() for parameter in layers.parameters())
        > 0.5 * sum(parameter.numel() for parameter in trunk_of(model).parameters() if parameter.ndim == 2)
        - 2 * model.get_input_embeddings().weight.numel()
    )


def test_a_measurement_is_assumed_and_not_remembered_where_measuring_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLSD_HOME", str(tmp_path))

    def failing(_: Policy) -> autotune.Measured:
        raise RuntimeError("shape '[4, 128, 2, 16]' is invalid")

    monkeypatch.setattr(autotune, "measure", failing)
    policy = policy_of(build(toy("llama")))
    assert autotune.remembered(policy) == autotune.ASSUMED["cpu"]
    assert "the speed of `llama` cannot be measured (RuntimeError: shape" in capsys.readouterr().err
    assert not (tmp_path / "measured.json").exists()


def test_states_that_a_pass_leaves_in_modules_do_not_keep_a_model_from_being_copied() -> None:
    model = build(OTHERS["recurrent_gemma"][0])
    model(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False).logits.sum().backward()
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(model)
    copied = copy_modules(model, {})
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), copied.parameters(), strict=True))
