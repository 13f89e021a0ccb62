"""Memory: what is free, what a process has, and the most that it has had.

Of main memory the system is asked. Importing this loads the standard library alone, so that a program can measure
itself wherever it runs; torch is loaded for a GPU.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlsd_cli.distributed.ranks import processes_here

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


def resident_bytes(process: int | str = "self", proc: Path = PROC) -> int | None:
    """What a process has in main memory now. None where the system does not say."""
    return _bytes_of(proc / str(process) / "status", "VmRSS")


def peak_bytes(device: str = "cpu", process: int | str = "self", proc: Path = PROC) -> int | None:
    """The most so far: what torch has had on a GPU, else a process in main memory. None where nobody counts."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return _bytes_of(proc / str(process) / "status", "VmHWM")


def peak_mb(device: str, proc: Path = PROC) -> int | None:
    """`peak_bytes` of this process in MiB."""
    peak = peak_bytes(device, proc=proc)
    return None if peak is None else peak // 2**20


def forget_peak(device: str = "cpu") -> None:
    """Count `peak_bytes` of this process from now on."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    else:
        (PROC / "self" / "clear_refs").write_text("5", encoding="ascii")


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
    """A report of the kernel; empty where there is none, as of a process that has ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def samples_faster_in_bfloat16(proc: Path = PROC) -> bool:
    """Whether this processor multiplies bfloat16, so that a measurement is likely to choose it for sampling."""
    return any(flag in _read(proc / "cpuinfo") for flag in ("amx_bf16", "avx512_bf16"))
