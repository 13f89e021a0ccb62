"""The runs of the table end where they ended when `metrics.json` was written.

A change that is meant to move numbers writes the file anew: `python tests/witness/compare.py --write`.
"""

import copy
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.forked import rlsd
from tests.witness.compare import KEPT
from tests.witness.records import columns_of, difference, values_of
from tests.witness.runs import ALONE, COARSE, arguments

Columns = dict[str, list[float | None]]
METRICS: dict[str, Columns] = json.loads(KEPT.read_text(encoding="utf-8"))
ALWAYS = (
    "rlvr-two-updates",
    "rlvr-kl",
    "rlvr-small-microbatches",
    "rlsd-snapshot",
    "rlsd-live",
    "rlsd-refill-kl",
    "opsd-forward-kl",
    "opsd-sampled-token",
    "sft-as-it-comes",
)
"""What the default tests run: every method and objective, a live and a lagging teacher, and a step cut in each way."""
REST = [name for name in METRICS if name not in ALWAYS]
RELATIVE, ABSOLUTE = 1e-5, 3e-6
COARSER = {"grad_norm": 2e-4}
"""What other processors and thread counts may change: a share of a metric, and an amount. Rounding grows from step to
step, and farther in the gradient than in a loss."""

Perform = Callable[[Sequence[str]], Path]


@pytest.fixture(scope="module")
def performed(tmp_path_factory: pytest.TempPathFactory) -> Perform:
    """`performed(names)`: the folder in which these runs lie, made once; those that `runner.perform` makes."""
    folders: dict[tuple[str, ...], Path] = {}

    def make(names: Sequence[str]) -> Path:
        key = tuple(names)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("witness")
            for name in names:
                run(name, folders[key])
        return folders[key]

    return make


def run(name: str, folder: Path) -> None:
    done = rlsd("--root", str(folder / name), "train", *arguments(ALONE[name]), cwd=folder)
    (folder / f"{name}.log").write_text(done.stderr, encoding="utf-8")


def apart(kept: Columns, now: Columns) -> dict[str, list[Any]]:
    """The metrics that are not what was kept, a pair each."""
    return {
        name: [kept.get(name), now.get(name)]
        for name in kept.keys() | now.keys()
        if not is_close(kept.get(name, []), now.get(name, []), COARSER.get(name, RELATIVE))
    }


def is_close(kept: Sequence[float | None], now: Sequence[float | None], relative: float) -> bool:
    """Whether two columns are as long as each other, and hold the same or nearly the same; none is only like none."""

    def close(was: float | None, now: float | None) -> bool:
        if was is None or now is None:
            return was is now
        return math.isclose(was, now, rel_tol=relative, abs_tol=ABSOLUTE)

    return len(kept) == len(now) and all(map(close, kept, now))


def columns(folder: Path, name: str) -> Columns:
    run = folder / name / "latest"
    assert run.is_dir(), (folder / f"{name}.log").read_text(encoding="utf-8")
    return columns_of(run)


@pytest.mark.parametrize("name", ALWAYS)
def test_a_run_has_the_metrics_that_were_kept(performed: Perform, name: str) -> None:
    assert apart(METRICS[name], columns(performed(ALWAYS), name)) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", REST)
def test_every_other_run_has_the_metrics_that_were_kept(performed: Perform, name: str) -> None:
    assert apart(METRICS[name], columns(performed(REST), name)) == {}


def test_every_run_that_rounds_alike_everywhere_is_kept() -> None:
    assert METRICS.keys() == ALONE.keys() - COARSE


@pytest.mark.parametrize("name", METRICS)
def test_a_run_has_signal_in_most_steps(name: str) -> None:
    kept = METRICS[name]
    moved = [norm for norm in kept["grad_norm"] if norm]
    assert len(moved) >= 4
    assert any(abs(loss or 0.0) > 1e-3 for loss in kept["loss"]) or name == "rlvr-sequence-mean"
    assert any(kept.get("reward_mean", [None])) or name.startswith("sft")


def test_a_metric_that_moves_a_little_or_is_gone_is_noticed() -> None:
    kept = METRICS["rlsd-frozen"]
    assert apart(kept, kept) == {}
    for field in kept:
        value, relative = kept[field][2] or 0.0, COARSER.get(field, RELATIVE)
        for other in (value + 2 * max(abs(value) * relative, ABSOLUTE), None):
            moved = copy.deepcopy(kept)
            moved[field][2] = other
            assert set(apart(kept, moved)) == {field}
        assert set(apart(kept, {name: column for name, column in kept.items() if name != field})) == {field}


def test_two_records_are_alike_until_one_bit_of_a_weight_or_a_number_of_a_rollout_moves(performed: Perform) -> None:
    values = values_of(performed(ALWAYS) / "rlsd-snapshot" / "latest")
    assert difference(values, values).fields == {}
    weight = next(place for place, value in values.items() if place.field.startswith("weights."))
    credit = next(place for place, value in values.items() if place.field == "rollouts.credit" and value)
    flipped = values[weight].clone()
    flipped.view(-1).untyped_storage()[0] ^= 1
    found = difference(values, {**values, weight: flipped, credit: values[credit] * (1 + 2e-16)})
    assert found.fields == {"weights": 1, "rollouts.credit": 1}
    assert found.first == credit
    missing = difference(values, {place: value for place, value in values.items() if place != credit})
    assert (missing.fields, missing.largest_at) == ({"rollouts.credit": 1}, credit)
