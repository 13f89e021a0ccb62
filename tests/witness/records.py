"""What a run wrote, as one flat table of values, and what two such tables differ in."""

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

MEASURED = "peak_memory_mb"
"""What is another at every run, as is every field that ends in `seconds`."""
DERIVED = "rollouts_sha256"
"""What is another with every new field of a rollout; the other fields are compared by themselves."""
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
FIELDS = (
    "reward_mean",
    "loss",
    "grad_norm",
    "entropy",
    "lambda",
    "credit_weight_mean",
    "teacher_student_gap_mean",
    "kl",
    "ratio_clip_rate",
    "response_tokens_mean",
    "trained_tokens",
)
"""The metrics that `metrics.json` keeps."""


class Place(NamedTuple):
    """A field of the records, and of which step, rollout and token."""

    field: str
    where: str


Values = Mapping[Place, Any]


def values_of(run: Path) -> Values:
    """Every number and text of a run's metrics, rollouts and evaluations, and the weights of its last checkpoint."""
    found: dict[Place, Any] = {}
    for row in metrics_of(run):
        found |= _leaves(row, "metrics", f"step {row['step']}")
    for path in sorted(run.glob("rollouts/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                found |= _leaves(json.loads(line), "rollouts", f"{path.name.split('.')[0]}, rollout {number}")
    for path in sorted(run.glob("evals/*/*/summary.json")):
        found |= _leaves(json.loads(path.read_text(encoding="utf-8")), "evals", path.parent.name)
    *_, last = sorted(run.glob("checkpoints/[0-9]*"))
    for path in sorted(last.glob("*.safetensors")):
        found |= {Place(f"weights.{name}", last.name): tensor for name, tensor in load_file(path).items()}
    return found


def metrics_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def columns_of(run: Path) -> dict[str, list[float | None]]:
    """The metrics of `FIELDS` by name, a value a step, to nine digits; without those that are none at every step."""
    rows = metrics_of(run)
    columns = {name: [row[name] and float(f"{row[name]:.9g}") for row in rows] for name in FIELDS}
    return {name: column for name, column in columns.items() if any(value is not None for value in column)}


def _leaves(value: Any, field: str, where: str) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not key.endswith("seconds") and key not in (MEASURED, DERIVED):
                yield from _leaves(inner, f"{field}.{key}", where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, field, f"{where} [{index}]")
    else:
        yield Place(field, where), value


class Difference(NamedTuple):
    """What differs between two runs: how many values of each field, of all weights together; the first in the order of
    the records; and the largest amount, infinite for texts, shapes and what only one side has, and its place.

    `only_before`, `only_after`: whole fields.
    """

    num_values: int
    fields: Counter[str]
    first: Place | None
    largest: float
    largest_at: Place | None
    only_before: frozenset[str]
    only_after: frozenset[str]


def difference(before: Values, after: Values) -> Difference:
    """Compare bit for bit."""
    had, has = ({place.field for place in values} for values in (before, after))
    fields: Counter[str] = Counter()
    num_values, amounts = 0, dict[Place, float]()
    for place in (place for place in {**before, **after} if place.field in had & has):
        missing = place not in before or place not in after
        size, count, amount = (1, 1, math.inf) if missing else _apart(before[place], after[place])
        num_values += size
        if count:
            fields["weights" if place.field.startswith("weights.") else place.field] += count
            amounts[place] = amount
    largest_at = max(amounts, key=amounts.__getitem__, default=None)
    largest = amounts[largest_at] if largest_at else 0.0
    only_before, only_after = frozenset(had - has), frozenset(has - had)
    return Difference(num_values, fields, next(iter(amounts), None), largest, largest_at, only_before, only_after)


def _apart(before: Any, after: Any) -> tuple[int, int, float]:
    """Numbers that two values consist of, how many of them differ, and by how much at most."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            return after.numel(), after.numel(), math.inf
        bits = BITS[before.itemsize]
        count = int((before.view(bits) != after.view(bits)).sum())
        return after.numel(), count, float((before.double() - after.double()).abs().max()) if count else 0.0
    if isinstance(before, int | float) and isinstance(after, int | float):
        same = float(before).hex() == float(after).hex()
        return 1, int(not same), abs(before - after)
    return 1, int(before != after), math.inf
