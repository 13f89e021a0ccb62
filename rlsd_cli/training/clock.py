"""Where the seconds of a step go."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Wall seconds by name: `with clock("rollout"): ...`."""

    def __init__(self) -> None:
        self.seconds = {"rollout": 0.0, "verify": 0.0, "teacher": 0.0, "update": 0.0}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started
