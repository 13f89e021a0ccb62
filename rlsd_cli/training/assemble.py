"""The rollouts of one update with the weight of every token in every term of the loss, fixed before anything is cut."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.core.evidence import Evidence, Reading
from rlsd_cli.core.weights import token_weights
from rlsd_cli.methods.base import STUDENT, Attempt, Distill, Regression, Term, TokenRule
from rlsd_cli.policy.batch import TokenIds
from rlsd_cli.policy.ragged import Ragged
from rlsd_cli.rollout.records import Judged, LeftOut, Rollout
from rlsd_cli.rollout.values import token_gains
from rlsd_cli.training.passes import Scored
from rlsd_cli.training.reading import Read, Readings, Taught

Key = tuple[int, int]
"""A rollout of a step: the place of its group, and its place in the group."""


class Columns(NamedTuple):
    """What is known of R rollouts of at most T tokens, on the CPU; 0 where nothing is.

    weights, targets: of each token in each term [R, T], and of each response where a term has targets [R]
    group: which rollouts answer the same prompt
    gain: what the step of each token did to the estimated chance of a right answer
    sampled: True where a sampler gave `sampled_logp` after the student's prompt
    old_logp: the policy before this update; None where it is the first of its batch, whose ratios are 1
    """

    mask: Tensor
    advantage: Tensor
    score: Tensor
    sampled_logp: Tensor
    sampled: Tensor
    old_logp: Tensor | None
    readings: Mapping[str, Reading]
    group: Tensor
    gain: Tensor
    weights: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


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


class Item(NamedTuple):
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
    items = [item for item in _items(taught) if item.member.left_out is None]
    lengths = torch.tensor([len(item.member.rollout.token_ids) for item in items], dtype=torch.long)
    mask = torch.arange(int(lengths.max()) if items else 0) < lengths[:, None]
    columns = _columns(items, mask, config)
    routed = _routed(items, config)
    columns = columns._replace(weights=_weights(columns, routed, config), targets=_targets(columns, config))
    moving = [
        place
        for place, item in enumerate(items)
        if any(
            to[place] and term.moves(item.attempt, item.group, config.credit)
            for term, to in zip(config.terms, routed, strict=True)
        )
    ]
    kept = [items[place] for place in moving]
    batch = Batch(
        keys=tuple(item.key for item in kept),
        prompts=tuple(item.member.rollout.prompt.ids for item in kept),
        responses=tuple(item.member.rollout.token_ids for item in kept),
        told={view: tuple(_told(item, view) for item in kept) for view in config.recipe.distilled},
        columns=select(columns, torch.tensor(moving, dtype=torch.long)),
    )
    nowhere = [item for place, item in enumerate(items) if not any(to[place] for to in routed)]
    return batch, {item.key: _why_nowhere(item, config) for item in nowhere}


def _why_nowhere(item: Item, config: Config) -> LeftOut:
    wanted = any(term.route(item.attempt, item.group, config.credit) for term in config.recipe.terms)
    return "no_view" if wanted else "no_term"


def _items(taught: Sequence[Taught]) -> Iterator[Item]:
    for group, readings in taught:
        attempts = group.attempts()
        for place, (member, attempt, read) in enumerate(zip(group.members, attempts, readings, strict=True)):
            yield Item((group.place, place), member, attempt, attempts, read)


def _told(item: Item, view: str) -> TokenIds | None:
    read = item.readings.get(view)
    return read.prompts[0] if read and read.prompts else None


def _routed(items: Sequence[Item], config: Config) -> list[Tensor]:
    """For each term of the config, True for the items that are in it [R]; a KL is kept of those that are in another."""

    def in_term(item: Item, term: Term) -> bool:
        shown = not isinstance(term, Distill) or _told(item, term.view) is not None
        return shown and term.route(item.attempt, item.group, config.credit)

    own = [torch.tensor([in_term(item, term) for item in items], dtype=torch.bool) for term in config.recipe.terms]
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
    """How much each token weighs, 0 outside the rollouts of the term."""
    mask = columns.mask & routed[:, None]
    return torch.where(mask, rule(_before(columns._replace(mask=mask)), config.credit), 0.0)


def _targets(columns: Columns, config: Config) -> tuple[Tensor, ...]:
    """For each term the target of every rollout [R]; 0 where a term has none."""
    return tuple(
        term.target(_before(columns), config.credit)
        if isinstance(term, Regression)
        else torch.zeros_like(columns.advantage)
        for term in config.terms
    )


def _before(columns: Columns) -> Evidence:
    """What is known before the update: log-probabilities are the sampler's."""
    return evidence_of(columns, columns.mask, *[columns.sampled_logp] * 3)


