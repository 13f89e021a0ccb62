"""Activations that are computed again in the backward pass instead of being kept: time for memory."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from rlsd_cli.policy.batch import decoder_layers


@contextlib.contextmanager
def recomputed_layers(model: Any, share: float) -> Iterator[None]:
    """Within it a share of the layers, evenly spread, keeps nothing but its input where gradients are recorded.

    Layers stay in evaluation mode. transformers' own switch works in training mode only, where some layers drop out.
    """
    before = []
    if share and torch.is_grad_enabled():
        layers = decoder_layers(model)
        before = [(layers[index], layers[index].__dict__.get("forward")) for index in chosen(len(layers), share)]
    for layer, _ in before:
        layer.forward = partial(_recomputed, model.config.get_text_config(), layer.forward)
    try:
        yield
    finally:
        for layer, forward in before:
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


def chosen(num_layers: int, share: float) -> list[int]:
    """Which layers are computed again: `share` of them, evenly spread."""
    count = round(share * num_layers)
    return [index for index in range(num_layers) if (index + 1) * count // num_layers > index * count // num_layers]


def _recomputed(config: Any, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    attention = config._attn_implementation
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (contextlib.nullcontext(), _attending(config, attention)),
        **options,
    )


@contextlib.contextmanager
def _attending(config: Any, attention: str) -> Iterator[None]:
    """Within it a model attends as it did in its forward pass: by the time of its backward pass, packing is over."""
    usual = config._attn_implementation
    config._attn_implementation = attention
    try:
        yield
    finally:
        config._attn_implementation = usual
