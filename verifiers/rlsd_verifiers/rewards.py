"""Reward functions: a number for a response, or one for each response of a group.

They are called in the worker processes of a `Pool`, like verifiers, and what they return is checked there.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from rlsd_verifiers.verdict import Submission, Verdict

GROUP = "submissions"
"""The name of the first parameter of a function that is given all responses of a group at once."""

LARGEST = 1e6
"""The largest reward, in size: sums and squares of rewards must fit into float32."""

MARK = "reward "
"""What a worker knows the path of a reward function by, which may be that of a verifier, too."""

MATCHES = "rlsd_verifiers.rewards:matches"


class Call(NamedTuple):
    """A reward function, and the responses that it is to be called with.

    function: its import path
    submissions: one response, or those of a group where `takes_group`
    options: keyword arguments, JSON values
    """

    function: str
    submissions: tuple[Submission, ...]
    options: Mapping[str, Any] = {}

    @property
    def path(self) -> str:
        """The function as a worker knows it."""
        return MARK + self.function


def in_words(path: str) -> str:
    """A function as a worker knows it, in a sentence."""
    return f"the reward function `{path.removeprefix(MARK)}`" if path.startswith(MARK) else f"the verifier `{path}`"


def takes_group(function: Callable[..., Any]) -> bool:
    """True where a function is called once for all responses of a group: its first parameter is named `submissions`."""
    try:
        return next(iter(inspect.signature(function).parameters), None) == GROUP
    except (TypeError, ValueError):
        return False


def matches(submission: Submission, pattern: str) -> float:
    """1 where the regular expression matches the whole response, else 0."""
    return float(re.fullmatch(pattern, submission.response) is not None)


def called(function: Callable[..., Any], submissions: Sequence[Submission], options: Mapping[str, Any]) -> Verdict:
    """What a reward function returns, as a verdict with `rewards`, one for each response.

    Raises:
        TypeError, ValueError: it returned something else than finite numbers, or another number of them.
    """
    if takes_group(function):
        found = function([*submissions], **options)
        if not isinstance(found, list | tuple):
            raise TypeError(f"it returned {type(found).__name__}, not a list of numbers")
        if len(found) != len(submissions):
            raise ValueError(f"it returned {len(found)} numbers for {len(submissions)} responses")
    else:
        found = [function(submission, **options) for submission in submissions]
    return Verdict.of_rewards(map(_number, found))


def _number(value: object) -> float:
    if not isinstance(value, Real):
        hint = f"; one that is given a group names its parameter `{GROUP}`" if isinstance(value, list | tuple) else ""
        raise TypeError(f"it returned {type(value).__name__}, not a number{hint}")
    number = float(value)
    if not abs(number) <= LARGEST:
        raise ValueError(f"it returned {number!r}, which is not between {-LARGEST:g} and {LARGEST:g}")
    return number
