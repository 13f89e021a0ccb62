"""Items that wait for verdicts, given back in the order in which they came, with a bounded number of them under way."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Generic, NamedTuple, TypeVar

from rlsd_verifiers.verdict import Verdict

T = TypeVar("T")

IDLE_SECONDS = 0.05
"""How long a caller that has other things to look after waits for a verdict."""


class Pending(NamedTuple, Generic[T]):
    """An item, the verdicts that it waits for, and its size in the unit of the stream's bound."""

    item: T
    verdicts: Sequence[Future[Verdict]]
    size: int


class Stream(Generic[T]):
    """Iterates over the items of a source, in order, each once all its verdicts are there.

    The source is read as its items are needed: while one can be given none is read, and none while `max_items` of them
    or `max_size` of their sizes together are under way. So memory does not grow with the source.

    None in the source is passed on. With `idle_seconds` there is also a None whenever that long nothing could be given,
    so that the caller can look after other things; without it iterating waits.
    """

    def __init__(
        self,
        source: Iterable[Pending[T] | None],
        max_items: int,
        max_size: int,
        idle_seconds: float | None = None,
    ) -> None:
        self._source = source
        self._max_items = max_items
        self._max_size = max_size
        self._idle_seconds = idle_seconds
        self._waiting: deque[Pending[T]] = deque()
        self._size = 0

    def __iter__(self) -> Iterator[T | None]:
        for pending in self._source:
            if pending is None:
                yield None
            else:
                self._waiting.append(pending)
                self._size += pending.size
            yield from self.finished()
            while self._waiting and (len(self._waiting) >= self._max_items or self._size >= self._max_size):
                yield from self._next()
        while self._waiting:
            yield from self._next()

    def finished(self) -> Iterator[T]:
        """Give what can be given at once; for what is broken off, too."""
        while self._waiting and all(verdict.done() for verdict in self._waiting[0].verdicts):
            item, _, size = self._waiting.popleft()
            self._size -= size
            yield item

    def cancel(self) -> None:
        """Ask for no more verdicts that no worker has begun."""
        for pending in self._waiting:
            for verdict in pending.verdicts:
                verdict.cancel()

    def _next(self) -> Iterator[T | None]:
        if wait(self._waiting[0].verdicts, self._idle_seconds).not_done:
            yield None
        else:
            yield from self.finished()
