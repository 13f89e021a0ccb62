"""What a jail may use, and how strong it must be."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Self


class Level(StrEnum):
    """How a jail is cut off from the machine, strongest first."""

    NAMESPACES = "namespaces"
    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


AUTO = "auto"

WARM = (
    "array bisect cmath collections copy dataclasses datetime decimal enum fractions functools heapq itertools json "
    "math operator random re statistics string sys time typing"
).split()
"""Modules that are loaded before a program starts, so that it imports them at no cost."""


class Settings(NamedTuple):
    """The isolation of programs, and the limits of one run of a program with all the processes that it starts.

    level: a `Level`; `auto` takes the strongest there is.
    allow_unsafe: go on at level `none` where there is no other.
    timeout_seconds: wall time.
    memory_mb: memory beyond what a warm interpreter takes, scratch files included.
    processes: processes at a time, threads included.
    output_mb: standard output and error together.
    scratch_mb: files, which can only lie below the working directory.
    imports: modules outside the standard library that programs may use, loaded before they start.
    """

    level: str = AUTO
    allow_unsafe: bool = False
    timeout_seconds: float = 10.0
    memory_mb: int = 1024
    processes: int = 64
    output_mb: int = 8
    scratch_mb: int = 64
    imports: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """The settings that were written as JSON."""
        return cls._make([*values[:-1], tuple(values[-1])])
