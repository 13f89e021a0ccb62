"""Numbers and a target: an expression that uses every number once and has the target's value.

A problem is drawn backwards: two numbers at a time are replaced by a result until one is left, and that is the target.
So it can be solved, with positive whole numbers all the way. The worked solution tries such ways through the numbers
and writes down those that miss, then the one that hits. A question may have many right answers, and the verifier
`countdown` takes them all.
"""

from collections.abc import Sequence
from operator import add, floordiv, mul, sub
from random import Random
from typing import NamedTuple

from rlsd_cli.data.problems import Problem, content_hash

MAX_MISSES = 3
OPERATIONS = {"+": add, "-": sub, "*": mul, "/": floordiv}


class Term(NamedTuple):
    """A value and the expression that has it. `rank` is that of its last operation; 0 a sum, 1 a product, 2 none."""

    value: int
    text: str
    rank: int = 2


class Way(NamedTuple):
    """One way through the numbers: its steps, such as `8*4=32`, and where they lead."""

    steps: list[str]
    end: Term


def draw(random: Random, numbers: int = 4, largest: int = 25, target: int = 100) -> Problem:
    """So many numbers up to `largest` that make a target up to `target`."""
    while True:
        given = sorted(random.randint(1, largest) for _ in range(numbers))
        hit = _way(random, given)
        if hit.end.value <= target:
            break
    goal = hit.end.value
    ways = [_way(random, given) for _ in range(random.randint(0, MAX_MISSES))]
    misses = [way for way in ways if way.end.value != goal]
    question = (
        f"Make {goal} from {', '.join(map(str, given))} with + - * / and brackets, each number used exactly once. "
        "Answer with the expression."
    )
    lines = [f"{', '.join(way.steps)} is not {goal}." for way in misses]
    solution = "\n".join([*lines, f"{', '.join(hit.steps)} is right.", f"\\boxed{{{hit.end.text}}}"])
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, hit.end.text, solution, verifier="countdown")


def _way(random: Random, given: Sequence[int]) -> Way:
    """Combine two terms at a time until one is left."""
    terms, steps = [Term(number, str(number)) for number in given], []
    while len(terms) > 1:
        left, right = (terms.pop(random.randrange(len(terms))) for _ in range(2))
        sign = random.choice(_possible(left.value, right.value))
        result = combine(left, sign, right)
        steps.append(f"{left.value}{sign}{right.value}={result.value}")
        terms.append(result)
    return Way(steps, terms[0])


def _possible(left: int, right: int) -> str:
    """The operations whose result is a positive whole number."""
    return "+*" + ("-" if left > right else "") + ("/" if left % right == 0 else "")


def combine(left: Term, sign: str, right: Term) -> Term:
    """The term of one operation, with the brackets that it needs and no others."""
    rank = "+-*/".index(sign) // 2
    first = left.text if left.rank >= rank else f"({left.text})"
    bare = right.rank > rank or (right.rank == rank and sign in "+*")
    second = right.text if bare else f"({right.text})"
    return Term(OPERATIONS[sign](left.value, right.value), f"{first}{sign}{second}", rank)
