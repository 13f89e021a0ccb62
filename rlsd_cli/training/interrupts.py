"""Ctrl-C and SIGTERM, never in the middle of an update."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """A signal asked the run to stop. `exit_code` is 128 + signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class Interrupts:
    """Turns the first SIGINT or SIGTERM into `Interrupted`: at once, or on `release` while they are held.

    Weights change only while interrupts are held, so the state that is saved on the way out is that of a finished step.
    A second signal stops the process as it always would, unless whoever sends them sends several, as `torchrun` does.
    """

    def __init__(self, *, repeated: bool = False) -> None:
        self.held = False
        self._later = signal.SIG_IGN if repeated else signal.SIG_DFL
        self._pending: int | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def hold(self) -> None:
        """Put signals off until `release`."""
        self.held = True

    def release(self) -> None:
        """Let signals through again; raises `Interrupted` if one came."""
        self.held = False
        if self._pending is not None:
            raise Interrupted(self._pending)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, self._later)
        if self.held:
            self._pending = number
        else:
            raise Interrupted(number)
