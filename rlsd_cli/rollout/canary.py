"""A fixed prompt, scored by whoever samples and by the trainer: an engine with other weights stops the run."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.scoring import score_tokens

NUM_TOKENS = 32
"""Length of the prompt."""

Weights = Iterator[tuple[str, Tensor]]


class Engine(Protocol):
    """What computes with a copy of the weights."""

    @property
    def name(self) -> str:
        """What a message calls it."""

    def load(self, weights: Weights) -> None:
        """Take over some or all weights, and forget what was computed with the old ones."""

    def score(self, ids: Sequence[int]) -> Tensor:
        """Log-probability of each token but the first, nats."""


class Mismatch(NamedTuple):
    """Gaps between log-probabilities of engine and trainer on the fixed prompt, nats."""

    mean: float
    largest: float


def canary(policy: Policy) -> list[int]:
    """The fixed prompt."""
    vocabulary = policy.model.get_input_embeddings().num_embeddings
    return [(7 + 31 * place) % vocabulary for place in range(NUM_TOKENS)]


@torch.no_grad()
def trainers_logp(policy: Policy) -> Tensor:
    """Log-probability of each token of the fixed prompt but the first, by the policy."""
    ids = canary(policy)
    batch = policy.batch([ids[:1]], [ids[1:]])
    return score_tokens(policy, batch, batch.mask, 1.0).logp[0].float().cpu()


def compare(
    engine: Engine, ids: Sequence[int], expected: Tensor, allowed: float, sent: Callable[[], Weights]
) -> Mismatch:
    """Score the fixed prompt, of which `expected` is the trainer's part; `sent`: the weights the engine should have.

    Raises:
        RlsdError: (exit 1) the mean gap is above what is allowed.
    """
    gaps = (engine.score(ids) - expected).abs()
    mismatch = Mismatch(gaps.mean().item(), gaps.max().item())
    if mismatch.mean <= allowed:
        return mismatch
    raise RlsdError(
        f"{engine.name} does not sample from the policy's weights: on a fixed prompt its log-probabilities are "
        f"{mismatch.mean:.2g} nats off, {allowed:g} are allowed; {_suspects(engine, ids, sent)}",
        hint="report it with the versions in `environment.json`, or use `rollout.engine=transformers`",
        exit_code=EXIT_NO,
    )


def _suspects(engine: Engine, ids: Sequence[int], sent: Callable[[], Weights]) -> str:
    """The groups of weights that, sent once more, change what the engine computes."""
    groups = dict.fromkeys(group_of(name) for name, _ in sent())
    found, before = [], engine.score(ids)
    for group in groups:
        engine.load((name, value) for name, value in sent() if group_of(name) == group)
        after = engine.score(ids)
        if not torch.equal(before, after):
            found.append(f"`{group}`")
        before = after
    return f"it had others for {', '.join(found)}" if found else "it has all weights, and computes something else"


def group_of(name: str) -> str:
    """The layer that a weight belongs to (`layers.3`), or what it is beside the layers (`embed_tokens`)."""
    numbered = re.search(r"(?:^|\.)(\w+\.\d+)\.", name)
    return numbered[1] if numbered else name.split(".")[-2]
