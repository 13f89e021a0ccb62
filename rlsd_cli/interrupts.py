"""Ctrl-C and SIGTERM, never in the middle of an update."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTED = (130, 143)
"""Exit codes of what SIGINT and SIGTERM have ended: 128 and the number of the signal."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop. `exit_code` is 128 + signal.

    Of what a signal handler may raise, an event loop lets only KeyboardInterrupt through.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class Interrupts:
    """Turns the first SIGINT or SIGTERM into `Interrupted`: at once, or on `release` while they are held.

    Weights change only while interrupts are held, so the state that is saved on the way out is that of a finished step.
    A second signal stops the process as it always would, unless whoever sends them sends several, as `torchrun` does.
    Processes that `agree` hold interrupts at all times and stop together, at the same `release`: they are given what
    came to each, and all return the same.
    """

    def __init__(self, *, repeated: bool = False, agree: Callable[[int | None], int | None] | None = None) -> None:
        self._agree = agree
        self.held = agree is not None
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
        signal_number = self._agree(self._pending) if self._agree else self._pending
        self.held = self._agree is not None and signal_number is None
        if signal_number is not None:
            raise Interrupted(signal_number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, self._later)
        if self.held:
            self._pending = number
        else:
            raise Interrupted(number)


def die_of(number: int) -> None:
    """End this process by a signal, as if nobody had caught it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
