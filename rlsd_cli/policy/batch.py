"""Prompts and responses as one batch, and batches under a token budget.

A batch is packed where the model allows it: a prompt that several responses answer is there once, nothing is padded,
and the last token of a response, which predicts nothing, is left out. G responses of R tokens to a prompt of P are
P + G (R - 1) tokens instead of G (P + R).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.policy.attention import AttentionRows, attention_rows, packing

TokenIds = Sequence[int]
TRUNK = "gathered_trunk"
"""Name of a sharded model's method that computes what its layers do, see `policy.sharding`."""


class TokenBatch(NamedTuple):
    """`B` responses of at most `T` tokens, and what the model has to read to predict them.

    input_ids [1, L] where packed, with position_ids [1, L] and `rows`; else [B, S], padded on the right, where a causal
    model cannot see it, and the other two None. predictors [B, T]: the place in the flattened input whose output
    predicts each token. response_ids [B, T]; mask [B, T]: True at the tokens of a response.
    """

    input_ids: Tensor
    position_ids: Tensor | None
    rows: AttentionRows | None
    predictors: Tensor
    response_ids: Tensor
    mask: Tensor

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt and response; packed rows leave out the last one."""
        return self.input_ids.shape[1] if self.rows is None else 1 + max(width for _, width in self.rows.buckets)


def make_batch(
    prompts: Sequence[TokenIds],
    responses: Sequence[TokenIds],
    pad_id: int,
    device: torch.device,
    *,
    packed: bool = False,
) -> TokenBatch:
    """One batch of responses, none empty, and the prompts they answer."""
    lay_out = _packed if packed else _padded
    input_ids, position_ids, rows, predictors = lay_out(prompts, responses, pad_id, device)
    response_ids = _pad(responses, pad_id).to(device)
    lengths = torch.tensor([len(response) for response in responses], device=device)
    mask = torch.arange(response_ids.shape[1], device=device) < lengths[:, None]
    return TokenBatch(input_ids, position_ids, rows, _pad(predictors, 0).to(device), response_ids, mask)


def _padded(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], pad_id: int, device: torch.device
) -> tuple[Tensor, None, None, list[TokenIds]]:
    sequences = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    width = max(map(len, sequences))
    predictors: list[TokenIds] = [
        range(row * width + len(prompt) - 1, row * width + len(sequence) - 1)
        for row, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True))
    ]
    return _pad(sequences, pad_id).to(device), None, None, predictors


def _packed(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, AttentionRows, list[TokenIds]]:
    del pad_id
    ids: list[int] = []
    positions: list[int] = []
    rows: list[list[int]] = [[] for _ in responses]
    for prompt, members in by_prompt(prompts).items():
        shared = range(len(ids), len(ids) + len(prompt))
        ids += prompt
        positions += range(len(prompt))
        for member in members:
            body = responses[member][:-1]
            rows[member] = [*shared, *range(len(ids), len(ids) + len(body))]
            ids += body
            positions += range(len(prompt), len(prompt) + len(body))
    predictors: list[TokenIds] = [row[len(prompt) - 1 :] for row, prompt in zip(rows, prompts, strict=True)]
    input_ids, position_ids = (torch.tensor([values], device=device) for values in (ids, positions))
    return input_ids, position_ids, attention_rows(rows, len(ids), device), predictors


def trunk_states(model: Any, batch: TokenBatch) -> Tensor:
    """The last hidden state of every token the model reads, [L, H] or [B * S, H]."""
    trunk = getattr(model, TRUNK, None) or trunk_of(model)
    if batch.rows is None:
        outputs = trunk(input_ids=batch.input_ids, use_cache=False)
    else:
        with packing(model):
            outputs = trunk(
                input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, rows=batch.rows
            )
    states: Tensor = outputs.last_hidden_state
    return states.flatten(0, 1)


def trunk_of(model: Any) -> Any:
    """The decoder under the output head; of a model that reads more than text, the part that does."""
    decoder = model.get_decoder()
    return decoder if decoder is not model else model.model


def decoder_layers(model: Any) -> Any:
    """The layers that a decoder runs one after the other, of the text part where there are others.

    Of several stacks it is the largest; a model without any has no layers.
    """
    return max(_stacks(trunk_of(model)), key=_num_parameters, default=torch.nn.ModuleList())


def _stacks(module: torch.nn.Module) -> Iterator[torch.nn.ModuleList]:
    """The outermost lists of modules."""
    for part in module.children():
        if isinstance(part, torch.nn.ModuleList):
            yield part
        else:
            yield from _stacks(part)


def _num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def by_prompt(prompts: Sequence[TokenIds]) -> dict[tuple[int, ...], list[int]]:
    """The places of each distinct prompt, in the order of its first."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(tuple(prompt), []).append(place)
    return groups


def _pad(rows: Sequence[TokenIds], pad_id: int) -> Tensor:
    width = max(1, max(len(row) for row in rows))
    return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])


def micro_batches(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], budget: int, *, packed: bool
) -> list[list[int]]:
    """Places in batches that hold at most `budget` tokens; a response over it alone is a batch of its own.

    The longest come first, where running out of memory is noticed at once. Packed, the responses to a prompt stay
    together; padded, a batch counts as many tokens a row as its longest has.
    """
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    groups = by_prompt(prompts).values() if packed else [[place] for place in range(len(prompts))]
    groups = [sorted(group, key=lambda place: -lengths[place]) for group in groups]
    batches: list[list[int]] = []
    used = 0
    for group in sorted(groups, key=lambda group: -lengths[group[0]]):
        for place in group:
            alone = lengths[place]
            if packed:
                size = alone if place == group[0] else len(responses[place])
            else:
                size = lengths[batches[-1][0]] if batches else alone
            if not batches or used + size > budget:
                batches.append([])
                used, size = 0, alone
            batches[-1].append(place)
            used += size
    return batches
