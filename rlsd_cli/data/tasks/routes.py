"""Sums of three or four numbers that may be added in any order, in the embedded policy's own alphabet.

A question is `Q37+58+21=`. Any two numbers that are left may be added next: `37+58=95;95+21=116;#116` is right, and so
are `58+21=79;79+37=116;#116` and `21+37=58;58+58=116;#116`. The worked solution is one of several, and a response that
differs from it may be right all the way.
"""

from random import Random

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.tasks.arithmetic import demonstrate

WORKED_SHARE = 0.9


def draw(random: Random, terms: int = 0, largest: int = 99) -> Problem:
    """So many numbers up to `largest`, for 0 three or four of them, and one of the ways to add them.

    The worked solution begins with a random pair of neighbours, and adds to it the number on its left or on its right.
    """
    numbers = [random.randint(1, largest) for _ in range(terms or random.choice((3, 4)))]
    question = f"Q{'+'.join(map(str, numbers))}="
    start = random.randrange(len(numbers) - 1)
    lefts, rights = numbers[:start], numbers[:start:-1]
    total, steps = numbers[start], list[str]()
    while lefts or rights:
        side = rights if not steps else random.choice([side for side in (lefts, rights) if side])
        term = side.pop()
        steps.append(f"{total}+{term}={total + term}")
        total += term
    answer = str(total)
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, answer, ";".join([*steps, f"#{answer}"]), verifier="exact")


def draw_demonstration(random: Random) -> Problem:
    """A row of the supervised warm-up: nine in ten are worked, each in an order of its own."""
    return demonstrate(random, draw(random), WORKED_SHARE)
