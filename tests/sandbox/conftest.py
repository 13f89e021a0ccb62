"""Jails that many tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlsd_sandbox import Ended, Level, RefusedError, Sandbox, Settings

Run = Callable[..., Ended]
LEVELS = [Level.NAMESPACES, Level.BUBBLEWRAP, Level.LANDLOCK]


@pytest.fixture(scope="session")
def jails() -> Iterator[Callable[..., Sandbox]]:
    """`jails(level)`: the jail of that level, or a skip where it cannot be had."""
    made: dict[tuple[str, Settings], Sandbox] = {}

    def jail(level: str = "auto", **limits: object) -> Sandbox:
        settings = Settings(level=level, **limits)  # type: ignore[arg-type]
        if (level, settings) not in made:
            made[level, settings] = Sandbox(settings)
        try:
            made[level, settings].start()
        except RefusedError as error:
            pytest.skip(f"no jail can be had: {error}")
        return made[level, settings]

    yield jail
    for sandbox in made.values():
        sandbox.close()


@pytest.fixture(scope="session")
def jail(jails: Callable[..., Sandbox]) -> Sandbox:
    """The strongest jail there is, with small limits."""
    return jails(memory_mb=256, output_mb=1, scratch_mb=4)


@pytest.fixture(params=LEVELS)
def any_jail(request: pytest.FixtureRequest, jails: Callable[..., Sandbox]) -> Sandbox:
    """A jail of each level that can be had, with small limits."""
    return jails(str(request.param), memory_mb=256, output_mb=1, scratch_mb=4)


@pytest.fixture(scope="session")
def descendants() -> Callable[[int], list[int]]:
    """`descendants(pid)`: all that came from a process and are not reaped, parents before children."""

    def parent(process: Path) -> int:
        try:
            return int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return -1

    def find(pid: int) -> list[int]:
        parents = {int(path.name): parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
        found, new = [], [pid]
        while new:
            new = [child for child, above in parents.items() if above in new]
            found += new
        return found

    return find


@pytest.fixture
def zygote_of(descendants: Callable[[int], list[int]]) -> Callable[[Sandbox], int]:
    """`zygote_of(sandbox)`: the process identifier of its zygote, seen from outside: it has no child at rest."""

    def find(sandbox: Sandbox) -> int:
        sandbox.close()
        before = set(descendants(os.getpid()))
        sandbox.start()
        return next(pid for pid in reversed(descendants(os.getpid())) if pid not in before)

    return find
