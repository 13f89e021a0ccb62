"""Programs nobody trusts, run where they can do no harm and learn nothing. Linux, standard library only.

Nothing here knows what a program is tested for: inputs go in, values come out, and they are compared elsewhere.
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
