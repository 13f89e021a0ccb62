"""Start-up: how long a command takes before it does anything, beside the bare interpreter.

    python benchmarks/bench_startup.py

Fresh processes, taking turns; median of the wall seconds with their range, and the ratio to `python -c pass`.
"""

import statistics
import subprocess
import sys
import time

from common import write

REPEATS = 9
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "rlsd --help": ["-m", "rlsd_cli.app", "--help"],
    "rlsd presets list": ["-m", "rlsd_cli.app", "presets", "list"],
    "rlsd train --dry-run": ["-m", "rlsd_cli.app", "train", "--dry-run"],
    "import torch, transformers": ["-c", "import torch, transformers"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        seconds(arguments)  # fills the disk cache
    for _ in range(REPEATS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    base = statistics.median(times["python -c pass"])
    print("command\tmedian s\trange\tratio")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name}\t{median:.3f}\t{min(values):.3f}-{max(values):.3f}\t{median / base:.1f}")
    write("startup", {"repeats": REPEATS, "seconds": times})


if __name__ == "__main__":
    main()
