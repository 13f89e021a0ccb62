"""The throughput leg: math-verify alone and a `Pool` on the same rows, in fresh processes that take turns."""

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.verifiers.rows import SOURCES, Mix, Row, mix, part_of
from rlsd_verifiers import VERIFIERS, Leniency
from rlsd_verifiers.auto import choose

RUN_SECONDS = 900.0
PROGRAM = Path(__file__).with_name("side.py")
BASE = "math-verify"
SIDES = {
    BASE: ("math-verify", 1),
    "math-verify, 2 processes": ("math-verify", 2),
    "rlsd, 1 worker": ("rlsd", 1),
    "rlsd, 2 workers": ("rlsd", 2),
}


class Run(NamedTuple):
    """What a fresh process took: from its start to its end, for the rows alone, in CPU time, and for each row."""

    process_seconds: float
    seconds: float
    cpu_seconds: float
    accepted: int
    row_seconds: list[float]


def throughput(data: Path, total: int, repeats: int) -> dict[str, Any]:
    """Pairs a second, cold (process start and imports included) and warm (after other rows), and milliseconds a row."""
    chosen = mix(data, total)
    for side in SIDES:
        _run(side, chosen.warm_up[:20], [])  # fills the disk cache
    cold: dict[str, list[Run]] = {side: [] for side in SIDES}
    warm: dict[str, list[Run]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            cold[side].append(_run(side, chosen.rows, []))
        for side in SIDES:
            warm[side].append(_run(side, chosen.rows, chosen.warm_up))
    mixed = ", ".join(f"{count} {name}" for name, count in chosen.parts.items())
    print(f"\nthroughput: {len(chosen.rows)} rows ({mixed}), {repeats} rounds; pairs a second, median (range)")
    print(f"ratios: to one process of {BASE} in the same round")
    print("one worker of rlsd is two processes: the caller, which decides what it can, and the worker")
    print("side\tcold\tratio\twarm\tratio\tcold cpu ms a pair\twarm ms a row p50\tp90\tp99\tmax")
    rates = {side: _rates(side, cold, warm, len(chosen.rows)) for side in SIDES}
    for side, found in rates.items():
        per_row = "\t".join(f"{found['row_ms'][name]:.2f}" for name in ("p50", "p90", "p99", "max"))
        speeds = "\t".join(f"{_spread(found[w], 0)}\t{_spread(found[f'{w}_ratio'], 2)}" for w in ("cold", "warm"))
        print(f"{side}\t{speeds}\t{found['cold_cpu_ms']['median']:.2f}\t{per_row}")
    parts = _by_part(chosen, warm)
    print("part\t" + "\t".join(f"{side}, mean ms a row" for side in parts))
    for part in chosen.parts:
        print(f"{part}\t" + "\t".join(f"{means[part]:.2f}" for means in parts.values()))
    share = _decided_by_the_caller(chosen.rows)
    print(f"decided in the caller, without a worker: {share:.1%} of the rows")
    return {
        "rows": chosen.parts,
        "stand_for": SOURCES,
        "repeats": repeats,
        "one_worker_of_rlsd": "two processes: the caller and the worker",
        "cold": "from process start to its end, so with imports",
        "warm": f"in a process that has graded {len(chosen.warm_up)} other rows; no pair comes twice",
        "sides": rates,
        "mean_ms_by_part_warm": parts,
        "decided_in_the_caller": share,
    }


def _run(side: str, rows: Sequence[Row], warm_up: Sequence[Row]) -> Run:
    name, processes = SIDES[side]
    task = json.dumps([name, processes, [_pair(name, row) for row in warm_up], [_pair(name, row) for row in rows]])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=task,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=RUN_SECONDS,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(seconds, json.loads(done.stdout)[0], cpu, *json.loads(done.stdout)[1:])


def _pair(name: str, row: Row) -> Any:
    return row.for_peer() if name == BASE else [row.submission.response, row.gold]


def _rates(side: str, cold: dict[str, list[Run]], warm: dict[str, list[Run]], rows: int) -> dict[str, Any]:
    row_ms = sorted(1000 * seconds for run in warm[side] for seconds in run.row_seconds)
    return {
        "cold": _summary([rows / run.process_seconds for run in cold[side]]),
        "cold_ratio": _summary(
            [base.process_seconds / run.process_seconds for base, run in zip(cold[BASE], cold[side], strict=True)]
        ),
        "warm": _summary([rows / run.seconds for run in warm[side]]),
        "warm_ratio": _summary([base.seconds / run.seconds for base, run in zip(warm[BASE], warm[side], strict=True)]),
        "cold_cpu_ms": _summary([1000 * run.cpu_seconds / rows for run in cold[side]]),
        "row_ms": {f"p{p}": row_ms[max(0, math.ceil(p / 100 * len(row_ms)) - 1)] for p in (50, 90, 99)}
        | {"max": row_ms[-1]},
        "accepted": sorted({run.accepted for run in cold[side] + warm[side]}),
    }


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _spread(summary: dict[str, float], places: int) -> str:
    return f"{summary['median']:.{places}f} ({summary['low']:.{places}f}-{summary['high']:.{places}f})"


def _by_part(chosen: Mix, warm: dict[str, list[Run]]) -> dict[str, dict[str, float]]:
    """Mean milliseconds a row, by part of the mix, of each side in one process or with one worker."""
    return {
        side: {
            part: 1000
            * statistics.fmean(
                seconds
                for run in warm[side]
                for row, seconds in zip(chosen.rows, run.row_seconds, strict=True)
                if part_of(row) == part
            )
            for part in chosen.parts
        }
        for side, (_, processes) in SIDES.items()
        if processes == 1
    }


def _decided_by_the_caller(rows: Sequence[Row]) -> float:
    quick = [VERIFIERS[choose(row.submission)].quick for row in rows]
    return statistics.fmean(
        part is not None and part(row.submission, Leniency()) is not None for part, row in zip(quick, rows, strict=True)
    )
