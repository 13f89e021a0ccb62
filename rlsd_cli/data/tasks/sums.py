"""Two-digit sums and short chains in English, for small instruction-tuned models."""

import re
from random import Random

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.tasks.errors import NUMBER, Notation

NOTATION = Notation(
    shape=re.compile(r"[^=]*"),
    result=re.compile(rf"(?:####|\\boxed\{{|\banswer is\b)[^\w\n-]*({NUMBER})(?![.,]\d)", re.IGNORECASE),
)
"""Equations among words. A response with an `=` of no such equation, as in `7 + 8 - 5 = 15 - 5`, is not read."""


def draw(random: Random, terms: int = 0, largest: int = 99) -> Problem:
    """A sum of two numbers up to `largest`, or a chain of three terms up to about a third of it.

    With `terms` 0, two in three are sums and one in three is a chain.
    """
    if terms == 2 or (terms == 0 and random.random() < 2 / 3):
        first, second = random.randint(10, largest), random.randint(10, largest)
        question, total = f"What is {first} + {second}?", first + second
        steps = f"{first} + {second} = {total}"
    else:
        most, least = 30 * largest // 99, 20 * largest // 99
        first, second = random.randint(5, most), random.randint(2, least)
        partial = first + second
        third = random.randint(2, min(least, partial))
        total = partial - third
        question = f"What is {first} + {second} - {third}?"
        steps = f"{first} + {second} = {partial}\n{partial} - {third} = {total}"
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, str(total), f"{steps}\n#### {total}", verifier="numeric")
