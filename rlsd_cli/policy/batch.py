"""Prompts and responses as one batch, and batches under a token budget.

A batch is packed where the model allows it: a prompt that several responses answer is there once, nothing is padded,
and the last token of a response, which predicts nothing, is left out. G responses of R tokens to a prompt of P are
P + G (R - 1) tokens instead of G (P + R).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.policy.attention import AttentionRows, Parts, attention_rows, packing
from rlsd_cli.policy.ragged import Ragged, offsets, spans

TokenIds = Sequence[int] | Tensor
"""Token ids as numbers, or int64 [N] on the CPU, which is faster where they are batched more than once."""
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
    """One batch of responses and the prompts they answer, none of them empty."""
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts of {len(responses)} responses")
    answers = Ragged.of(responses, torch.int64)
    layout = _packed(prompts, answers, device) if packed else _padded(prompts, answers, pad_id)
    column = torch.arange(max(answers.lengths))
    mask = column < torch.tensor(answers.lengths)[:, None]
    predictors = layout.first[:, None] + (column - 1)
    predictors[:, 0] = layout.last
    return TokenBatch(
        layout.input_ids.to(device),
        None if layout.position_ids is None else layout.position_ids.to(device),
        layout.rows,
        predictors.mul_(mask).to(device),
        torch.full(mask.shape, pad_id).masked_scatter_(mask, answers.values).to(device),
        mask.to(device),
    )


class _Layout(NamedTuple):
    """What the model reads, and where in it, flattened, each prompt ends and each response begins.

    last: the place of a prompt's last token. first: of a response's first; packed, a response of one token is left out,
    and this is where it would be. Both int64 [B].
    """

    input_ids: Tensor
    position_ids: Tensor | None
    rows: AttentionRows | None
    last: Tensor
    first: Tensor


def _padded(prompts: Sequence[TokenIds], answers: Ragged, pad_id: int) -> _Layout:
    asked = Ragged.of(prompts, torch.int64)
    before, after = torch.tensor(asked.lengths), torch.tensor(answers.lengths)
    width = int((before + after).max())
    starts = torch.arange(len(before)) * width
    first = starts + before
    input_ids = torch.full((len(before) * width,), pad_id)
    input_ids.scatter_(0, spans(starts, before), asked.values)
    input_ids.scatter_(0, spans(first, after), answers.values)
    return _Layout(input_ids.view(-1, width), None, None, first - 1, first)


def _packed(prompts: Sequence[TokenIds], answers: Ragged, device: torch.device) -> _Layout:
    """Each distinct prompt, and behind it the responses to it without their last tokens.

    `given` and `read` count the tokens of each part with and without those. The stable sort puts prompts first.
    """
    groups = by_prompt(prompts)
    asked = Ragged.of([prompts[group[0]] for group in groups], torch.int64)
    prompt_of = {place: number for number, group in enumerate(groups) for place in group}
    shared = torch.tensor([prompt_of[place] for place in range(len(prompts))])
    own = slice(len(groups), None)

    given = torch.tensor(asked.lengths + answers.lengths)
    read = given.clone()
    read[own] -= 1
    order = torch.cat([torch.arange(len(groups)), shared]).argsort(stable=True)
    starts = torch.empty_like(read).index_copy_(0, order, offsets(read[order]))
    parts = Parts(starts, read, order.repeat_interleave(read[order]), shared)

    positions = torch.zeros_like(read)
    positions[own] = given[shared]
    ids = torch.cat([asked.values, answers.values]).index_select(0, parts.count_from(offsets(given)))
    last = starts[shared] + given[shared] - 1
    return _Layout(ids[None], parts.count_from(positions)[None], attention_rows(parts, device), last, starts[own])


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


def by_prompt(prompts: Sequence[TokenIds]) -> list[list[int]]:
    """The places of each distinct prompt, in the order of its first. An object met again is not read again."""
    groups: dict[tuple[int, ...], list[int]] = {}
    of_object: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        if id(prompt) not in of_object:
            ids = prompt.tolist() if isinstance(prompt, Tensor) else prompt
            of_object[id(prompt)] = groups.setdefault(tuple(ids), [])
        of_object[id(prompt)].append(place)
    return list(groups.values())


def micro_batches(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], budget: int, *, packed: bool
) -> list[list[int]]:
    """Places in batches that hold at most `budget` tokens; a response over it alone is a batch of its own.

    The longest come first, where running out of memory is noticed at once. Packed, the responses to a prompt stay
    together; padded, a batch counts as many tokens a row as its longest has.
    """
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    groups = by_prompt(prompts) if packed else [[place] for place in range(len(prompts))]
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
