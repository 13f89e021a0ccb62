"""rlsd: train reasoning models with verifiable rewards (RLVR, OPSD, RLSD) from a shell."""

__version__ = "0.1.0"
