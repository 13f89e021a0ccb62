"""The memory of a run as a list of parts, each with the phase in which it is there."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

MB = 2**20
INT64, FLOAT32, FLOAT16 = 8, 4, 2
WIDTH: Mapping[str, int] = {"float32": FLOAT32, "bfloat16": FLOAT16}
"""Bytes of a number, by type."""

Phase = Literal["always", "rollout", "training", "update", "step"]
PHASES: Mapping[Phase, tuple[Phase, ...]] = {
    "update": ("always", "training", "update"),
    "rollout": ("always", "rollout"),
    "step": ("always", "training", "step"),
}
"""What is there while gradients are computed, while responses are sampled, while weights are updated."""


class Setting(NamedTuple):
    """What an estimate needs to know besides config and model.

    device: `cpu` or `cuda`.
    dtype, sampling_dtype: `float32` or `bfloat16`.
    tokens_per_microbatch: the most tokens of a micro-batch.
    packed: whether rows of a micro-batch are packed, and not padded.
    prompt_tokens: tokens of the longest prompt.
    processes: how many a run has; the estimate is for one of them.
    """

    device: str
    dtype: str
    sampling_dtype: str
    tokens_per_microbatch: int
    packed: bool
    prompt_tokens: int
    processes: int = 1


class Component(NamedTuple):
    """A part of the memory.

    num_bytes: its size.
    phase: when it is there.
    depends_on: what it depends on, in words.
    remedy: what makes it smaller.
    fixed: whether its size is the same however few tokens are worked on at a time.
    """

    name: str
    num_bytes: int
    phase: Phase
    depends_on: str
    remedy: str
    fixed: bool = True


class Memory(NamedTuple):
    """All parts of a run, in the order in which they are shown."""

    components: tuple[Component, ...]

    def during(self, *phases: Phase) -> int:
        """Bytes of the parts that are there in these phases."""
        return sum(component.num_bytes for component in self.components if component.phase in phases)

    @property
    def highest(self) -> Phase:
        """The phase with the peak."""
        return max(PHASES, key=lambda phase: self.during(*PHASES[phase]))

    @property
    def peak_bytes(self) -> int:
        return self.during(*PHASES[self.highest])

    def largest(self) -> Component:
        """The largest of the parts that are there at the peak."""
        there = [component for component in self.components if component.phase in PHASES[self.highest]]
        return max(there, key=lambda component: component.num_bytes)

    @property
    def fixed(self) -> "Memory":
        """The parts that stay as large however few tokens are worked on at a time."""
        return Memory(tuple(component for component in self.components if component.fixed))

    @property
    def fixed_bytes(self) -> int:
        """The peak of the fixed parts."""
        return self.fixed.peak_bytes


def in_words(num_bytes: int) -> str:
    """`513 MiB`, `2.9 GiB`."""
    return f"{num_bytes / MB:,.0f} MiB" if num_bytes < 1000 * MB else f"{num_bytes / 2**30:,.1f} GiB"
