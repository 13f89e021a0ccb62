"""Start-up: how long a command takes before it does anything, beside the bare interpreter; and until it has trained.

    python benchmarks/startup/bench.py

Fresh processes, taking turns; median of the wall seconds with their range, and the ratio to `python -c pass`. The first
optimiser step is the first line of `metrics.jsonl`, with the first evaluation and without it; the measurement of the
machine is already in the cache, as it is from the second run on.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.common import write

REPEATS = 9
STEPS_REPEATS = 5
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "rlsd --help": ["-m", "rlsd_cli.app", "--help"],
    "rlsd presets list": ["-m", "rlsd_cli.app", "presets", "list"],
    "rlsd train --dry-run": ["-m", "rlsd_cli.app", "train", "--dry-run"],
    "import torch, transformers": ["-c", "import torch, transformers"],
}
TRAINING = {
    "rlsd train quickstart: first optimiser step": [],
    "the same, evaluation.problems=1": ["evaluation.problems=1"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def seconds_to_first_step(overrides: list[str]) -> float:
    """From the start of the process until the first step is recorded; then it is interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rlsd_cli.app", "--root", folder, "train", "quickstart", "-q", *overrides]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not any(path.stat().st_size for path in Path(folder).glob("*/metrics.jsonl")):
                if process.poll() is not None:
                    raise RuntimeError(f"`{' '.join(command)}` ended with {process.returncode} before its first step")
                time.sleep(0.01)
            taken = time.perf_counter() - started
            process.send_signal(signal.SIGINT)
    return taken


def take_turns(works: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()  # fills the disk cache
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(work())
    return times


def main() -> None:
    commands = {name: partial(seconds, arguments) for name, arguments in COMMANDS.items()}
    training = {name: partial(seconds_to_first_step, overrides) for name, overrides in TRAINING.items()}
    times = take_turns(commands, REPEATS) | take_turns(training, STEPS_REPEATS)
    base = statistics.median(times["python -c pass"])
    print("command\tmedian s\trange\tratio")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name}\t{median:.3f}\t{min(values):.3f}-{max(values):.3f}\t{median / base:.1f}")
    write("startup", {"repeats": REPEATS, "step_repeats": STEPS_REPEATS, "seconds": times})


if __name__ == "__main__":
    main()
