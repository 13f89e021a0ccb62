"""Attention in which all rows of a prompt read one copy of its keys and values.

A row attends to two parts: the prefix, which is the prompt without its last token and is computed once, and its own
tokens, of which the prompt's last is the first. With the queries of a prompt's rows side by side:

    scores  = [queries · prefix keys, query · own keys]
    weights = softmax over both parts at once
    output  = prefix weights · prefix values + own weights · own values

which is attention to a row's whole sequence. Rows of different prompts and ages go through a model in one batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rlsd_cli.policy.attention import check_is_plain

NAME = "rlsd_shared_prefix"
"""What the attention function is called in a model's config."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each [rows, heads, tokens, size]."""


class LayerCache:
    """What one layer has computed: prefixes, and the own tokens of rows; None until the first are there.

    The buffers may have more rows and tokens than are in use; what is in these is finite.
    """

    def __init__(self) -> None:
        self.prefixes: KeysValues | None = None
        self.own: KeysValues | None = None


class Groups:
    """Which of n rows reads which of N prefixes. At most g rows read the same one.

    num_tokens: P, no fewer than any prefix has. lengths: int64 [n], tokens of the row's prefix.
    bias: float32 [n, P], -inf behind them.
    """

    def __init__(self, prefix: Sequence[int], lengths: Sequence[int], num_tokens: int, device: torch.device) -> None:
        """`prefix` of every row, of which each is read; `lengths` of every prefix."""
        readers: list[list[int]] = [[] for _ in lengths]
        place = []
        for row, number in enumerate(prefix):
            place.append(len(readers[number]))
            readers[number].append(row)
        self.num_prefixes = len(lengths)
        self.num_tokens = num_tokens
        self.rows_per_prefix = max(map(len, readers))
        self.lengths = torch.tensor([lengths[number] for number in prefix], device=device)
        self.bias = bias_behind(self.lengths, num_tokens)
        rows = [each + each[:1] * (self.rows_per_prefix - len(each)) for each in readers]
        self._readers = torch.tensor(rows, device=device)[:, None]
        self._prefix = torch.tensor(prefix, device=device)[:, None]
        self._place = torch.tensor(place, device=device)[:, None]
        self._by_heads: dict[int, tuple[Tensor, Tensor]] = {}

    def indices(self, num_heads: int) -> tuple[Tensor, Tensor]:
        """Flat indices from [N, H, g] into [n, H], and back; places of a prefix without a row repeat its first."""
        if num_heads not in self._by_heads:
            heads = torch.arange(num_heads, device=self.lengths.device)
            to_prefixes = self._readers * num_heads + heads[:, None]
            to_rows = (self._prefix * num_heads + heads) * self.rows_per_prefix + self._place
            self._by_heads[num_heads] = to_prefixes.flatten(), to_rows.flatten()
        return self._by_heads[num_heads]

    def to_prefixes(self, rows: Tensor, num_heads: int) -> Tensor:
        """[n * H, r, X] as [N * H, g * r, X]."""
        index, _ = self.indices(num_heads)
        size = rows.shape[2]
        return rows.reshape(len(rows), -1).index_select(0, index).view(self.num_prefixes * num_heads, -1, size)

    def to_rows(self, grouped: Tensor, num_heads: int) -> Tensor:
        """[N * H, g * r, X] as [n * H, r, X]."""
        _, index = self.indices(num_heads)
        size = grouped.shape[2]
        places = grouped.view(len(grouped) * self.rows_per_prefix, -1)
        return places.index_select(0, index).view(len(index), -1, size)


def bias_behind(lengths: Tensor, num_tokens: int) -> Tensor:
    """Float32 [n, num_tokens]: 0 for the first `lengths` [n], -inf behind them."""
    behind = torch.arange(num_tokens, device=lengths.device) >= lengths[:, None]
    return torch.zeros(behind.shape, device=lengths.device).masked_fill_(behind, -torch.inf)


class Prefill(NamedTuple):
    """A forward pass over prefixes, padded on the right, which are kept from place `first` on.

    num_prefixes, num_tokens: what there must be room for.
    """

    layers: Sequence[LayerCache]
    first: int
    num_prefixes: int
    num_tokens: int


