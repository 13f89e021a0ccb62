"""The sampler against models' own forward passes, `generate` and the scorer."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from transformers import AutoConfig, AutoModelForCausalLM

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.rollout import attention
from rlsd_cli.rollout.decoders import Decoder, PrefixDecoder, UncachedDecoder, WaveDecoder
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.probes import is_exact
from rlsd_cli.rollout.sampler import Completion, Sampling

PROMPTS = [[18, 5, 3, 12, 7, 14, 17], [18, 4, 12, 9, 9, 14, 17], [18, 2, 2, 12, 3, 13, 4, 4, 14, 17] * 3, [17]]
KEYS = ["a", "b", "c", "d"]

SMALL = {
    "vocab_size": 20,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
GROUPED = {"num_key_value_heads": 2}
SHARED = {
    "llama": GROUPED,
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2},
    "granite": GROUPED | {"logits_scaling": 2.0},
}
"""Models whose prefixes can be shared: grouped heads, a head for each query and learned positions, scaled logits."""
UNSHARED = {
    "mistral": GROUPED | {"sliding_window": 16},
    "gemma2": GROUPED | {"layer_types": ["full_attention"] * 2, "attn_logit_softcapping": 1e4},
    "gpt_oss": GROUPED | {"layer_types": ["full_attention"] * 2, "num_local_experts": 2, "num_experts_per_tok": 1},
    "llama4_text": GROUPED | {"attention_chunk_size": 16, "num_local_experts": 2, "intermediate_size_mlp": 48},
    "stablelm": GROUPED,
}
"""A window, a soft cap and chunks that a short sequence does not show; sinks; attention that takes no options."""


@pytest.fixture(scope="module")
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure({"model": "quickstart-untrained"}))


@pytest.fixture(scope="module")
def with_model(policy: Policy) -> Callable[[str], Policy]:
    """The policy with a small model of a kind, whose weights are large enough for attention to matter."""

    def make(kind: str) -> Policy:
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SMALL | (SHARED | UNSHARED)[kind])
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        return replace(policy, model=model)

    return make


def sampled(policy: Policy, sampling: Sampling, *, samples: int = 4, batch_size: int = 64) -> list[Completion]:
    return TransformersSampler(policy, batch_size).sample(PROMPTS, KEYS, samples, sampling, "seed")


def tokens(rollouts: list[Completion]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]


@torch.no_grad()
def assert_logps_are_the_models(
    policy: Policy, rollouts: list[Completion], temperature: float = 1.0, atol: float = 3e-5
) -> None:
    """Each row alone, its whole sequence at once, through the model's own attention."""
    samples = len(rollouts) // len(PROMPTS)
    for number, rollout in enumerate(rollouts):
        prompt, drawn = PROMPTS[number // samples], torch.tensor(rollout.token_ids)
        logits = policy.model(torch.tensor([[*prompt, *rollout.token_ids]])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / temperature, -1).gather(-1, drawn[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(rollout.sampled_logp), expected, atol=atol, rtol=0)


# -- the same as a model's own forward pass ----------------------------------------------------------------------------


def test_greedy_equals_generate_on_each_prompt_alone(policy: Policy) -> None:
    rollouts = sampled(policy, Sampling(20, temperature=0.0), samples=1)
    for prompt, rollout in zip(PROMPTS, rollouts, strict=True):
        expected = policy.model.generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=policy.pad_id
        )[0, len(prompt) :].tolist()
        assert rollout.token_ids == expected


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_log_probabilities_are_the_models(policy: Policy, temperature: float) -> None:
    assert_logps_are_the_models(policy, sampled(policy, Sampling(60, temperature)), temperature)


@pytest.mark.parametrize("kind", SHARED)
def test_rows_that_share_a_prefix_attend_to_their_whole_sequence(
    kind: str, with_model: Callable[[str], Policy]
) -> None:
    """Rows of four prompts, that end and join at different times."""
    policy = with_model(kind)
    assert TransformersSampler(policy, 5).shares_prefixes
    rollouts = sampled(policy, Sampling(40), batch_size=5)
    assert len({len(rollout.token_ids) for rollout in rollouts}) > 5
    assert_logps_are_the_models(policy, rollouts)


@pytest.mark.parametrize("kind", UNSHARED)
def test_models_whose_attention_is_another_decode_with_their_own(
    kind: str, with_model: Callable[[str], Policy]
) -> None:
    policy = with_model(kind)
    assert not TransformersSampler(policy, 5).shares_prefixes
    assert_logps_are_the_models(policy, sampled(policy, Sampling(20), batch_size=5))


def test_prefixes_are_not_shared_where_logits_come_out_different(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_exact(PrefixDecoder, policy.model, policy.pad_id)
    monkeypatch.setattr(attention, "_decode", lambda _, __, query, *___: query.new_zeros(query.shape))
    assert not is_exact(PrefixDecoder, policy.model, policy.pad_id)


def decoding_with(policy: Policy, kind: type[Decoder], batch_size: int) -> TransformersSampler:
    """A sampler that is given another decoder than its own choice."""
    sampler = TransformersSampler(policy, batch_size)
    sampler.decoder = kind
    sampler.model.set_attn_implementation(kind.attention or "sdpa")
    return sampler


@pytest.mark.parametrize("kind", [WaveDecoder, UncachedDecoder])
@pytest.mark.parametrize("batch_size", [5, 64])
def test_all_ways_of_decoding_draw_the_same(policy: Policy, batch_size: int, kind: type[Decoder]) -> None:
    draws = [
        tokens(decoding_with(policy, each, batch_size).sample(PROMPTS, KEYS, 4, Sampling(40), "seed"))
        for each in (PrefixDecoder, kind)
    ]
    assert draws[0] == draws[1]


def test_a_response_may_fill_the_context(policy: Policy) -> None:
    prompt, room = [18, 5] * 100, policy.context_length - 200
    (rollout,) = TransformersSampler(replace(policy, eos_ids=frozenset((-1,))), 64).sample(
        [prompt], ["a"], 1, Sampling(room), "seed"
    )
    assert len(rollout.token_ids) == room
    with torch.no_grad():
        logp = torch.log_softmax(policy.model(torch.tensor([prompt + rollout.token_ids])).logits[0, 199:-1], -1)
    expected = logp.gather(-1, torch.tensor(rollout.token_ids)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(rollout.sampled_logp), expected, atol=3e-5, rtol=0)


# -- what ends a response ----------------------------------------------------------------------------------------------


def test_a_response_ends_with_its_first_end_token_and_keeps_it(policy: Policy) -> None:
    (eos,) = policy.eos_ids
    rollouts = sampled(policy, Sampling(60), samples=16)
    ended = [rollout for rollout in rollouts if not rollout.truncated]
    cut = [rollout for rollout in rollouts if rollout.truncated]
    assert ended
    assert cut
    assert all(r.token_ids[-1] == eos and eos not in r.token_ids[:-1] for r in ended)
    assert all(len(r.token_ids) == 60 and eos not in r.token_ids for r in cut)


def test_padding_with_the_end_token_changes_nothing(policy: Policy) -> None:
    """Models such as SmolLM2 pad with their end token; only sampled end tokens may end a response."""
    (eos,) = policy.eos_ids
    assert sampled(replace(policy, pad_id=eos), Sampling(40)) == sampled(policy, Sampling(40))


def test_a_response_that_ends_at_the_limit_is_not_truncated(policy: Policy) -> None:
    first = sampled(policy, Sampling(60), samples=16)
    limit = min(len(rollout.token_ids) for rollout in first if not rollout.truncated)
    again = sampled(policy, Sampling(limit), samples=16)
    assert any(not rollout.truncated and len(rollout.token_ids) == limit for rollout in again)


# -- what draws depend on ----------------------------------------------------------------------------------------------


def test_a_prompt_with_a_limit_of_its_own_draws_the_beginning_of_what_it_would(policy: Policy) -> None:
    sampler, sampling = TransformersSampler(policy, 3), Sampling(20)
    whole = sampler.sample(PROMPTS, KEYS, 2, sampling, "s")
    limits = [5, 20, 1, 9]
    cut = sampler.sample(PROMPTS, KEYS, 2, sampling, "s", limits=limits)
    for place, (long, short) in enumerate(zip(whole, cut, strict=True)):
        limit = limits[place // 2]
        assert short.token_ids == long.token_ids[:limit]
        assert short.sampled_logp == pytest.approx(long.sampled_logp[:limit], abs=1e-5)
        assert short.truncated == (long.truncated or len(long.token_ids) > limit)


def test_draws_depend_on_seed_and_key(policy: Policy) -> None:
    sampler = TransformersSampler(policy, 64)
    first = sampler.sample(PROMPTS, KEYS, 3, Sampling(20), "a")
    assert sampler.sample(PROMPTS, KEYS, 3, Sampling(20), "a") == first
    assert sampler.sample(PROMPTS, KEYS, 3, Sampling(20), "b") != first
    assert sampler.sample(PROMPTS, [*KEYS[:3], "e"], 3, Sampling(20), "a")[-3:] != first[-3:]


@pytest.mark.parametrize("kind", [PrefixDecoder, WaveDecoder, UncachedDecoder])
@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_draws_do_not_depend_on_the_batch(policy: Policy, batch_size: int, kind: type[Decoder]) -> None:
    """Neither on its size, nor on the order of prompts, nor on which others are there, nor on how many samples."""
    whole = tokens(sampled(policy, Sampling(40)))
    sampler = decoding_with(policy, kind, batch_size)
    assert tokens(sampler.sample(PROMPTS, KEYS, 4, Sampling(40), "seed")) == whole
    some = tokens(sampler.sample([PROMPTS[3], PROMPTS[1]], ["d", "b"], 2, Sampling(40), "seed"))
    assert some == [*whole[12:14], *whole[4:6]]


# -- the batch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [2, 8, 64])
def test_every_rollout_is_told_of_once_when_it_ends_and_is_the_one_returned(policy: Policy, batch_size: int) -> None:
    """Streaming changes neither what is drawn nor its place."""
    sampler, sampling = TransformersSampler(policy, batch_size), Sampling(30)
    told: list[tuple[int, Completion]] = []
    rollouts = sampler.sample(PROMPTS, KEYS, 4, sampling, "seed", finished=lambda *what: told.append(what))
    assert rollouts == sampler.sample(PROMPTS, KEYS, 4, sampling, "seed")
    assert len(told) == len(rollouts) == 16
    assert dict(told) == dict(enumerate(rollouts))
    assert {rollout.truncated for rollout in rollouts} == {True, False}


def test_rollouts_are_told_of_in_the_order_they_end_while_others_go_on(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = TransformersSampler(policy, 64)
    shapes = watched(sampler, monkeypatch)
    when: list[tuple[int, int]] = []
    sampler.sample(
        PROMPTS, KEYS, 4, Sampling(30), "seed", lambda _, rollout: when.append((len(shapes), len(rollout.token_ids)))
    )
    assert len({length for _, length in when}) > 3
    assert all(length == passes for passes, length in when)


def watched(sampler: TransformersSampler, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The shapes [rows, tokens] of what goes through the whole model, as it goes."""
    forward, shapes = sampler.model.forward, []

    def watching(**options: Any) -> Any:
        shapes.append(tuple(options["input_ids"].shape))
        return forward(**options)

    monkeypatch.setattr(sampler.model, "forward", watching)
    return shapes


@pytest.mark.parametrize(("samples", "batch_size"), [(4, 6), (5, 2), (1, 3)])
def test_the_batch_is_as_full_as_it_may_be(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, samples: int, batch_size: int
) -> None:
    """Also where a prompt has more samples than there is room for."""
    sampler = TransformersSampler(policy, batch_size)
    shapes = watched(sampler, monkeypatch)
    ends: list[int] = []
    sampler.sample(PROMPTS, KEYS, samples, Sampling(30), "seed", lambda *_: ends.append(len(shapes)))
    for number, (rows, _) in enumerate(shapes):
        left = samples * len(PROMPTS) - sum(end <= number for end in ends)
        assert rows == min(batch_size, left)


def test_a_prompt_is_read_once_for_all_its_rows(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = TransformersSampler(policy, 3)
    trunk, read = sampler.model.base_model.forward, Counter[int]()

    def watching(**options: Any) -> Any:
        if isinstance(options["shared"], attention.Prefill):
            read.update(len(prefix) for prefix in ids_without_padding(options["input_ids"], policy.pad_id))
        return trunk(**options)

    monkeypatch.setattr(sampler.model.base_model, "forward", watching)
    sampler.sample(PROMPTS, KEYS, 5, Sampling(30), "seed")
    assert read == Counter(len(prompt) - 1 for prompt in PROMPTS)


def ids_without_padding(ids: torch.Tensor, pad_id: int) -> list[list[int]]:
    return [[token for token in row if token != pad_id] for row in ids.tolist()]


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: values, and sizes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.name()
        masked = name in ("aten::index.Tensor", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masked or name in ("aten::nonzero", "aten::_local_scalar_dense"):
            self.count[name] += 1
        return function(*args, **(kwargs or {}))


def test_tokens_are_read_from_the_device_only_where_a_row_ends(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rows that go on is all a token waits for."""
    sampler = TransformersSampler(replace(policy, eos_ids=frozenset([10**6])), 64)
    forward, tolist = sampler.model.forward, torch.Tensor.tolist

    def uncounted(*arguments: object, **options: object) -> object:
        with _disable_current_modes():
            return forward(*arguments, **options)

    monkeypatch.setattr(sampler.model, "forward", uncounted)
    found = []
    for num_tokens in (8, 16):
        with Waits() as waits, monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "tolist", lambda self: waits.count.update(["tolist"]) or tolist(self))
            sampler.sample(PROMPTS, KEYS, 2, Sampling(num_tokens), "seed", finished=lambda *_: None)
        found.append(waits.count)
    assert found[1] - found[0] == {"aten::nonzero": 8}


# -- weights -----------------------------------------------------------------------------------------------------------


def test_the_policys_own_weights_are_sampled_from_without_touching_the_policy(configure: Callable[..., Config]) -> None:
    policy = load_policy(configure({"model": "quickstart-untrained"}))
    own = policy.model.config._attn_implementation
    sampler = TransformersSampler(policy, 64)
    ours, theirs = list(sampler.model.parameters()), list(policy.model.parameters())
    assert all(one is other for one, other in zip(ours, theirs, strict=True))
    assert policy.model.config._attn_implementation == own


def test_a_copy_in_another_type_follows_the_policy(configure: Callable[..., Config]) -> None:
    policy = load_policy(configure({"model": "quickstart-untrained"}))
    sampler = TransformersSampler(policy.run_as(sampling_dtype="bfloat16"), 64)
    assert sampler.model.dtype == torch.bfloat16
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(2.0)
    sampler.update_weights()
    for ours, theirs in zip(sampler.model.parameters(), policy.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.bfloat16())


def test_a_copy_in_another_type_keeps_its_positions_in_float32(configure: Callable[..., Config]) -> None:
    policy = load_policy(configure({"model": "quickstart-untrained", "rollout.dtype": "bfloat16"}))
    sampler = TransformersSampler(policy, 64)
    assert {buffer.dtype for buffer in sampler.model.buffers() if buffer.is_floating_point()} == {torch.float32}


def test_a_copy_in_another_type_is_what_is_sampled_from(policy: Policy) -> None:
    sampler = TransformersSampler(policy.run_as(sampling_dtype="bfloat16"), 5)
    rollouts = sampler.sample(PROMPTS, KEYS, 4, Sampling(40), "seed")
    assert rollouts != sampled(policy, Sampling(40), batch_size=5)
    assert_logps_are_the_models(policy, rollouts, atol=0.05)
