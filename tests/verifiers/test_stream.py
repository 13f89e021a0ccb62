"""The stream of verdicts: order, bounds, what is given while nothing is there, and what is broken off."""

import itertools
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Timer

import pytest

from rlsd_verifiers import Outcome, Verdict
from rlsd_verifiers.stream import Pending, Stream

VERDICT = Verdict(Outcome.CORRECT, 1.0, None, "")


def begin(name: object, verdicts: int = 1, size: int = 1) -> Pending[object]:
    return Pending(name, [Future() for _ in range(verdicts)], size)


def finish(pending: Pending[object]) -> None:
    for verdict in pending.verdicts:
        verdict.set_result(VERDICT)


def test_items_come_in_the_order_of_their_source_each_once_all_its_verdicts_are_there() -> None:
    items = [begin("two", verdicts=2), begin("none", verdicts=0), begin("one")]
    stream = iter(Stream(items, 9, 9, idle_seconds=0.001))
    finish(items[2])
    items[0].verdicts[1].set_result(VERDICT)
    assert next(stream) is None
    items[0].verdicts[0].set_result(VERDICT)
    assert list(stream) == ["two", "none", "one"]


@pytest.mark.parametrize(("bounds", "most"), [((3, 99), 3), ((99, 10), 4)], ids=["items", "sizes"])
def test_no_more_of_the_source_is_read_than_the_bounds_allow(bounds: tuple[int, int], most: int) -> None:
    begun: list[Pending[object]] = []

    def source() -> Iterator[Pending[object]]:
        for name in itertools.count():
            begun.append(begin(name, size=3))
            yield begun[-1]

    stream = iter(Stream(source(), *bounds, idle_seconds=0.001))
    for name in range(20):
        assert next(stream) is None
        assert len(begun) == name + most
        finish(begun[name])
        assert next(stream) == name
        assert len(begun) == name + most


def test_none_in_the_source_is_passed_on_while_others_wait() -> None:
    slow = begin("slow")
    stream = iter(Stream([slow, None, None], 9, 9))
    assert [next(stream), next(stream)] == [None, None]
    finish(slow)
    assert list(stream) == ["slow"]


def test_without_an_idle_time_iterating_waits() -> None:
    slow = begin("slow")
    Timer(0.2, finish, [slow]).start()
    assert list(Stream([slow], 9, 9)) == ["slow"]


def test_what_is_broken_off_gives_what_is_done_and_cancels_the_rest() -> None:
    items = [begin(name) for name in range(4)]
    stream = Stream(items, 9, 9, idle_seconds=0.001)
    assert next(iter(stream)) is None
    finish(items[0])
    finish(items[2])
    assert list(stream.finished()) == [0]
    stream.cancel()
    assert [item.verdicts[0].cancelled() for item in items] == [False, True, False, True]
