"""Memory that is free, and the most that this process has had. On a CPU the system is asked and torch is not loaded."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlsd_cli.policy.memory_parts import MB

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""One of these is there where a GPU may be: the drivers of NVIDIA and AMD, and that of Linux within Windows."""


class CgroupFiles(NamedTuple):
    """What a version of control groups calls a group's limit, what is used, and how much of that is a mere cache."""

    limit: str
    used: str
    cache: str


VERSION_1 = CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = CgroupFiles("memory.max", "memory.current", "inactive_file")


def num_processes() -> int:
    """Of this run, all machines together, as `torchrun` says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_type(name: str) -> str:
    """`cpu` or `cuda`, for a `device` of the config. torch is asked only where there may be a GPU."""
    if name == "cpu" or (name == "auto" and not any(Path(driver).exists() for driver in GPU_DRIVERS)):
        return "cpu"
    from rlsd_cli.policy.model import choose_device

    return choose_device(name).type


def free_bytes(device: str, proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """What a process of a run may still take: of a GPU's memory (`cuda`, `cuda:1`), else its share of main memory
    and of the limits on that. None where the system does not say."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    known = [_bytes_of(proc / "meminfo", "MemAvailable"), *_left_by_limits(proc, cgroups)]
    return min((count // processes_here() for count in known if count is not None), default=None)


def processes_here() -> int:
    """Processes of this run on this machine, which share its cores and main memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def peak_mb(device: str, proc: Path = PROC) -> int | None:
    """The most so far, MiB: what torch has had on a GPU, else this process in main memory. None where nobody counts."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device)) // MB
    peak = _bytes_of(proc / "self" / "status", "VmHWM")
    return None if peak is None else peak // MB


def _bytes_of(path: Path, field: str) -> int | None:
    """A field that the kernel gives in kB."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", _read(path), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def _left_by_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """What each limit on a control group of this process, or on one around it, leaves."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        number, controllers, name = line.split(":", 2)
        if number == "0":
            files, root = VERSION_2, cgroups
        elif "memory" in controllers.split(","):
            files, root = VERSION_1, cgroups / "memory"
        else:
            continue
        own = root / name.lstrip("/")
        for folder in (own, *own.parents):
            limit = _read(folder / files.limit).strip()
            if limit.isdigit():
                cache = re.search(rf"^{files.cache} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                yield int(limit) - int(_read(folder / files.used)) + (int(cache[1]) if cache else 0)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def samples_faster_in_bfloat16(proc: Path = PROC) -> bool:
    """Whether this processor multiplies bfloat16, so that a measurement is likely to choose it for sampling."""
    return any(flag in _read(proc / "cpuinfo") for flag in ("amx_bf16", "avx512_bf16"))
