"""Many lengths in three numbers."""

from collections.abc import Mapping


def quantiles(counts: Mapping[int, int]) -> dict[str, int]:
    """The median, the 99th percentile and the maximum: the smallest value that so many of the values do not exceed."""
    total = sum(counts.values())
    wanted = {"median": 0.5, "p99": 0.99, "max": 1.0}
    found: dict[str, int] = {}
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        for name, share in wanted.items():
            if name not in found and seen >= share * total:
                found[name] = value
    return found
