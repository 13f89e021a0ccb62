"""Where the thought of a response ends."""

from collections.abc import Callable, Sequence

TAGS = ("</think>", "</thought>")


def thought_length(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> int:
    """Count the tokens up to and including the one that completes the last closing think tag; 0 when there is none."""

    def closings(count: int) -> int:
        text = decode(token_ids[:count])
        return sum(text.count(tag) for tag in TAGS)

    wanted = closings(len(token_ids))
    if not wanted:
        return 0
    low, high = 0, len(token_ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if closings(middle) >= wanted else (middle + 1, high)
    return low
