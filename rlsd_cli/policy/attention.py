"""Attention over a packed sequence: many rows that share prompts, without padding and without computing a prompt twice.

Everything in a decoder but attention works token by token. So a batch is laid out as one sequence of distinct tokens
(see `batch.Packed`), and only here, between the projections, are its rows put together: each row takes its prompt's
and its own queries, keys and values, attends causally, and every token takes its output back from one row that holds
it. Gradients of a shared prompt add up over its rows.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "rlsd_packed"
NEUTRAL = frozenset(("cache_position", "dropout", "output_attentions", "position_ids", "use_cache"))
"""What models tell their attention function that changes nothing: nobody drops out in evaluation mode."""


@dataclass(frozen=True, eq=False)
class AttentionRows:
    """How the `L` tokens of a packed sequence form rows.

    It goes through compiled layers unread. As a tuple it would be taken apart there, and a graph compiled for each
    number of buckets.

    slots [M]: the token in each slot, bucket after bucket, row after row; a row is filled up on the right.
    buckets: rows and width of each bucket; rows of like length share one. home [L]: a slot that holds each token.
    """

    slots: Tensor
    buckets: tuple[tuple[int, int], ...]
    home: Tensor


class OwnAttentionError(Exception):
    """A layer attends by more than a causal softmax of scaled scores."""


def check_is_plain(attention_mask: Tensor | None, options: Mapping[str, Any]) -> None:
    """Raise OwnAttentionError where a layer asks for more: a window, a soft cap, sinks, a mask of its own.

    A function of ours gets no mask from `transformers`, so one that is there was made by the model.
    """
    asked = [name for name, value in options.items() if value is not None and name not in NEUTRAL]
    if asked or attention_mask is not None:
        raise OwnAttentionError(", ".join(asked) or "attention_mask")


def attention_rows(rows: Sequence[Sequence[int]], num_tokens: int, device: torch.device) -> AttentionRows:
    """Rows of tokens (places in the packed sequence, none empty) in buckets that waste little on padding."""
    slots: list[int] = []
    buckets: list[tuple[int, int]] = []
    home = [0] * num_tokens
    for row in sorted(rows, key=len, reverse=True):
        if not buckets or len(row) < 0.9 * buckets[-1][1] - 8:
            buckets.append((0, len(row)))
        count, width = buckets[-1]
        buckets[-1] = (count + 1, width)
        for slot, token in enumerate(row, start=len(slots)):
            home[token] = slot
        slots += [*row, *[row[-1]] * (width - len(row))]
    return AttentionRows(torch.tensor(slots, device=device), tuple(buckets), torch.tensor(home, device=device))


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: AttentionRows | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of packed queries [1, heads, L, D] to packed keys and values, as [1, L, heads, D].

    Raises:
        OwnAttentionError: the layer asks for more than that, or the model does not pass `rows` on to it.
    """
    del module
    check_is_plain(attention_mask, options)
    if rows is None:
        raise OwnAttentionError("the model passes no options on")
    sizes = [count * width for count, width in rows.buckets]
    parts = [torch.split(_take(tensor[0].transpose(0, 1), rows.slots), sizes) for tensor in (query, key, value)]
    outputs = []
    for (count, width), *states in zip(rows.buckets, *parts, strict=True):
        q, k, v = (state.view(count, width, *state.shape[1:]).transpose(1, 2) for state in states)
        out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=len(k[0]) < len(q[0]))
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    return _take(torch.cat(outputs), rows.home)[None], None


def _take(states: Tensor, index: Tensor) -> Tensor:
    """`states[index]` along the first axis; the gradient of an embedding sums repeated rows faster than indexing's."""
    taken: Tensor = embedding(index, states.flatten(1))
    return taken.view(-1, *states.shape[1:])


@contextlib.contextmanager
def packing(model: Any) -> Iterator[None]:
    """Within it the model attends by `packed_attention`, and its forward pass takes `rows`."""
    config = model.config.get_text_config()
    usual = config._attn_implementation
    config._attn_implementation = PACKED
    try:
        yield
    finally:
        config._attn_implementation = usual


AttentionInterface.register(PACKED, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
