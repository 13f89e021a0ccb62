r"""Answers that are close to a reference and wrong: what a verifier that works must reject.

| verifier | what is changed |
|---|---|
| any, where the reference has digits | the first digit, then the last: `d` becomes `d + 1`, and 9 becomes 1 |
| `math`, no digits | `+1` is written behind it, then it is `1` |
| `numeric`, no digits | it is `1`, then `2` |
| `choice` | it is `A`, then `B`: one of the two is wrong, unless there is only one choice |
| `exact` | a pattern is tried on `zzz`, then on `7` |
| any other, no digits | an `x` is written behind it |
| `code`, functions | behind the solution what the tests call is defined once more, to return "?", and then None |
| `code`, input and output | before the solution a line with `?` is printed |

The changes are tried in this order until one is rejected, so a change that happens to be right as well does no harm.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rlsd_cli.data.problems import Problem
from rlsd_verifiers.code.collection import BadTestsError
from rlsd_verifiers.code.extract import extract_code
from rlsd_verifiers.code.languages import PYTHON
from rlsd_verifiers.code.tests import Beside, Calls, Remote, Streams, Tests, read_tests
from rlsd_verifiers.maths.quick import reference_text
from rlsd_verifiers.verdict import shorten

FENCE = "~~~~~~~~"
"""Longer than any that a program is likely to hold."""


class Change(NamedTuple):
    """A wrong answer in words, and the response that gives it."""

    words: str
    response: str


def changes(problem: Problem, verifier: str) -> tuple[Change, ...]:
    """The wrong answers that a verifier should reject, in the order to try; empty where nothing can be changed."""
    if verifier == "code":
        return tuple(_programs(problem))
    return tuple(Change(f"`{shorten(text)}`", rf"\boxed{{{text}}}") for text in _answers(problem, verifier))


def _answers(problem: Problem, verifier: str) -> tuple[str, ...]:
    answer = problem.answer.strip()
    if verifier == "choice":
        return () if problem.choices and len(problem.choices) == 1 else ("A", "B")
    if verifier == "exact" and _PATTERN.fullmatch(answer):
        return "zzz", "7"
    if verifier == "math":
        answer = reference_text(answer).strip()
    if _DIGIT.search(answer):
        return _other_digits(answer)
    return {"math": (f"{answer}+1", "1"), "numeric": ("1", "2")}.get(verifier, (f"{answer}x",))


_PATTERN = re.compile(r"/.+/i?", re.DOTALL)
_DIGIT = re.compile(r"[0-9]")


def _other_digits(text: str) -> tuple[str, ...]:
    places = [match.start() for match in _DIGIT.finditer(text)]
    changed = (f"{text[:place]}{_next_digit(text[place])}{text[place + 1 :]}" for place in (places[0], places[-1]))
    return tuple(dict.fromkeys(changed))


def _next_digit(digit: str) -> str:
    return "1" if digit == "9" else str(int(digit) + 1)


# -- programs ------------------------------------------------------------------------------------------------------


def _programs(problem: Problem) -> Iterator[Change]:
    try:
        tests = read_tests(problem.tests, problem.entry_point)
    except BadTestsError:
        return
    code = extract_code(problem.solution or "")
    program = code.text if code and code.language is PYTHON else ""
    if isinstance(tests, Streams):
        yield Change("a program that prints `?` first", _fenced(f'print("?")\n{program}'))
        return
    names = [name for name in _called(tests) if name.isidentifier()]
    for value in ('"?"', "None") if names else ():
        stubs = (f"def {name}(*args, **kwargs):\n    return {value}\n" for name in names)
        yield Change(f"a program whose functions return {value}", _fenced("\n\n".join([program, *stubs])))


def _called(tests: Tests) -> list[str]:
    match tests:
        case Calls(calls):
            return sorted({call.function for call in calls})
        case Remote(_, functions):
            return [*functions]
        case Beside(_, names):
            return [*names]
    return []


def _fenced(program: str) -> str:
    return f"{FENCE}python\n{program}\n{FENCE}"
