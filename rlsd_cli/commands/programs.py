"""What commands say before the first program is run."""

from typing import TYPE_CHECKING

from rlsd_cli import console

if TYPE_CHECKING:
    from rlsd_cli.config.schema import Config


def announce_sandbox(config: "Config") -> None:
    """Put up the jail that programs will run in, once, and say what it is; raises RlsdError if it cannot be had."""
    from rlsd_cli.grading.jobs import require_sandbox

    name = require_sandbox(config)
    if name.startswith("UNSAFE"):
        console.warning(f"programs run without a jail (`sandbox.allow_unsafe`): {name}")
    else:
        console.talk(f"programs run behind {name}")
