"""Two sides that do the same work in turns, in fresh processes, and a gate that they must agree to get past."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, ROOT, write
from benchmarks.training.meter import Step
from benchmarks.training.work import EVEN, GROUP, SEED, SHAPES, Completions, Steps, make_model, mean_lengths

PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
RUN_SECONDS = 7200.0
TOLERANCE = 1e-4
VARIABLES = {
    "GOMP_SPINCOUNT": "10000",
    "KMP_BLOCKTIME": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
"""The environment of both sides; `rlsd` sets the first two itself."""
SOURCES = os.pathsep.join([str(ROOT), str(ROOT / "verifiers")])
"""Where both find what they share: the peers' environment has no rlsd."""


class Row(NamedTuple):
    """What is done in a row of a leg: settings of rlsd and of the peer, and the share of groups without variance."""

    settings: dict[str, Any]
    peer: dict[str, Any] | None = None
    dead_share: float = 0.0
    gated: bool = True
    completions: Completions = EVEN


class Report(NamedTuple):
    """What a side's process printed, see `Meter`; `details` has its versions."""

    steps: list[Step]
    base_mib: float
    peak_mib: float
    details: dict[str, Any]

    def mean(self, name: str) -> float:
        """Of a quantity over the steps after the first."""
        return statistics.fmean(getattr(step, name) for step in self.steps[1:])


class Pair(NamedTuple):
    """One process of each side, on the same task."""

    ours: Report
    peer: Report


def run(python: Path | str, program: str, task: dict[str, Any]) -> Report:
    """A side, a program by its path in `benchmarks`, in a process of its own; its stderr is shown only if it fails."""
    if not Path(python).is_file():
        sys.exit(f"no {python}: `make bench-env` makes the peers' environment")
    done = subprocess.run(
        [str(python), str(ROOT / "benchmarks" / program)],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env=os.environ | VARIABLES | {"PYTHONPATH": SOURCES},
    )
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stderr}")
    said = json.loads(done.stdout.splitlines()[-1])
    steps = [Step(*step) for step in said.pop("steps")]
    return Report(steps, said.pop("base_mib"), said.pop("peak_mib"), said)


# -- the gate ---------------------------------------------------------------------------------------------------------


def gap(one: float, other: float) -> float:
    """Their distance, relative to the larger."""
    return abs(one - other) / max(abs(one), abs(other), sys.float_info.min)


def disagreement(pair: Pair) -> str | None:
    """The first step whose losses or gradient norms differ by more than `TOLERANCE`, in words."""
    for number, (ours, peer) in enumerate(zip(pair.ours.steps, pair.peer.steps, strict=True), start=1):
        for name in ("loss", "grad_norm"):
            mine, theirs = getattr(ours, name), getattr(peer, name)
            if not gap(mine, theirs) <= TOLERANCE:
                return f"step {number}: {name} {mine:.8g} and {theirs:.8g}, {gap(mine, theirs):.1e} apart"
    return None


def largest_gaps(pairs: Sequence[Pair]) -> dict[str, float]:
    """The largest relative distance over all steps of all pairs, by quantity."""
    steps = [both for pair in pairs for both in zip(pair.ours.steps, pair.peer.steps, strict=True)]
    return {name: max(gap(getattr(a, name), getattr(b, name)) for a, b in steps) for name in ("loss", "grad_norm")}


