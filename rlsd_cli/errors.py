"""Failures: a message, a hint, an exit code.

| code | meaning |
|--:|---|
| 0 | done, or already done |
| 1 | it ran and the answer is no |
| 2 | you asked for something impossible (usage, unknown key, bad file) |
| 3 | the machine cannot (no GPU, missing package, model not found) |
| 4 | the run directory is in use or belongs to another config |
| 130, 143 | interrupted; the state is saved and the same command continues |
"""

import difflib
import errno
from collections.abc import Iterable

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_MACHINE = 3
EXIT_BUSY = 4


class RlsdError(Exception):
    """A failure the user can act on: what went wrong, where from, and what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def of_the_machine(error: BaseException) -> RlsdError | None:
    """What to say of an error that is the machine's, a full disk or too little memory; None for any other."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        hint = "lower `optim.tokens_per_microbatch` or `rollout.batch_size`"
        return RlsdError(f"out of memory: {error}".removesuffix(": "), hint=hint, exit_code=EXIT_MACHINE)
    if is_full_disk(error):
        hint = "make room there; the same command continues"
        return RlsdError(f"the disk is full: {first_line(error)}", hint=hint, exit_code=EXIT_MACHINE)
    return None


def is_full_disk(error: BaseException | None) -> bool:
    """True for a full disk, also where another error was raised from that."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def first_line(error: BaseException) -> str:
    """What another library's error says, in a line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The hint that names the closest known words, or None when nothing is close."""
    candidates = sorted(set(known))
    close = difflib.get_close_matches(word, candidates, n=3, cutoff=0.55)
    close = close or [name for name in candidates if name.rsplit(".", 1)[-1] == word][:3]
    return "did you mean " + " or ".join(f"`{name}`" for name in close) + "?" if close else None
