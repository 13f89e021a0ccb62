"""What is read of memory from the system: what is free, what a process has, and its peak."""

import subprocess
import sys
from pathlib import Path

import pytest

from rlsd_cli.policy.meter import free_bytes, peak_bytes, peak_mb, resident_bytes

ROOT = Path(__file__).resolve().parents[2]


def system(root: Path, groups: str, **files: str) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup with 4 GiB available."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    4194304 kB\n", encoding="utf-8")
    (proc / "self" / "cgroup").write_text(groups, encoding="utf-8")
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return proc, cgroups


def test_free_is_what_the_machine_and_every_limit_leave(tmp_path: Path) -> None:
    limit = {
        "a/memory.max": f"{3 * 2**30}\n",
        "a/memory.current": f"{2**30}\n",
        "a/memory.stat": f"inactive_file {2**29}\n",
    }
    own = {"a/b/memory.max": "max\n", "a/b/memory.current": "5\n"}
    assert free_bytes("cpu", *system(tmp_path / "none", "0::/\n")) == 4 * 2**30
    assert free_bytes("cpu", *system(tmp_path / "two", "0::/a/b\n", **limit, **own)) == 2.5 * 2**30
    old = {"memory/memory.limit_in_bytes": f"{2**30}", "memory/memory.usage_in_bytes": f"{2**29}"}
    groups = "5:cpu:/x\n4:memory:/elsewhere/x\n0::/\n"
    assert free_bytes("cpu", *system(tmp_path / "one", groups, **old)) == 2**29
    assert free_bytes("cpu", tmp_path / "nowhere", tmp_path) is None


def test_what_a_process_has_and_its_peak_are_read_from_the_kernel(tmp_path: Path) -> None:
    for process, peak in (("self", 524288), ("7", 2048)):
        (tmp_path / process).mkdir()
        status = f"Name:\t\xff\nVmPeak:\t 99 kB\nVmHWM:\t  {peak} kB\nVmRSS:\t 1024 kB\n"
        (tmp_path / process / "status").write_bytes(status.encode("latin-1"))
    assert peak_bytes("cpu", proc=tmp_path) == 2**29
    assert peak_mb("cpu", tmp_path) == 512
    assert peak_bytes("cpu", 7, tmp_path) == 2**21
    assert resident_bytes(proc=tmp_path) == resident_bytes(7, tmp_path) == 2**20
    assert peak_mb("cpu", tmp_path / "nowhere") is None
    assert resident_bytes(8, tmp_path) is None


MEASURES_ITSELF = """
from rlsd_cli.policy.meter import forget_peak, peak_bytes, resident_bytes
block = b"x" * 2**27
before = peak_bytes()
del block
forget_peak()
print(before, peak_bytes(), resident_bytes())
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts peaks anew")
def test_a_program_without_any_other_package_can_measure_its_peak_and_have_it_counted_anew() -> None:
    command = [sys.executable, "-S", "-c", MEASURES_ITSELF]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={})
    assert done.returncode == 0, done.stderr
    before, peak, resident = map(int, done.stdout.split())
    assert 2**27 < before < 2**27 + 2**26
    assert resident - 2**20 < peak < resident + 2**22
