"""How many processes a run has, as `torchrun` tells each of them in its environment."""

import os


def num_processes() -> int:
    """Processes of this run, all machines together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_here() -> int:
    """Processes of this run on this machine, which share its cores and main memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
