"""A sandbox for untrusted programs, which can harm nothing there and read no secret. Linux, standard library only.

What a program is tested for is not known here: inputs go in, values come out, and they are compared elsewhere.
"""

from rlsd_sandbox.running import End, Ended, OverError, Running
from rlsd_sandbox.sandbox import RefusedError, Sandbox, SandboxError
from rlsd_sandbox.settings import AUTO, Level, Settings

__all__ = [
    "AUTO",
    "End",
    "Ended",
    "Level",
    "OverError",
    "RefusedError",
    "Running",
    "Sandbox",
    "SandboxError",
    "Settings",
]
