"""What a sampler is: prompts in, rollouts out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Sampling(NamedTuple):
    """How tokens are drawn. Temperature 0 is greedy; top_k 0 and top_p 1 leave the distribution whole."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


class Completion(NamedTuple):
    """One response: its token ids (the end token included), their log-probabilities, and whether it ended.

    The log-probabilities are those of the whole distribution at the sampling temperature (at 1 for greedy), in nats.
    """

    token_ids: list[int]
    sampled_logp: list[float]
    truncated: bool


Finished = Callable[[int, Completion], None]
"""Told of a rollout as soon as it ends, with its place in the result."""


class Sampler(Protocol):
    """Draws responses from the policy's current weights."""

    def update_weights(self) -> None:
        """Take over the policy's weights; called before the first rollout and after every update."""

    def sleep(self) -> None:
        """Nothing is sampled until the next `update_weights`: leave the device to others."""

    def close(self) -> None:
        """Let go of processes, memory and files; nothing is sampled any more."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        samples_per_prompt: int,
        sampling: Sampling,
        seed: str,
        finished: Finished | None = None,
        limits: Sequence[int] | None = None,
    ) -> list[Completion]:
        """`samples_per_prompt` rollouts of each prompt, prompt by prompt.

        What is drawn is a function of the weights, `seed`, and of each rollout's prompt, key and number among its
        prompt's samples: neither the order of prompts nor what is sampled beside them matters. `keys`: one a prompt.
        `finished` is called once for each rollout, while others are still being sampled. `limits`: the length of the
        rollouts of each prompt, where it is not `sampling.max_new_tokens` for all.
        """
