"""Signals that end a command with a word and a code."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from rlsd_cli import console

if TYPE_CHECKING:
    from rlsd_cli.interrupts import Interrupts


@contextlib.contextmanager
def interruptible(state: Callable[[], str]) -> Iterator["Interrupts"]:
    """On SIGINT or SIGTERM say `interrupted` and how things stand, and end with the code of the signal."""
    from rlsd_cli.interrupts import Interrupted, Interrupts

    interrupts = Interrupts()
    with interrupts.installed():
        try:
            yield interrupts
        except Interrupted as interrupt:
            console.say(f"interrupted {state()}")
            raise typer.Exit(interrupt.exit_code) from None
