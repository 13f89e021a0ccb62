"""Prompts and responses as one padded batch, and batches under a token budget."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TokenIds = Sequence[int]


class TokenBatch(NamedTuple):
    """`B` sequences, prompt then response then padding; the response also on its own.

    Shapes: input_ids [B, S], prompt_lengths [B], response_ids [B, T], mask [B, T] (True: a token of the response).
    Padding sits on the right, where a causal model cannot see it, so it needs no attention mask.
    """

    input_ids: Tensor
    prompt_lengths: Tensor
    response_ids: Tensor
    mask: Tensor


def make_batch(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], pad_id: int, device: torch.device
) -> TokenBatch:
    """Pad to the longest sequence and the longest response of the batch."""
    sequences = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    lengths = torch.tensor([len(response) for response in responses])
    response_ids = _pad(responses, pad_id)
    return TokenBatch(
        input_ids=_pad(sequences, pad_id).to(device),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]).to(device),
        response_ids=response_ids.to(device),
        mask=(torch.arange(response_ids.shape[1]) < lengths[:, None]).to(device),
    )


def _pad(rows: Sequence[TokenIds], pad_id: int) -> Tensor:
    width = max(1, max(len(row) for row in rows))
    return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches whose padded size (rows x longest) stays within a budget of tokens.

    Sorted by length, longest first, so that padding is small and the largest batch comes first, where running out of
    memory is noticed at once. A single sequence over the budget is a batch of its own.
    """
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * width > budget:
            batches.append([])
            width = lengths[index]
        batches[-1].append(index)
    return batches
