"""The sandbox is started, and named, before the first program is run."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rlsd_cli import console
from rlsd_cli.config.schema import Config
from rlsd_cli.grading.jobs import require_sandbox

Item = TypeVar("Item")


def with_sandbox(items: Iterable[Item], holds_program: Callable[[Item], bool], config: Config) -> Iterator[Item]:
    """Pass items on; before the first that holds a program, make sure that programs can be run.

    Raises:
        RlsdError: they cannot (exit code 3).
    """
    announced = False
    for item in items:
        if not announced and holds_program(item):
            _announce(config)
            announced = True
        yield item


def _announce(config: Config) -> None:
    name = require_sandbox(config)
    if name.startswith("UNSAFE"):
        console.warning(f"programs run without a sandbox (`sandbox.allow_unsafe`): {name}")
    else:
        console.talk(f"programs run in a sandbox: {name}")
