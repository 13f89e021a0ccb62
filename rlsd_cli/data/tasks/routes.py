"""Sums with several right ways, in the embedded policy's own alphabet.

A question is `Q37+58+21=`. A worked response joins any two of the numbers that are left at a time, in either order:
`37+21=58;58+58=116;#116` is as right as `37+58=95;95+21=116;#116`.
"""

from random import Random

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.tasks.arithmetic import HINTED_SHARE

WORKED_SHARE = 0.6


def draw(random: Random, terms: int = 0, largest: int = 99) -> Problem:
    """A sum of so many terms; for 0 of three or four."""
    numbers = [random.randint(1, largest) for _ in range(terms or random.choice((3, 4)))]
    question, answer = f"Q{'+'.join(map(str, numbers))}=", str(sum(numbers))
    steps = []
    while len(numbers) > 1:
        first, second = (numbers.pop(random.randrange(len(numbers))) for _ in range(2))
        steps.append(f"{first}+{second}={first + second}")
        numbers.append(first + second)
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, answer, ";".join([*steps, f"#{answer}"]), verifier="exact")


def draw_demonstration(random: Random) -> Problem:
    """A row of a supervised warm-up: 60 % worked and 40 % direct responses, 30 % of the rows with a hint.

    Half of the hints show a worked solution, which may take another way than the response, and half the bare answer.
    """
    problem = draw(random)
    direct = f"#{problem.answer}"
    solution = problem.solution if random.random() < WORKED_SHARE else direct
    if random.random() >= HINTED_SHARE:
        return problem._replace(solution=solution)
    reference = problem.solution if random.random() < 0.5 else problem.answer
    return problem._replace(question=f"H{reference}|{problem.question}", solution=solution)
