"""From the tokens of a batch's rows to the logits of their next ones, in three ways, the fastest first.

`PrefixDecoder` holds each prompt's keys and values once for all its rows, and takes in rows whenever there is room.
`WaveDecoder` uses the model's own cache, whatever it holds: a wave of rows begins together, and the next one begins
when all have ended. `UncachedDecoder` keeps nothing and reads every sequence again for each token. Which of them is
exact for a model is for `probes` to find out.
"""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from rlsd_cli.policy.batch import TokenIds, trunk_of
from rlsd_cli.policy.memory_rollout import TOKENS_PER_GROWTH, TOKENS_PER_PREFILL
from rlsd_cli.rollout.attention import NAME, Decode, Groups, LayerCache, Prefill, move


class Moves(NamedTuple):
    """How a list of `size` is left without gaps: what lies at `sources` goes to `targets`, the end is cut off."""

    size: int
    targets: list[int]
    sources: list[int]

    def apply(self, items: list[Any]) -> None:
        for target, source in zip(self.targets, self.sources, strict=True):
            items[target] = items[source]
        del items[self.size :]

    def indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Targets and sources, int64."""
        return torch.tensor(self.targets, device=device), torch.tensor(self.sources, device=device)


def closing_ranks(size: int, gone: Sequence[int]) -> Moves:
    """Moves that fill the places `gone` (ascending) of a list of `size` with what stays at its end."""
    size_after, leaving = size - len(gone), set(gone)
    holes = [place for place in gone if place < size_after]
    return Moves(size_after, holes, [place for place in range(size_after, size) if place not in leaving])


class Decoder(Protocol):
    """The rows of a batch as a model sees them.

    joins: whether rows can be added to others. attention: the function that the model must attend by; None for its own.
    """

    joins: ClassVar[bool] = True
    attention: ClassVar[str | None] = None

    def __init__(self, model: Any, prompts: Sequence[TokenIds], pad_id: int, device: torch.device) -> None: ...

    def add(self, prompts: Sequence[int]) -> None:
        """One more row for each of these prompts, given by their number."""

    def drop(self, moves: Moves) -> None:
        """Rows that have ended leave."""

    def step(self, tokens: Tensor, ages: Tensor) -> Tensor:
        """Logits [n, V] behind the last token [n] of every row, which has drawn `ages` [n] tokens, one a step.

        The last token of a row that has drawn none is that of its prompt.
        """


class PrefixDecoder(Decoder):
    """Rows that share their prompts' prefixes."""

    attention = NAME

    def __init__(self, model: Any, prompts: Sequence[TokenIds], pad_id: int, device: torch.device) -> None:
        self.model = model
        self.prefixes = [prompt[:-1] for prompt in prompts]
        self.pad_id = pad_id
        self.device = device
        self.layers = [LayerCache() for _ in range(model.config.get_text_config().num_hidden_layers)]
        self.held: list[int] = []
        self.readers: list[int] = []
        self.begun: list[int] = []
        self.num_steps = 0
        self.groups: Groups | None = None
        self.prefix_tokens = self.own_tokens = 0

    def add(self, prompts: Sequence[int]) -> None:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.held]
        num_prefixes = len(self.held) + len(new)
        longest = max((len(self.prefixes[prompt]) for prompt in new), default=0)
        self.prefix_tokens = max(self.prefix_tokens, _width(longest))
        per_pass = max(1, TOKENS_PER_PREFILL // max(1, longest))
        for start in range(0, len(new), per_pass):
            self._prefill(new[start : start + per_pass], num_prefixes)
        self.readers += prompts
        self.begun += [self.num_steps] * len(prompts)
        self.groups = None

    def _prefill(self, prompts: list[int], num_prefixes: int) -> None:
        prefixes = [self.prefixes[prompt] for prompt in prompts]
        width = max(1, *map(len, prefixes))
        ids = [[*prefix, *[self.pad_id] * (width - len(prefix))] for prefix in prefixes]
        trunk_of(self.model)(
            input_ids=torch.tensor(ids, device=self.device),
            use_cache=False,
            shared=Prefill(self.layers, len(self.held), num_prefixes, self.prefix_tokens),
        )
        self.held += prompts

    def drop(self, moves: Moves) -> None:
        moves.apply(self.readers)
        moves.apply(self.begun)
        if moves.targets:
            indices = moves.indices(self.device)
            for layer in self.layers:
                move(layer.own, *indices)
        self.groups = None

    def step(self, tokens: Tensor, ages: Tensor) -> Tensor:
        groups = self.groups = self.groups or self._group()
        self.num_steps += 1
        self.own_tokens = _resized(self.own_tokens, self.num_steps - min(self.begun))
        logits: Tensor = self.model(
            input_ids=tokens[:, None],
            position_ids=(groups.lengths + ages)[:, None],
            use_cache=False,
            shared=Decode(self.layers, groups, ages, self.own_tokens),
        ).logits
        return logits[:, -1]

    def _group(self) -> Groups:
        """Who reads which prefix; those that nobody reads leave."""
        read = set(self.readers)
        moves = closing_ranks(len(self.held), [place for place, prompt in enumerate(self.held) if prompt not in read])
        moves.apply(self.held)
        if moves.targets:
            indices = moves.indices(self.device)
            for layer in self.layers:
                move(layer.prefixes, *indices)
        lengths = [len(self.prefixes[prompt]) for prompt in self.held]
        self.prefix_tokens = _resized(self.prefix_tokens, max(lengths))
        place = {prompt: place for place, prompt in enumerate(self.held)}
        return Groups([place[prompt] for prompt in self.readers], lengths, self.prefix_tokens, self.device)


def _width(needed: int) -> int:
    """Tokens of a buffer for so many."""
    return -(-max(1, needed) // TOKENS_PER_GROWTH) * TOKENS_PER_GROWTH


def _resized(now: int, needed: int) -> int:
    """Tokens of a buffer that has so many now: it grows as needed, and shrinks where half would do."""
    width = _width(needed)
    return width if width > now or 2 * width <= now else now


RECURRENT = "cache_params"
"""What models without attention call their cache, in what they take and what they give. It has forgotten padding."""


class WaveDecoder(Decoder):
    """Rows that begin together, each with a cache of its own; prompts are padded on the left."""

    joins = False

    def __init__(self, model: Any, prompts: Sequence[TokenIds], pad_id: int, device: torch.device) -> None:
        self.model = model
        self.prompts = prompts
        self.pad_id = pad_id
        self.device = device
        takes = inspect.signature(model.forward).parameters
        self.cache_name = RECURRENT if RECURRENT in takes else "past_key_values"

    def add(self, prompts: Sequence[int]) -> None:
        distinct = list(dict.fromkeys(prompts))
        ids = [self.prompts[prompt] for prompt in distinct]
        width = max(map(len, ids))
        padded = torch.tensor([[self.pad_id] * (width - len(row)) + list(row) for row in ids], device=self.device)
        self.lengths = torch.tensor([len(row) for row in ids], device=self.device)
        self.seen = torch.arange(width, device=self.device) >= (width - self.lengths)[:, None]
        outputs = self.model(
            input_ids=padded,
            attention_mask=self.seen.long(),
            position_ids=(self.seen.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = outputs[self.cache_name]
        rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=self.device)
        self.first: Tensor | None = outputs.logits[rows, -1]
        self._select(rows)

    def drop(self, moves: Moves) -> None:
        rows = list(range(moves.size))
        for target, source in zip(moves.targets, moves.sources, strict=True):
            rows[target] = source
        self._select(torch.tensor(rows, dtype=torch.long, device=self.device))

    def _select(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.lengths, self.seen = self.lengths[rows], self.seen[rows]

    def step(self, tokens: Tensor, ages: Tensor) -> Tensor:
        if self.first is not None:
            first, self.first = self.first, None
            return first
        self.seen = torch.cat([self.seen, self.seen.new_ones(len(tokens), 1)], 1)
        held = {self.cache_name: self.cache}
        if self.cache_name != RECURRENT:
            held["attention_mask"] = self.seen.long()
        logits: Tensor = self.model(
            input_ids=tokens[:, None],
            position_ids=(self.lengths + ages - 1)[:, None],
            use_cache=True,
            **held,
        ).logits[:, -1]
        return logits


class UncachedDecoder(Decoder):
    """Rows of which only the tokens are kept. Those of equal length are read together, so that nothing is padded."""

    def __init__(self, model: Any, prompts: Sequence[TokenIds], pad_id: int, device: torch.device) -> None:
        del pad_id
        self.model = model
        self.prompts = [torch.tensor(list(prompt), device=device) for prompt in prompts]
        self.rows: list[Tensor] = []
        self.num_new = 0
        takes = inspect.signature(model.forward).parameters
        self.options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def add(self, prompts: Sequence[int]) -> None:
        self.rows += [self.prompts[prompt] for prompt in prompts]
        self.num_new = len(prompts)

    def drop(self, moves: Moves) -> None:
        moves.apply(self.rows)

    def step(self, tokens: Tensor, ages: Tensor) -> Tensor:
        del ages
        num_old, self.num_new = len(self.rows) - self.num_new, 0
        for row in range(num_old):
            self.rows[row] = torch.cat([self.rows[row], tokens[row, None]])
        places: dict[int, list[int]] = {}
        for place, sequence in enumerate(self.rows):
            places.setdefault(len(sequence), []).append(place)
        logits: dict[int, Tensor] = {}
        for length, members in places.items():
            per_pass = max(1, TOKENS_PER_PREFILL // length)
            for start in range(0, len(members), per_pass):
                here = members[start : start + per_pass]
                ids = torch.stack([self.rows[place] for place in here])
                found = self.model(input_ids=ids, use_cache=False, **self.options).logits[:, -1]
                logits |= zip(here, found, strict=True)
        return torch.stack([logits[place] for place in range(len(self.rows))])
