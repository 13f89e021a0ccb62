"""Which decoder is exact for a model, tried against its own forward pass."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.model import Policy, copy_modules
from rlsd_cli.policy.probes import agrees, example, padded_logits, probe, short_windows
from rlsd_cli.rollout.decoders import Decoder, PrefixDecoder, UncachedDecoder, WaveDecoder, closing_ranks

DECODERS: tuple[type[Decoder], ...] = (PrefixDecoder, WaveDecoder, UncachedDecoder)
"""The fastest first."""
NUM_STEPS = 3
"""Tokens that a decoder is tried on."""
_CHOSEN: WeakKeyDictionary[Any, type[Decoder]] = WeakKeyDictionary()


def choose_decoder(policy: Policy) -> type[Decoder]:
    """The fastest decoder that is exact for the policy's model; tried once a model.

    Raises:
        RlsdError: (exit 3) none is.
    """
    model = policy.model
    if model not in _CHOSEN:
        kind = f"`{model.config.model_type}`"
        found = next((each for each in DECODERS if is_exact(each, model, policy.pad_id)), None)
        if found is None:
            raise RlsdError(
                f"{kind} cannot be sampled: read token by token it computes something else than from a whole sequence",
                hint="take another `model`, or sample with `rollout.engine=vllm`",
                exit_code=EXIT_MACHINE,
            )
        if found is WaveDecoder:
            console.talk(
                f"{kind} samples with its own cache: rows begin together, and the next ones when all have ended"
            )
        if found is UncachedDecoder:
            console.warning(
                f"no cache of {kind} is exact: sampling reads every sequence again for each token, which is slow"
            )
        _CHOSEN[model] = found
    return _CHOSEN[model]


@probe
def is_exact(kind: type[Decoder], model: Any, pad_id: int) -> bool:
    """Whether a decoder finds the logits that a float32 model finds on whole sequences, also after a row has left.

    `PrefixDecoder` does not where a layer keeps something else than all keys and values (a window, a recurrent state),
    where its attention is more than a masked softmax, or where it calls no attention function.
    """
    if kind is PrefixDecoder and not _keeps_keys_and_values(model):
        return False
    rows, device = example(model), model.device
    starts = torch.tensor([len(prompt) - 1 for prompt in rows.prompts], device=device)
    live = torch.arange(len(starts), device=device)
    with short_windows(model):
        tried = twin(model, torch.float32)
        if kind.attention:
            tried.set_attn_implementation(kind.attention)
        ids, logits = padded_logits(model, rows)
        decoder = kind(tried, [rows.prompts[0], rows.prompts[2]], pad_id, device)
        decoder.add([0, 0, 1])
        for age in range(NUM_STEPS):
            if age == 2:
                decoder.drop(closing_ranks(3, [0]))
                live = live[[2, 1]]
            at = starts[live] + age
            if not agrees(decoder.step(ids[live, at], torch.full_like(at, age)), logits[live, at]):
                return False
    return True


def _keeps_keys_and_values(model: Any) -> bool:
    layers = DynamicCache(config=model.config).layers
    return model._supports_attention_backend and all(type(layer) is DynamicLayer for layer in layers)


def twin(model: Any, dtype: torch.dtype, *, apart: bool = False) -> Any:
    """A copy of a model's modules around its parameters, or around a copy of them, in another type or `apart`.

    Buffers stay as they are: those of rotary embeddings need float32.
    """
    memo = {
        id(parameter): parameter
        if parameter.dtype == dtype and not apart
        else nn.Parameter(parameter.detach().to(dtype, copy=True), requires_grad=False)
        for parameter in model.parameters()
    }
    return copy_modules(model, memo).eval()