def evidence_of(columns: Columns, mask: Tensor, logp: Tensor, old_logp: Tensor, student_logp: Tensor) -> Evidence:
    """What rules may look at, with the log-probabilities of the policy as `core.evidence` names them."""
    return Evidence(
        mask=mask,
        advantage=columns.advantage,
        score=columns.score,
        logp=logp,
        old_logp=old_logp,
        sampled_logp=columns.sampled_logp,
        student_logp=student_logp,
        readings=columns.readings,
        group=columns.group,
        gain=columns.gain,
    )


def _columns(items: Sequence[Item], mask: Tensor, config: Config) -> Columns:
    method, rollouts = config.recipe, [item.member.rollout for item in items]
    scores = [item.member.score for item in items]
    return Columns(
        mask=mask,
        advantage=torch.tensor([item.attempt.advantage for item in items]),
        score=torch.tensor([math.nan if score is None else score for score in scores]),
        sampled_logp=padded([rollout.sampled_logp or () for rollout in rollouts], mask),
        sampled=torch.tensor([_is_sampled(rollout) for rollout in rollouts], dtype=torch.bool),
        old_logp=None,
        readings={
            name: _reading([item.readings.get(name) for item in items], method.views[name].most(config.credit), mask)
            for name in method.read
        },
        group=torch.tensor([item.key[0] for item in items], dtype=torch.long),
        gain=padded([_gains(item.member) for item in items], mask),
        weights=(),
        targets=(),
    )


def _is_sampled(rollout: Rollout) -> bool:
    """True where a sampler read what is trained: the response after the student's prompt."""
    return rollout.sampled_logp is not None and rollout.drawn_under == STUDENT


def _gains(member: Judged) -> list[float]:
    return token_gains(member.values, member.score or 0.0, len(member.rollout.token_ids)) if member.values else []


def _reading(reads: Sequence[Read | None], num_texts: int, mask: Tensor) -> Reading:
    """The readings of one view as tensors [R, K, T]."""
    texts = [[read.scored[k] if read and k < len(read.scored) else None for read in reads] for k in range(num_texts)]
    about = torch.tensor([read.tokens if read else 0 for read in reads], dtype=torch.long)
    told = torch.tensor([[scored is not None for scored in column] for column in texts], dtype=torch.bool)
    logp, entropy = (
        torch.stack([padded([scored[part] if scored else () for scored in column], mask) for column in texts], 1)
        for part in range(len(Scored._fields))
    )
    tokens = torch.arange(mask.shape[1]) < about[:, None]
    return Reading(logp, entropy, told.T[:, :, None] & tokens[:, None])


def padded(values: Sequence[Sequence[float] | Tensor], mask: Tensor) -> Tensor:
    """Numbers of each response as a float32 tensor in the shape of the mask [R, T]; 0 where there are none."""
    return Ragged.of(values).padded(mask.shape[1])


def select(columns: Columns, places: Tensor, width: int | None = None) -> Columns:
    """The items at places [r], cut to a width."""
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
        group=function(columns.group),
        gain=function(columns.gain),
        weights=tuple(map(function, columns.weights)),
        targets=tuple(map(function, columns.targets)),
    )
