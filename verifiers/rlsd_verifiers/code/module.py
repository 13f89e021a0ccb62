"""A program as a module in a jail, whose functions are called from here."""

import secrets
from typing import Any

from rlsd_sandbox import End, OverError, Running, Sandbox
from rlsd_verifiers.code.finding import DecidedError, exit_words, limit_exceeded, raised_error
from rlsd_verifiers.verdict import Outcome


class JailedModule:
    """A module whose functions answer under the number of the call."""

    def __init__(self, running: Running, jail: Sandbox) -> None:
        self.running = running
        self.jail = jail
        self._where = "while it was loaded"

    def load(self) -> None:
        """Wait until the module is loaded.

        Raises:
            DecidedError: loading it raised an exception, or did not end.
        """
        reply = self.ask({})
        if "raised" in reply:
            raise raised_error(reply["raised"], self._where, loading=True)

    def call(self, function: str, args: Any, kwargs: Any, *, back: bool = False) -> dict[str, Any]:
        """The reply to a call with encoded arguments: `value`, `raised`, `missing` or `unplain`."""
        self._where = f"in `{function}`"
        request = {"call": function, "args": args, "kwargs": kwargs}
        return self.ask(request | {"back": True} if back else request)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request under a new number, and return the reply under that number."""
        number = secrets.token_hex(16)
        self.running.tell({"id": number} | request)
        return self.hear(number)

    def hear(self, number: str) -> dict[str, Any]:
        """The reply under a number.

        Raises:
            DecidedError: it ended instead, or wrote something else.
        """
        try:
            reply = self.running.hear()
        except OverError as over:
            raise self._ended_early(over.end) from None
        if not self.running.seconds_left:
            raise self._ended_early(End.TIMEOUT)
        if reply.get("id") != number or self.running.has_more:
            raise DecidedError(Outcome.WRONG, f"it wrote into the channel of results {self._where}")
        return reply

    def _ended_early(self, end: End) -> DecidedError:
        """The failure of a program that ended before it answered."""
        settings, ended = self.jail.settings, self.running.end()
        end = ended.end if ended.end is not End.EXITED else end
        if end is End.TIMEOUT:
            return DecidedError(Outcome.TIMEOUT, f"it took more than {settings.timeout_seconds:g} s {self._where}")
        words = f"it ended with {exit_words(ended)} {self._where}"
        return DecidedError(*limit_exceeded(end, settings) or (Outcome.WRONG, words))
