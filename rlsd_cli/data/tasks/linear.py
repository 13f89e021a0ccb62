"""Linear equations in one or two unknowns, with a whole solution.

One unknown stands on both sides, `7x - 3 = 4x + 9`; of two equations in x and y the worked solution eliminates x.
"""

from random import Random

from rlsd_cli.data.problems import Problem, content_hash


def draw(random: Random, unknowns: int = 1, largest: int = 9) -> Problem:
    """Coefficients and solutions lie in -`largest`..`largest`, coefficients never 0."""
    question, answer, lines = (_one if unknowns == 1 else _two)(random, largest)
    solution = "\n".join([*lines, f"\\boxed{{{answer}}}"])
    fingerprint = content_hash(question)
    verifier = "numeric" if unknowns == 1 else "math"
    return Problem(fingerprint, fingerprint, question, answer, solution, verifier=verifier)


def _one(random: Random, largest: int) -> tuple[str, str, list[str]]:
    x = random.randint(-largest, largest)
    left, right, constant = (_coefficient(random, largest) for _ in range(3))
    while left == right:
        right = _coefficient(random, largest)
    other = (left - right) * x + constant
    equation = f"{side(left, 'x', constant)} = {side(right, 'x', other)}"
    lines = [
        f"{side(left - right, 'x', constant)} = {other}",
        f"{term(left - right, 'x')} = {other - constant}",
        f"x = {x}",
    ]
    return f"Solve {equation} for x. Answer with the number.", str(x), lines


def _two(random: Random, largest: int) -> tuple[str, str, list[str]]:
    x, y = (random.randint(-largest, largest) for _ in range(2))
    a, b, c, d = (_coefficient(random, largest) for _ in range(4))
    while a * d == b * c:
        d = _coefficient(random, largest)
        a = _coefficient(random, largest)
    e, f = a * x + b * y, c * x + d * y
    first, second = f"{system(a, b)} = {e}", f"{system(c, d)} = {f}"
    lines = [
        f"{first}, times {c}: {system(a * c, b * c)} = {e * c}",
        f"{second}, times {a}: {system(a * c, a * d)} = {f * a}",
        f"The difference: {term(b * c - a * d, 'y')} = {e * c - f * a}, so y = {y}",
        f"Then {side(a, 'x', b * y)} = {e}, {term(a, 'x')} = {a * x}, so x = {x}",
    ]
    return f"Solve {first} and {second} for x and y. Answer with the pair (x, y).", f"({x}, {y})", lines


def _coefficient(random: Random, largest: int) -> int:
    return random.choice((-1, 1)) * random.randint(1, largest)


def term(coefficient: int, name: str) -> str:
    """`3x`, `x`, `-x`."""
    return {1: name, -1: f"-{name}"}.get(coefficient, f"{coefficient}{name}")


def side(coefficient: int, name: str, constant: int) -> str:
    """`3x - 2`, and `3x` where the constant is 0."""
    sign = "-" if constant < 0 else "+"
    return f"{term(coefficient, name)} {sign} {abs(constant)}" if constant else term(coefficient, name)


def system(of_x: int, of_y: int) -> str:
    """`3x - 2y`."""
    return f"{term(of_x, 'x')} {'-' if of_y < 0 else '+'} {term(abs(of_y), 'y')}"
