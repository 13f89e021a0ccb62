"""What every leg shares: where things lie, the environment it ran in, and where its result goes."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHARED = ROOT.parent / "shared"
"""Rows and configurations that are not part of the repository."""


def environment() -> dict[str, Any]:
    """Versions and machine, for the result file."""
    versions = {name: metadata.version(name) for name in ("rlsd", "torch", "transformers", "typer", "pydantic")}
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    flags = next((line.split(":", 1)[1].split() for line in _cpuinfo() if line.startswith("flags")), [])
    return {
        "python": platform.python_version(),
        "packages": versions,
        "cpu": model,
        "cpus": os.cpu_count(),
        "cpu_flags": sorted(flag for flag in flags if flag.startswith(("avx", "amx", "fma"))),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def write(leg: str, result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{leg}.json"
    path.write_text(json.dumps({"environment": environment()} | result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")
