"""Learning on the embedded default: every method from the same weights, several seeds, held-out greedy accuracy.

    python benchmarks/quickstart/bench.py --seeds 5

Each run is a fresh process. Methods take turns within a seed. The interval of a method is Student's over its
seeds; that of a difference to `rlvr` is over the pairs with the same seed.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import write

METHODS = ("rlvr", "rlsd", "opsd")
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""97.5 % quantile of Student's t, by number of seeds."""


def run(method: str, seed: int, root: Path) -> dict[str, Any]:
    """One run, with its accuracy and leakage at every evaluation."""
    command = [sys.executable, "-m", "rlsd_cli.app", "--root", str(root), "train", "--mode", method, f"seed={seed}"]
    done = subprocess.run([*command, "--json", "--quiet"], check=True, capture_output=True, text=True)
    summary: dict[str, Any] = json.loads(done.stdout)
    curve = {}
    for path in sorted(Path(summary["run"]).glob("evals/*/*/summary.json")):
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        curve[int(path.parent.name)] = {"accuracy": evaluation["mean"], "leakage": evaluation["leakage_rate"]}
    return {"method": method, "seed": seed, "seconds": summary["seconds"], "curve": curve}


def interval(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    reach = T_975[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} ± {reach:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11))
    seeds = parser.parse_args().seeds
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            runs += [run(method, seed, Path(folder)) for method in METHODS]
    steps = sorted(runs[0]["curve"])
    print("method\t" + "\t".join(f"step {step}" for step in steps) + "\tminus rlvr\tleakage\tseconds")
    final = {(row["method"], row["seed"]): row["curve"][steps[-1]]["accuracy"] for row in runs}
    for method in METHODS:
        rows = [row for row in runs if row["method"] == method]
        cells = [interval([row["curve"][step]["accuracy"] for row in rows]) for step in steps]
        cells.append(interval([final[method, seed] - final["rlvr", seed] for seed in range(seeds)]))
        cells.append(interval([row["curve"][steps[-1]]["leakage"] for row in rows]))
        cells.append(f"{statistics.median(row['seconds'] for row in rows):.0f}")
        print("\t".join([method, *cells]))
    write("quickstart", {"seeds": seeds, "runs": runs})


if __name__ == "__main__":
    main()
