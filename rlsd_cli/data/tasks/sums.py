"""Two-digit sums and short chains in English, for small instruction-tuned models."""

from random import Random

from rlsd_cli.data.problems import Problem, content_hash


def draw(random: Random) -> Problem:
    """A sum of two two-digit numbers (two in three) or a chain of three small terms (one in three)."""
    if random.random() < 2 / 3:
        first, second = random.randint(10, 99), random.randint(10, 99)
        question, total = f"What is {first} + {second}?", first + second
        steps = f"{first} + {second} = {total}"
    else:
        first, second = random.randint(5, 30), random.randint(2, 20)
        partial = first + second
        third = random.randint(2, min(20, partial))
        total = partial - third
        question = f"What is {first} + {second} - {third}?"
        steps = f"{first} + {second} = {partial}\n{partial} - {third} = {total}"
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, str(total), f"{steps}\n#### {total}", verifier="numeric")
