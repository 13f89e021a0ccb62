"""A number of one base, written in another.

The worked solution goes through base ten: into it digit by digit (times the base, plus the next digit), and out of it
by division, whose remainders are the new digits from the last to the first.
"""

from random import Random

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.errors import RlsdError

DIGITS = "0123456789ABCDEF"


def draw(random: Random, base_from: int = 0, base_to: int = 0, digits: int = 3) -> Problem:
    """A number of so many digits in `base_from` without leading zeros; a base 0 is drawn, and never the other one."""
    if base_from and base_from == base_to:
        raise RlsdError(
            f"task `base-conversion`: `base_from` and `base_to` are both {base_to}", hint="they must differ"
        )
    base_from = base_from or random.choice([base for base in range(2, 17) if base != base_to])
    base_to = base_to or random.choice([base for base in range(2, 17) if base != base_from])
    value = random.randrange(base_from ** (digits - 1), base_from**digits)
    given, answer = write(value, base_from), write(value, base_to)
    letters = ", with A to F for ten to fifteen" if base_to > 10 else ""
    question = f"Write {given} (base {base_from}) in base {base_to}. Answer with the digits alone{letters}."
    lines = [*_into_ten(given, base_from), *_out_of_ten(value, base_to), f"\\boxed{{{answer}}}"]
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, answer, "\n".join(lines), verifier="exact")


def write(value: int, base: int) -> str:
    """A positive number in a base of 2 to 16."""
    digits = ""
    while value:
        value, digit = divmod(value, base)
        digits = DIGITS[digit] + digits
    return digits


def _into_ten(given: str, base: int) -> list[str]:
    """`1*7+3=10`, `10*7+5=75`: times the base, plus the next digit."""
    if base == 10:
        return []
    value, lines = DIGITS.index(given[0]), []
    for digit in map(DIGITS.index, given[1:]):
        lines.append(f"{value}*{base}+{digit}={value * base + digit}")
        value = value * base + digit
    return lines or [f"{given} is {value}"]


def _out_of_ten(value: int, base: int) -> list[str]:
    """`75/8=9 rest 3`, down to 0."""
    lines = []
    while value and base != 10:
        quotient, rest = divmod(value, base)
        letter = f", {DIGITS[rest]}" if rest > 9 else ""
        lines.append(f"{value}/{base}={quotient} rest {rest}{letter}")
        value = quotient
    return lines
