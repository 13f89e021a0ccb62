"""What both sides of a training leg measure of themselves. Standard library only: it runs in either environment."""

import time
from typing import Any, NamedTuple

from rlsd_cli.policy.meter import peak_bytes, resident_bytes


class Step(NamedTuple):
    """One optimiser step: its loss, the gradient norm before clipping, and what it took."""

    loss: float
    grad_norm: float
    seconds: float
    cpu_seconds: float


class Meter:
    """Times steps. `cpu_seconds` are those of all threads; memory is resident, in MiB.

    The base is what the process holds right before its first step: interpreter, libraries, weights.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.base_mib = 0.0
        self._started = (0.0, 0.0)

    def start(self) -> None:
        if not self.steps:
            self.base_mib = resident_bytes() / 2**20
        self._started = (time.perf_counter(), time.process_time())

    def stop(self) -> tuple[float, float]:
        """Wall and CPU seconds since `start`."""
        return time.perf_counter() - self._started[0], time.process_time() - self._started[1]

    def report(self, **details: Any) -> dict[str, Any]:
        """What the process prints; call it right after the last step, so that the peak is that of training."""
        memory = {"base_mib": self.base_mib, "peak_mib": peak_bytes() / 2**20}
        return {"steps": self.steps} | memory | details
