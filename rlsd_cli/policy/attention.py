"""Attention over a packed sequence: many rows that share prompts, without padding and without computing a prompt twice.

Everything in a decoder but attention works token by token. So a batch is laid out as one sequence of distinct tokens
(see `batch.make_batch`), and only here, between the projections, are its rows put together: each row takes its prompt's
and its own queries, keys and values, attends causally, and every token takes its output back from one row that holds
it. Gradients of a shared prompt add up over its rows.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface

from rlsd_cli.policy.ragged import offsets

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


class Parts(NamedTuple):
    """The parts of a packed sequence of `L` tokens: the prompts, and what each of `B` rows has after its prompt.

    starts, lengths [prompts + B]: where each part lies, prompts first. of_token [L]: the part of each token.
    shared [B]: the prompt of each row. None is empty but those of rows that are a prompt alone.
    """

    starts: Tensor
    lengths: Tensor
    of_token: Tensor
    shared: Tensor

    def count_from(self, first: Tensor) -> Tensor:
        """Numbers [L] that count up within each part, from its `first` [prompts + B]."""
        return (first - self.starts).index_select(0, self.of_token).add_(torch.arange(len(self.of_token)))


def attention_rows(parts: Parts, device: torch.device) -> AttentionRows:
    """The rows of a packed sequence in buckets that waste little on padding."""
    own = slice(-len(parts.shared), None)
    before = parts.lengths[parts.shared]
    rows = torch.stack([before + parts.lengths[own], before, parts.starts[parts.shared], parts.starts[own] - before])
    order = rows[0].argsort(descending=True, stable=True)
    buckets = _buckets(rows[0, order].tolist())
    members = torch.split(rows[:, order, None], [count for count, _ in buckets], dim=1)
    slots = [_slots(width, *columns) for (_, width), columns in zip(buckets, members, strict=True)]
    widths = torch.tensor([width for count, width in buckets for _ in range(count)])
    first = torch.empty_like(order).index_copy_(0, order, offsets(widths))
    home = torch.zeros_like(parts.starts).scatter_reduce_(0, parts.shared, first, "amax")
    home[own] = first + before
    return AttentionRows(torch.cat(slots).to(device), buckets, parts.count_from(home).to(device))


def _slots(width: int, sizes: Tensor, before: Tensor, prompts: Tensor, bodies: Tensor) -> Tensor:
    """The tokens in the slots of one bucket; the other arguments are [rows, 1].

    `before` of a row's `sizes` tokens lie from `prompts` on, the others from `bodies + before` on; the last fills up.
    """
    column = torch.minimum(torch.arange(width), sizes - 1)
    return torch.where(column < before, prompts, bodies).add_(column).flatten()


def _buckets(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Number and width of rows that share a bucket, of sizes that fall."""
    buckets: list[tuple[int, int]] = []
    for size in sizes:
        if not buckets or size < 0.9 * buckets[-1][1] - 8:
            buckets.append((0, size))
        count, width = buckets[-1]
        buckets[-1] = (count + 1, width)
    return tuple(buckets)


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
