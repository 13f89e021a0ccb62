"""Chains of additions and subtractions in the embedded policy's own alphabet.

A question is `Q37+58-21=`. A worked response writes every running total, `37+58=95;95-21=74;#74`; a direct one only
states the result, `#74`. A privileged view puts the reference before the question, `H37+58=95;95-21=74;#74|Q37+58-21=`.
Terms lie in 1..`largest` and the running total never falls below 0.
"""

import re
from random import Random

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.tasks.errors import NUMBER, Notation

WORKED_SHARE = 0.4
HINTED_SHARE = 0.3
LEAKAGE = r"^#"
"""A chain needs its running totals; a response that opens with the result states what it was not shown."""
NOTATION = Notation(shape=re.compile(rf"(?:s+;)*#{NUMBER}"), result=re.compile(f"#({NUMBER})"))


def draw(random: Random, terms: int = 0, largest: int = 99) -> Problem:
    """A chain of so many terms; for 0 of two, three or four, one in ten, three in ten and six in ten."""
    return _chain(random, terms or random.choices((2, 3, 4), weights=(1, 3, 6))[0], largest)


def _chain(random: Random, num_terms: int, largest: int) -> Problem:
    total = random.randint(1, largest)
    question, steps = f"Q{total}", []
    for _ in range(num_terms - 1):
        sign = random.choice("+-") if total else "+"
        term = random.randint(1, largest if sign == "+" else min(largest, total))
        result = total + term if sign == "+" else total - term
        question += f"{sign}{term}"
        steps.append(f"{total}{sign}{term}={result}")
        total = result
    question += "="
    worked = ";".join([*steps, f"#{total}"])
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, str(total), worked, verifier="exact")


def draw_demonstration(random: Random) -> Problem:
    """A row of the supervised warm-up: 40 % worked and 60 % direct responses.

    Chains of two, three and four terms are equally frequent.
    """
    return demonstrate(random, _chain(random, random.randint(2, 4), 99), WORKED_SHARE)


def demonstrate(random: Random, problem: Problem, worked_share: float) -> Problem:
    """A problem as a row of a supervised warm-up: so many worked responses, the others direct; 30 % with a hint.

    Half of the hints show the worked solution and half the bare answer, so that both privileged views are in
    distribution. A hinted row keeps the fingerprint of its bare question: both stay on one side of the split.
    """
    direct = f"#{problem.answer}"
    solution = problem.solution if random.random() < worked_share else direct
    if random.random() >= HINTED_SHARE:
        return problem._replace(solution=solution)
    reference = problem.solution if random.random() < 0.5 else problem.answer
    return problem._replace(question=f"H{reference}|{problem.question}", solution=solution)