class Decode:
    """A forward pass over one token a row, which is its `ages`-th own one (from 0, int64 [n]) of at most `num_tokens`.

    bias: float32 [n, 1, 1, P + num_tokens], -inf where a row has no token.
    """

    def __init__(self, layers: Sequence[LayerCache], groups: Groups, ages: Tensor, num_tokens: int) -> None:
        self.layers = layers
        self.groups = groups
        self.num_tokens = num_tokens
        self.bias = torch.cat([groups.bias, bias_behind(ages + 1, num_tokens)], -1)[:, None, None]
        self._ages = ages[:, None]
        self._by_heads: dict[int, Tensor] = {}

    def index(self, num_heads: int) -> Tensor:
        """Where the token lies in buffers [rows, H, num_tokens]: flat, [n * H]."""
        if num_heads not in self._by_heads:
            rows = torch.arange(len(self._ages) * num_heads, device=self._ages.device).view(-1, num_heads)
            self._by_heads[num_heads] = (rows * self.num_tokens + self._ages).flatten()
        return self._by_heads[num_heads]


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    shared: Prefill | Decode,
    **options: Any,
) -> tuple[Tensor, None]:
    """What a model calls with query [B, Hq, S, D] and key, value [B, H, S, D]; gives [B, S, Hq, D].

    What is causal and what is padding follows from `shared`.

    Raises:
        OwnAttentionError: the layer asks for more than that.
    """
    layer = shared.layers[module.layer_idx]
    if isinstance(shared, Prefill):
        check_is_plain(attention_mask, options)
        layer.prefixes = _fitted(layer.prefixes, key, value, shared.num_prefixes, shared.num_tokens)
        for part, new in zip(layer.prefixes, (key, value), strict=True):
            part[shared.first : shared.first + new.shape[0], :, : new.shape[2]] = new
        grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
        return out.transpose(1, 2), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _decode(layer, shared, query[:, :, 0], key, value, scale)[:, None], None


AttentionInterface.register(NAME, attention)


def _decode(layer: LayerCache, step: Decode, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Keep one key and value [n, H, 1, D] a row, and attend with its query [n, Hq, D]; gives [n, Hq, D]."""
    groups, (num_rows, num_heads) = step.groups, key.shape[:2]
    layer.own = _fitted(layer.own, key, value, num_rows, step.num_tokens)
    for part, new in zip(layer.own, (key, value), strict=True):
        part.view(-1, part.shape[-1]).index_copy_(0, step.index(num_heads), new.reshape(-1, new.shape[-1]))
    layer.prefixes = _fitted(layer.prefixes, key, value, groups.num_prefixes, groups.num_tokens)
    own_keys, own_values = (part[:num_rows].flatten(0, 1) for part in layer.own)
    prefix_keys, prefix_values = (part[: groups.num_prefixes].flatten(0, 1) for part in layer.prefixes)

    by_head = query.reshape(num_rows * num_heads, -1, query.shape[-1])
    prefix_scores = groups.to_rows(groups.to_prefixes(by_head, num_heads).bmm(prefix_keys.mT), num_heads)
    scores = torch.cat([prefix_scores, by_head.bmm(own_keys.mT)], -1).view(num_rows, num_heads, -1, step.bias.shape[-1])
    weights = torch.add(step.bias, scores, alpha=scale).softmax(-1).to(value.dtype).flatten(0, 1)
    prefix_weights, own_weights = torch.split(weights, [groups.num_tokens, step.num_tokens], -1)
    out = groups.to_rows(groups.to_prefixes(prefix_weights, num_heads).bmm(prefix_values), num_heads)
    return out.baddbmm_(own_weights.contiguous(), own_values).view(num_rows, query.shape[1], -1)


# -- buffers -----------------------------------------------------------------------------------------------------------


def move(held: KeysValues | None, targets: Tensor, sources: Tensor) -> None:
    """Put the rows at `sources` in the places of those at `targets`."""
    for part in held or ():
        part.index_copy_(0, targets, part.index_select(0, sources))


def _fitted(held: KeysValues | None, key: Tensor, value: Tensor, num_rows: int, num_tokens: int) -> KeysValues:
    """What is held, in buffers for at least so many rows and exactly so many tokens of keys and values like these.

    Exactly, because kernels are faster on a whole buffer than on a part of each row.
    """
    keys, values = held or (key[:0], value[:0])
    if keys.shape[0] >= num_rows and keys.shape[2] == num_tokens:
        return keys, values
    return _moved(keys, num_rows, num_tokens), _moved(values, num_rows, num_tokens)


def _moved(held: Tensor, num_rows: int, num_tokens: int) -> Tensor:
    """What is held in a new buffer, with zeros behind it: what is masked must be finite."""
    buffer = held.new_empty(num_rows, held.shape[1], num_tokens, held.shape[3])
    num_rows, num_tokens = min(num_rows, held.shape[0]), min(num_tokens, held.shape[2])
    buffer[:num_rows, :, :num_tokens] = held[:num_rows, :, :num_tokens]
    buffer[:num_rows, :, num_tokens:] = 0.0
    buffer[num_rows:] = 0.0
    return buffer
