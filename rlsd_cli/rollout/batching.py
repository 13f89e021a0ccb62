"""The loop of sampling: rows enter the batch as there is room, draw a token a step, and leave when they end."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlsd_cli.policy.batch import TokenIds
from rlsd_cli.rollout.decoders import Decoder, Moves, closing_ranks
from rlsd_cli.rollout.draws import draw, uniforms
from rlsd_cli.rollout.sampler import Completion, Sampling

ROOM_TO_ADD = 8
"""Rows are added when an eighth of the batch is free: one by one, small prompts would cost a forward pass each."""


class Row(NamedTuple):
    """A response to be drawn: its place in the result, the number of its prompt, the key of its draws, its limit."""

    place: int
    prompt: int
    key: int
    limit: int


class State(NamedTuple):
    """What is known of the rows of the batch, on the device; tensors may have more rows than are in use.

    ages (tokens drawn), limits (the most of them), last (token): int64 [n]. For each token, [n, largest limit]: the
    uniform it is drawn with, float64; its id, int64; its log-probability, float32.
    """

    ages: Tensor
    limits: Tensor
    last: Tensor
    uniforms: Tensor
    tokens: Tensor
    logps: Tensor


@torch.no_grad()
def decode(
    decoder: Decoder,
    prompts: Sequence[TokenIds],
    rows: Sequence[Row],
    sampling: Sampling,
    eos_ids: frozenset[int],
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[int, Completion]]:
    """Place and rollout of every row, as rows end; at most `batch_size` are decoded at a time.

    Tokens are read from the device only where a row ends.
    """
    size = min(batch_size, len(rows))
    room = max(1, size // ROOM_TO_ADD)
    state = _empty(size, max((row.limit for row in rows), default=0), device)
    ends = torch.tensor(sorted(eos_ids), device=device)
    pending = deque(rows)
    live: list[Row] = []
    while pending or live:
        free = size - len(live)
        if pending and (not live or (decoder.joins and free >= room)):
            new = [pending.popleft() for _ in range(min(free, len(pending)))]
            decoder.add([row.prompt for row in new])
            _enter(state, len(live), new, prompts)
            live += new
        used = State(*(tensor[: len(live)] for tensor in state))
        logits = decoder.step(used.last, used.ages)
        at = torch.arange(len(live), device=device), used.ages
        token, logp = draw(logits, sampling, used.uniforms[at])
        used.tokens[at], used.logps[at] = token, logp
        used.last.copy_(token)
        used.ages.add_(1)
        ended = (torch.isin(token, ends) | (used.ages == used.limits)).nonzero()[:, 0]
        if len(ended):
            places = ended.tolist()
            yield from zip([live[place].place for place in places], _read(used, ended, eos_ids), strict=True)
            moves = closing_ranks(len(live), places)
            decoder.drop(moves)
            _move(state, moves)
            moves.apply(live)


def _empty(size: int, longest: int, device: torch.device) -> State:
    def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(size, *shape, dtype=dtype, device=device)

    return State(
        ages=zeros(dtype=torch.long),
        limits=zeros(dtype=torch.long),
        last=zeros(dtype=torch.long),
        uniforms=zeros(longest, dtype=torch.double),
        tokens=zeros(longest, dtype=torch.long),
        logps=zeros(longest, dtype=torch.float),
    )


def _enter(state: State, first: int, rows: Sequence[Row], prompts: Sequence[TokenIds]) -> None:
    """New rows from place `first` on."""
    places, device = slice(first, first + len(rows)), state.ages.device
    state.ages[places] = 0
    state.limits[places] = torch.tensor([row.limit for row in rows], device=device)
    state.last[places] = torch.tensor([prompts[row.prompt][-1] for row in rows], device=device)
    keys = torch.tensor([row.key for row in rows], device=device)
    state.uniforms[places] = uniforms(keys[:, None], torch.arange(state.uniforms.shape[1], device=device))


def _read(state: State, ended: Tensor, eos_ids: frozenset[int]) -> Iterator[Completion]:
    """The rollouts of the rows at `ended`."""
    ages = state.ages[ended].tolist()
    longest = max(ages)
    parts = ages, state.tokens[ended, :longest].tolist(), state.logps[ended, :longest].tolist()
    for length, token_ids, logps in zip(*parts, strict=True):
        truncated = token_ids[length - 1] not in eos_ids
        yield Completion(token_ids[:length], logps[:length], truncated)


def _move(state: State, moves: Moves) -> None:
    if moves.targets:
        targets, sources = moves.indices(state.ages.device)
        for tensor in state:
            tensor.index_copy_(0, targets, tensor.index_select(0, sources))
