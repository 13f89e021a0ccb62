"""The parts of a response's score that need no verifier, and their sum."""

from collections.abc import Mapping


def total(parts: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The score of a response.

    score = sum over names of   weights[name] * parts[name]
    """
    return sum(weight * parts[name] for name, weight in weights.items())


def overlong(num_tokens: int, limit: int, buffer: int) -> float:
    """The soft overlong punishment of DAPO (arXiv 2503.14476, Eq. 13): 0 up to `limit - buffer` tokens, then falling
    linearly to -1 at `limit`.

    overlong = min(0, max(-1, (limit - buffer - num_tokens) / buffer))
    """
    return min(0.0, max(-1.0, (limit - buffer - num_tokens) / buffer))
