"""What a run of tests found, and the words for how a program ended."""

import signal
from typing import Any, NamedTuple

from rlsd_sandbox import End, Ended, Settings
from rlsd_verifiers.verdict import Outcome, shorten


class Finding(NamedTuple):
    """How the tests of a program ended, and why; `weak` where the program could have forged it."""

    outcome: Outcome
    reason: str
    weak: bool = False


class DecidedError(Exception):
    """The program has failed, and the tests that are left need not run."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.finding = Finding(outcome, reason)


def all_passed(number: int) -> Finding:
    """The finding where all of so many tests pass."""
    return Finding(Outcome.CORRECT, f"it passes {number} test{'s' if number > 1 else ''}")


def raised_error(description: Any, where: str, *, loading: bool = False) -> DecidedError:
    """The failure of a program whose function, or loading, raised an exception."""
    kind, message = (str(part) for part in [*(description if isinstance(description, list) else []), "", ""][:2])
    if kind == "MemoryError":
        return DecidedError(Outcome.MEMORY, f"it ran out of memory {where}")
    is_unreadable = loading and kind in ("SyntaxError", "IndentationError", "TabError", "UnicodeEncodeError")
    outcome = Outcome.UNPARSEABLE if is_unreadable else Outcome.WRONG
    return DecidedError(outcome, f"{shorten(f'{kind}: {message}'.removesuffix(': '), 120)} {where}")


def limit_exceeded(end: End, settings: Settings) -> tuple[Outcome, str] | None:
    """The outcome and the reason where a program ended at a limit, else None."""
    limits = {
        End.TIMEOUT: (Outcome.TIMEOUT, f"it took more than {settings.timeout_seconds:g} s"),
        End.MEMORY: (Outcome.MEMORY, f"it took more than {settings.memory_mb} MB"),
        End.OUTPUT: (Outcome.OUTPUT_LIMIT, f"it printed more than {settings.output_mb} MB"),
        End.SCRATCH: (Outcome.WRONG, f"it wrote files of more than {settings.scratch_mb} MB"),
    }
    return limits.get(end)


def exit_words(ended: Ended) -> str:
    """`exit status 3`, `SIGKILL`."""
    if ended.status >= 0:
        return f"exit status {ended.status}"
    names = {number.value: number.name for number in signal.Signals}
    return names.get(-ended.status, f"signal {-ended.status}")
