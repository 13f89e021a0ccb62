"""Batch assembly by Python lists, token by token, as it was before tensors: the other side of `bench.py`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd_cli.policy.attention import AttentionRows
from rlsd_cli.policy.batch import TokenBatch

Ids = Sequence[int]


def list_batch(
    prompts: Sequence[Ids], responses: Sequence[Ids], pad_id: int, device: torch.device, *, packed: bool
) -> TokenBatch:
    lay_out = _packed if packed else _padded
    input_ids, position_ids, rows, predictors = lay_out(prompts, responses, pad_id, device)
    response_ids = _pad(responses, pad_id).to(device)
    lengths = torch.tensor([len(response) for response in responses], device=device)
    mask = torch.arange(response_ids.shape[1], device=device) < lengths[:, None]
    return TokenBatch(input_ids, position_ids, rows, _pad(predictors, 0).to(device), response_ids, mask)


def _padded(
    prompts: Sequence[Ids], responses: Sequence[Ids], pad_id: int, device: torch.device
) -> tuple[Tensor, None, None, list[Ids]]:
    sequences = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    width = max(map(len, sequences))
    predictors: list[Ids] = [
        range(row * width + len(prompt) - 1, row * width + len(sequence) - 1)
        for row, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True))
    ]
    return _pad(sequences, pad_id).to(device), None, None, predictors


def _packed(
    prompts: Sequence[Ids], responses: Sequence[Ids], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, AttentionRows, list[Ids]]:
    del pad_id
    ids: list[int] = []
    positions: list[int] = []
    rows: list[list[int]] = [[] for _ in responses]
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(tuple(prompt), []).append(place)
    for prompt, members in groups.items():
        shared = range(len(ids), len(ids) + len(prompt))
        ids += prompt
        positions += range(len(prompt))
        for member in members:
            body = responses[member][:-1]
            rows[member] = [*shared, *range(len(ids), len(ids) + len(body))]
            ids += body
            positions += range(len(prompt), len(prompt) + len(body))
    predictors: list[Ids] = [row[len(prompt) - 1 :] for row, prompt in zip(rows, prompts, strict=True)]
    input_ids, position_ids = (torch.tensor([values], device=device) for values in (ids, positions))
    return input_ids, position_ids, _attention_rows(rows, len(ids), device), predictors


def _attention_rows(rows: Sequence[Ids], num_tokens: int, device: torch.device) -> AttentionRows:
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


def _pad(rows: Sequence[Ids], pad_id: int) -> Tensor:
    width = max(1, max(len(row) for row in rows))
    return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])


def list_padded(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    tensor = torch.zeros(len(rows), width)
    for index, row in enumerate(rows):
        tensor[index, : len(row)] = torch.tensor(row)
    return tensor


def list_unpadded(tensor: Tensor, lengths: Sequence[int]) -> list[list[float]]:
    return [row[:length] for row, length in zip(tensor.tolist(), lengths, strict=True)]
