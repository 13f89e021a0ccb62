"""Numbers that change with the step. Steps count from 1."""

import math
from typing import Literal, assert_never


def warmup_decay(
    step: int, *, initial: float, warmup_steps: int = 0, decay_steps: int = 0, first_index: int = 1
) -> float:
    """A number that rises linearly from 0 and then falls linearly to 0.

        index = step - 1 + first_index
        value = initial * index / warmup_steps                                  while index < warmup_steps
        value = initial * max(1 - (index - warmup_steps) / decay_steps, 0)      from then on

    With ``first_index=1`` step 1 without a warm-up already has ``1 - 1 / decay_steps`` of it; with 0 step 1 has all of
    ``initial``.

    Args:
        step: Training step, from 1.
        initial: Value before the decay.
        warmup_steps: Steps of linear rise from 0.
        decay_steps: Steps of linear fall to 0; 0 for no decay.
        first_index: What the first step counts as, 0 or 1.

    Returns:
        The value at this step, in [0, initial].
    """
    index = step - 1 + first_index
    if index < warmup_steps:
        return initial * index / warmup_steps
    if decay_steps > 0:
        return initial * max(1 - (index - warmup_steps) / decay_steps, 0.0)
    return initial


def learning_rate_scale(
    step: int, *, schedule: Literal["constant", "linear", "cosine"], warmup_steps: int, total_steps: int
) -> float:
    """The share of the peak learning rate that a step gets.

        scale    = step / warmup_steps                          while step < warmup_steps
        peak     = max(warmup_steps, 1)
        progress = (step - peak) / (total_steps - peak + 1)
        scale    = 1,  1 - progress  or  (1 + cos(pi * progress)) / 2     by schedule, from then on

    The peak is reached at step ``warmup_steps``, or at step 1 without a warm-up; 0 would be reached one step after the
    last.

    Args:
        step: Training step, from 1.
        schedule: Shape after the warm-up.
        warmup_steps: Steps of linear rise.
        total_steps: The last step.

    Returns:
        Factor in [0, 1].
    """
    if step < warmup_steps:
        return step / warmup_steps
    peak = max(warmup_steps, 1)
    progress = min((step - peak) / max(total_steps - peak + 1, 1), 1.0)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 - progress
        case "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        case _:
            assert_never(schedule)
