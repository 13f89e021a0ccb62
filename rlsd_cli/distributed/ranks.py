"""How many processes a run has, and which of them this is, as `torchrun` tells each of them in its environment."""

import os


def num_processes() -> int:
    """Processes of this run, all machines together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_here() -> int:
    """Processes of this run on this machine, which share its cores and main memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_leader() -> bool:
    """True in the one process that talks and writes."""
    return os.environ.get("RANK", "0") == "0"
