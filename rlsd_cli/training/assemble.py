"""The rollouts of one update with the weight of every token in every term of the loss, fixed before anything is cut."""

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.core.evidence import Evidence, Reading
from rlsd_cli.core.weights import token_weights
from rlsd_cli.methods.base import Attempt, Distill, Term, TokenRule
from rlsd_cli.policy.batch import TokenIds
from rlsd_cli.rollout.records import Judged, LeftOut
from rlsd_cli.training.reading import Read, Readings, Taught

Key = tuple[int, int]
"""A rollout of a step: the place of its group, and its place in the group."""


class Columns(NamedTuple):
    """What is known of R rollouts of at most T tokens, on the CPU; 0 where nothing is.

    weights: of each token in each term [R, T]
    sampled: True where a sampler gave `sampled_logp`
    old_logp: the policy before this update; None where it is the first of its batch, whose ratios are 1
    """

    mask: Tensor
    advantage: Tensor
    score: Tensor
    sampled_logp: Tensor
    sampled: Tensor
    old_logp: Tensor | None
    readings: Mapping[str, Reading]
    weights: tuple[Tensor, ...]


class Batch(NamedTuple):
    """The rollouts of an update that have a gradient, `columns` of them, and the prompts of what is distilled.

    told: what the teacher reads before each response, by the view of a `Distill`; None where it is shown nothing
    """

    keys: tuple[Key, ...]
    prompts: tuple[TokenIds, ...]
    responses: tuple[TokenIds, ...]
    told: Mapping[str, tuple[TokenIds | None, ...]]
    columns: Columns

    @property
    def longest_prompts(self) -> list[TokenIds]:
        """The longest of what is read before each response."""
        return [
            max(prompt, *(view[place] or () for view in self.told.values()), key=len) if self.told else prompt
            for place, prompt in enumerate(self.prompts)
        ]


class Row(NamedTuple):
    """A rollout of an update, with all that decides its weights."""

    key: Key
    member: Judged
    attempt: Attempt
    group: Sequence[Attempt]
    readings: Readings


def assemble(taught: Sequence[Taught], config: Config) -> tuple[Batch, dict[Key, LeftOut]]:
    """The batch of an update, and why rollouts are in no term that might have been.

    Rollouts that count and cannot move the weights are in the denominators, and not in the batch.
    """
    rows = [row for row in _rows(taught) if row.member.left_out is None]
    lengths = torch.tensor([len(row.member.rollout.token_ids) for row in rows], dtype=torch.long)
    mask = torch.arange(int(lengths.max()) if rows else 0) < lengths[:, None]
    columns = _columns(rows, mask, config)
    routed = _routed(rows, config)
    weights = _weights(columns, routed, config)
    moving = [
        place
        for place, row in enumerate(rows)
        if any(
            to[place] and term.moves(row.attempt, row.group, config.credit)
            for term, to in zip(config.terms, routed, strict=True)
        )
    ]
    kept = [rows[place] for place in moving]
    batch = Batch(
        keys=tuple(row.key for row in kept),
        prompts=tuple(row.member.rollout.prompt.ids for row in kept),
        responses=tuple(row.member.rollout.token_ids for row in kept),
        told={view: tuple(_told(row, view) for row in kept) for view in config.recipe.distilled},
        columns=select(columns._replace(weights=weights), torch.tensor(moving, dtype=torch.long)),
    )
    nowhere = [row for place, row in enumerate(rows) if not any(to[place] for to in routed)]
    return batch, {row.key: _why_nowhere(row, config) for row in nowhere}


def _why_nowhere(row: Row, config: Config) -> LeftOut:
    wanted = any(term.route(row.attempt, row.group, config.credit) for term in config.recipe.terms)
    return "no_view" if wanted else "no_term"


def _rows(taught: Sequence[Taught]) -> Iterator[Row]:
    for group, readings in taught:
        attempts = group.attempts()
        for place, (member, attempt, read) in enumerate(zip(group.members, attempts, readings, strict=True)):
            yield Row((group.place, place), member, attempt, attempts, read)


def _told(row: Row, view: str) -> TokenIds | None:
    read = row.readings.get(view)
    return read.prompts[0] if read and read.prompts else None


