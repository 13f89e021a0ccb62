"""Which methods of the table are tried in full by default: those whose parts the others combine.

The rest are marked `slow` there. What is cheap is tried of every method, as are its own tests and the oracle's.
"""

from collections.abc import Mapping
from typing import Any

import pytest

IN_FULL = ("rlvr", "opsd", "rlsd", "sft")


def in_full(table: Mapping[str, Any]) -> list[Any]:
    """The values of a table of methods by name, as parameters of a test."""
    return [
        pytest.param(value, id=name, marks=[] if name in IN_FULL else pytest.mark.slow) for name, value in table.items()
    ]
