"""The jails of this process: one for programs and one for tests, which never meet."""

import atexit
import os
from typing import NamedTuple

from rlsd_sandbox import Sandbox, Settings

_sandboxes: dict[tuple[Settings, str], Sandbox] = {}


class Jails(NamedTuple):
    """The jails with these settings. Each is put up when first needed and lives as long as the process."""

    settings: Settings

    @property
    def program(self) -> Sandbox:
        """The jail of the program."""
        return self._jail("program")

    @property
    def tests(self) -> Sandbox:
        """The jail of tests that are programs themselves."""
        return self._jail("tests")

    def _jail(self, role: str) -> Sandbox:
        if (self.settings, role) not in _sandboxes:
            _sandboxes[self.settings, role] = Sandbox(self.settings)
        return _sandboxes[self.settings, role]


def close() -> None:
    """Take down the jails of this process; they come up again when needed."""
    while _sandboxes:
        _sandboxes.popitem()[1].close()


def _forget() -> None:
    while _sandboxes:
        _sandboxes.popitem()[1].forget()


atexit.register(close)
os.register_at_fork(after_in_child=_forget)