def _routed(rows: Sequence[Row], config: Config) -> list[Tensor]:
    """For each term of the config, True for the rows that are in it [R]; a KL is kept of those that are in another."""

    def in_term(row: Row, term: Term) -> bool:
        shown = not isinstance(term, Distill) or _told(row, term.view) is not None
        return shown and term.route(row.attempt, row.group, config.credit)

    own = [torch.tensor([in_term(row, term) for row in rows], dtype=torch.bool) for term in config.recipe.terms]
    anywhere = torch.stack(own).any(0)
    return [*own, *[anywhere for _ in config.terms[len(own) :]]]


def _weights(columns: Columns, routed: Sequence[Tensor], config: Config) -> tuple[Tensor, ...]:
    """The weight of every token in every term [R, T]: how much it counts, over the term's denominator."""
    tokens = [
        columns.mask & to[:, None] if term.tokens is None else _ruled(term.tokens, columns, to, config)
        for term, to in zip(config.terms, routed, strict=True)
    ]
    shared = [part != 0 for part, term in zip(tokens, config.terms, strict=True) if term.counted == "all"]
    everywhere = torch.stack(shared).any(0) if shared else columns.mask

    def weigh(part: Tensor, term: Term) -> Tensor:
        counted = everywhere if term.counted == "all" else part != 0
        longest = config.rollout.max_new_tokens
        return part * token_weights(counted, config.loss.reduction, max_tokens=longest)

    return tuple(weigh(part, term) for part, term in zip(tokens, config.terms, strict=True))


def _ruled(rule: TokenRule, columns: Columns, routed: Tensor, config: Config) -> Tensor:
    logp = columns.sampled_logp
    evidence = Evidence(columns.mask, columns.advantage, columns.score, logp, logp, logp, logp, columns.readings)
    return torch.where(columns.mask & routed[:, None], rule(evidence, config.credit), 0.0)


def _columns(rows: Sequence[Row], mask: Tensor, config: Config) -> Columns:
    method, rollouts = config.recipe, [row.member.rollout for row in rows]
    scores = [row.member.score for row in rows]
    return Columns(
        mask=mask,
        advantage=torch.tensor([row.attempt.advantage for row in rows]),
        score=torch.tensor([math.nan if score is None else score for score in scores]),
        sampled_logp=padded([rollout.sampled_logp or () for rollout in rollouts], mask),
        sampled=torch.tensor([rollout.sampled_logp is not None for rollout in rollouts], dtype=torch.bool),
        old_logp=None,
        readings={
            name: _reading([row.readings.get(name) for row in rows], view.most, mask)
            for name, view in method.views.items()
            if name not in method.distilled
        },
        weights=(),
    )


def _reading(reads: Sequence[Read | None], num_texts: int, mask: Tensor) -> Reading:
    shape = (len(mask), num_texts, mask.shape[1])
    logp, entropy, shown = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    for place, read in enumerate(reads):
        for text, scored in enumerate(read.scored if read else ()):
            logp[place, text, : len(scored.logp)] = scored.logp
            entropy[place, text, : len(scored.logp)] = scored.entropy
            shown[place, text, : read.tokens if read else 0] = True
    return Reading(logp, entropy, shown)


def padded(values: Sequence[Sequence[float] | Tensor], mask: Tensor) -> Tensor:
    """Numbers of each response as a float32 tensor in the shape of the mask [R, T]; 0 where there are none."""
    tensor = torch.zeros(mask.shape)
    for place, row in enumerate(values):
        if len(row):
            numbers = row if isinstance(row, Tensor) else torch.frombuffer(array("f", row), dtype=torch.float32)
            tensor[place, : len(row)] = numbers
    return tensor


def select(columns: Columns, places: Tensor, width: int | None = None) -> Columns:
    """The rows at places [r], cut to a width."""
    return mapped(columns, lambda values: values[places] if values.ndim == 1 else values[places, ..., :width])


def mapped(columns: Columns, function: Callable[[Tensor], Tensor]) -> Columns:
    """A function of every tensor."""
    return Columns(
        mask=function(columns.mask),
        advantage=function(columns.advantage),
        score=function(columns.score),
        sampled_logp=function(columns.sampled_logp),
        sampled=function(columns.sampled),
        old_logp=None if columns.old_logp is None else function(columns.old_logp),
        readings={name: Reading(*map(function, reading)) for name, reading in columns.readings.items()},
        weights=tuple(map(function, columns.weights)),
    )