def take_turns(
    programs: tuple[str, str], task: dict[str, Any], num_pairs: int, gated: bool, peer_python: Path
) -> list[Pair]:
    """Pairs of processes, ours first; exits with 1 at the first pair that does not get past the gate."""
    pairs = []
    for _ in range(num_pairs):
        pair = Pair(run(sys.executable, programs[0], task), run(peer_python, programs[1], task))
        if gated and (found := disagreement(pair)):
            sys.exit(f"gate: the two sides do not do the same: {found}; no figure is given")
        pairs.append(pair)
    return pairs


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Medians with their range over pairs: a step of each side, their ratios, and every step as it was."""
    sides = {
        name: {
            quantity: summary([report.mean(quantity) for report in reports]) for quantity in ("seconds", "cpu_seconds")
        }
        | {
            quantity: summary([getattr(report, quantity) for report in reports])
            for quantity in ("peak_mib", "base_mib")
        }
        | {"details": reports[0].details, "steps": [[step._asdict() for step in report.steps] for report in reports]}
        for name, reports in (("rlsd", [pair.ours for pair in pairs]), ("trl", [pair.peer for pair in pairs]))
    }
    return {
        "pairs": len(pairs),
        "speedup": summary([peer.mean("seconds") / ours.mean("seconds") for ours, peer in pairs]),
        "cpu_speedup": summary([peer.mean("cpu_seconds") / ours.mean("cpu_seconds") for ours, peer in pairs]),
        "peak_share": summary([ours.peak_mib / peer.peak_mib for ours, peer in pairs]),
        "share_above_base": summary(
            [(ours.peak_mib - ours.base_mib) / (peer.peak_mib - peer.base_mib) for ours, peer in pairs]
        ),
        "largest_gap": largest_gaps(pairs),
        "sides": sides,
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def spread(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f}-{found['high']:.2f})"


COLUMNS = (
    "row",
    "rlsd s a step",
    "trl s a step",
    "trl/rlsd",
    "rlsd CPU s",
    "trl CPU s",
    "trl/rlsd",
    "rlsd peak MiB",
    "trl peak MiB",
    "rlsd/trl",
    "rlsd/trl above base",
    "loss gap",
    "gradient norm gap",
)


def line(name: str, found: dict[str, Any], gated: bool) -> str:
    """A row of the table of `COLUMNS`."""
    ours, peer = found["sides"]["rlsd"], found["sides"]["trl"]
    cells = [name]
    for quantity, ratio in (("seconds", "speedup"), ("cpu_seconds", "cpu_speedup")):
        cells += [spread(ours[quantity]), spread(peer[quantity]), spread(found[ratio])]
    cells += [f"{side['peak_mib']['median']:.0f}" for side in (ours, peer)]
    cells += [spread(found["peak_share"]), spread(found["share_above_base"])]
    cells += [f"{value:.0e}" if gated else "no gate" for value in found["largest_gap"].values()]
    return "\t".join(cells)


# -- a leg ------------------------------------------------------------------------------------------------------------


def bench(
    leg: str,
    about: str | None,
    rows: Mapping[str, Row],
    *,
    programs: tuple[str, str],
    shapes: Sequence[str],
    rollouts: Callable[[Row, Path, int, int], Steps],
) -> None:
    """A leg from its command line to its table and its file, which keeps what earlier runs say of other rows.

    `programs`: ours and the peer's, each from its own environment. `rollouts` draws the work of a row for a model, so
    many groups a step and so many steps.
    """
    chosen = _arguments(about, rows, shapes)
    print("\t".join(COLUMNS))
    for shape in chosen.shape:
        num_groups = chosen.groups or SHAPES[shape].num_groups
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(SHAPES[shape], Path(folder))
            for name in chosen.row:
                row = rows[name]
                task = {
                    "model": str(model),
                    "steps": rollouts(row, model, num_groups, chosen.steps),
                    "num_steps": chosen.steps,
                    "sequences_per_step": num_groups * GROUP,
                    "group": GROUP,
                    "max_new_tokens": row.completions.max_new_tokens,
                    "settings": row.settings | chosen.set,
                    "peer": row.peer or {},
                    "defaults": not row.gated,
                }
                found = figures(take_turns(programs, task, chosen.pairs, row.gated, chosen.peer_python))
                print(line(f"{shape}, {name}", found, row.gated), flush=True)
                work = {
                    "model": SHAPES[shape].config or SHAPES[shape].model,
                    "groups": num_groups,
                    "group_size": GROUP,
                    "mean_tokens": mean_lengths(task["steps"])._asdict(),
                    "max_new_tokens": row.completions.max_new_tokens,
                    "dead_share": row.dead_share,
                    "completions": row.completions._asdict(),
                    "settings": task["settings"],
                    "peer_settings": task["peer"],
                    "gated": row.gated,
                    "seed": SEED,
                    "variables": VARIABLES,
                }
                if not chosen.dry_run:
                    keep(leg, {f"{shape}, {name}": work | found})


def keep(leg: str, rows: dict[str, Any]) -> None:
    """Put rows beside those that are there from before."""
    path = RESULTS / f"{leg}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else {}
    write(leg, {"rows": before | rows})


def _arguments(about: str | None, rows: Mapping[str, Row], shapes: Sequence[str]) -> argparse.Namespace:
    from rlsd_cli.config.resolve import split_arguments

    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=shapes, default=list(shapes))
    parser.add_argument("--row", nargs="+", choices=rows, default=list(rows))
    parser.add_argument("--pairs", type=int, default=5, help="processes of each side")
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps of a process; the first is not timed")
    parser.add_argument("--groups", type=int, help=f"groups of {GROUP} sequences in a step; none: the shape's own")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of rlsd")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    chosen = parser.parse_args()
    if chosen.steps < 2 or chosen.pairs < 1:
        parser.error("at least two steps and one pair")
    chosen.set = split_arguments(chosen.set)[1]
    return chosen
