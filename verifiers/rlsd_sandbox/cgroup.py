"""Control groups: the kernel's count of the memory and the processes of a whole jail, and its limit on both."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PREFIX = "rlsd-sandbox-"
_MOUNTS, _OWN = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")


class Cgroup(NamedTuple):
    """The folders of one group: one of version 2, or one a controller of version 1."""

    version: int
    memory: Path
    pids: Path

    def join(self, pid: int) -> None:
        """Move a process in. What it starts from then on is in the group too."""
        for folder in dict.fromkeys((self.memory, self.pids)):
            (folder / "cgroup.procs").write_text(str(pid))

    def num_killed(self) -> int:
        """How many processes the kernel has killed because the group was over its memory."""
        report = self.memory / ("memory.events" if self.version == 2 else "memory.oom_control")
        found = re.search(r"^oom_kill (\d+)", report.read_text(), re.MULTILINE)
        return int(found[1]) if found else 0

    def remove(self) -> None:
        """Remove the group once the last of its processes has ended, which may take a moment."""
        for folder in dict.fromkeys((self.memory, self.pids)):
            for _ in range(200):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.005)
                else:
                    break


def create(memory_mb: int, processes: int) -> Cgroup | None:
    """A new group with limits, or None where this process may not make one."""
    name = f"{_PREFIX}{os.getpid()}-{time.monotonic_ns():x}"
    for version, memory, pids in _places():
        group = Cgroup(version, memory / name, pids / name)
        try:
            for folder in dict.fromkeys((group.memory, group.pids)):
                folder.mkdir()
            _limit(group, memory_mb * 2**20, processes)
        except OSError:
            group.remove()
        else:
            _sweep(memory, pids)
            return group
    return None


def _limit(group: Cgroup, memory: int, processes: int) -> None:
    if group.version == 1:
        (group.memory / "memory.limit_in_bytes").write_text(str(memory))
    else:
        (group.memory / "memory.max").write_text(str(memory))
        with suppress(FileNotFoundError):
            (group.memory / "memory.swap.max").write_text("0")
    (group.pids / "pids.max").write_text(str(processes))


def _places() -> Iterator[tuple[int, Path, Path]]:
    """Where a group may be made: below or beside the own group of version 2, or below the own ones of version 1."""
    mounts, own = _mounts(), _own_groups()
    if "" in mounts and "" in own:
        here = mounts[""] / own[""]
        for parent in (here, here.parent):
            with suppress(OSError):
                if {"memory", "pids"} <= set((parent / "cgroup.controllers").read_text().split()):
                    with suppress(OSError):
                        (parent / "cgroup.subtree_control").write_text("+memory +pids")
                    yield 2, parent, parent
    if {"memory", "pids"} <= set(mounts) & set(own):
        yield 1, mounts["memory"] / own["memory"], mounts["pids"] / own["pids"]


def _mounts() -> dict[str, Path]:
    """Where each controller of version 1 is mounted, and version 2 under the empty name."""
    found = {}
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        if kind == "cgroup2":
            found[""] = Path(before.split(" ")[4])
        elif kind == "cgroup":
            found |= dict.fromkeys(options.split(","), Path(before.split(" ")[4]))
    return found


def _own_groups() -> dict[str, str]:
    """The group of this process for each controller, relative to its mount."""
    lines = (line.split(":", 2) for line in _OWN.read_text().splitlines())
    return {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}


def _sweep(*parents: Path) -> None:
    """Remove the groups of processes that were killed before they could."""
    for parent in dict.fromkeys(parents):
        for folder in parent.glob(f"{_PREFIX}*"):
            owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if not Path(f"/proc/{owner}").exists():
                with suppress(OSError):
                    folder.rmdir()
