r"""The `countdown` verifier: an expression of the reference's numbers, each used once, that has the reference's value.

An expression is whole numbers, brackets and `+ - * /`, also written `× ÷ · −`, `\times`, `\cdot`, `\div` and
`\frac{a}{b}`. A number or bracket may have a sign. `= 24` may stand at the end and must then be true. Nothing is
multiplied that has no sign between: `2(3)` cannot be read, and `23` is not `2` and `3`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import NamedTuple

from rlsd_verifiers.extract import extract, only_line, why_no_answer
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.notation import fold_typography
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten

MAX_CHARS = 500


class UnreadableError(ValueError):
    """A text is no expression; the message says why."""


class Expression(NamedTuple):
    """An expression that was read.

    numbers: how often each number is in it.
    value: its exact value; None where it divides by zero.
    stated: the number that stands after `=`, or None.
    """

    numbers: Counter[int]
    value: Fraction | None
    stated: Fraction | None


def grade_countdown(submission: Submission, leniency: Leniency) -> Verdict:  # noqa: ARG001
    """Compare the numbers and the values of two expressions, exactly."""
    shown_reference = f"the reference `{shorten(submission.answer or '')}`"
    try:
        reference = read_expression(submission.answer or "")
    except UnreadableError as error:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, f"{shown_reference} is not an expression: {error}")
    if fault := _fault(reference):
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, f"{shown_reference} {fault}")
    found = extract(submission.response, last_number=False) or only_line(submission.response)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    shown = f"`{shorten(found.text)}` ({found.rule})"
    try:
        answer = read_expression(found.text)
    except UnreadableError as error:
        return Verdict(Outcome.UNPARSEABLE, 0.0, found.text, f"{shown} is not an expression: {error}")
    if fault := _fault(answer) or _difference(reference, answer):
        return Verdict(Outcome.WRONG, 0.0, found.text, f"{shown} {fault}")
    reason = f"{shown} has the numbers and the value of {shown_reference}"
    return Verdict(Outcome.CORRECT, 1.0, found.text, reason)


def _fault(expression: Expression) -> str | None:
    if expression.value is None:
        return "divides by zero"
    if expression.stated not in (None, expression.value):
        return f"has the value {_show(expression.value)}, not {_show(expression.stated)}"
    return None


def _difference(reference: Expression, answer: Expression) -> str | None:
    missing, surplus = reference.numbers - answer.numbers, answer.numbers - reference.numbers
    if missing or surplus:
        verb, numbers = ("does not use", missing) if missing else ("should not use", surplus)
        return f"{verb} {shorten(', '.join(map(str, sorted(numbers.elements()))))}"
    if answer.value != reference.value:
        return f"has the value {_show(answer.value)}, not {_show(reference.value)}"
    return None


def _show(value: Fraction | None) -> str:
    return shorten(str(value))


_SIGNS = str.maketrans("×·⋅∙∗÷∕⁄", "*****///")
_COMMANDS = {r"\times": "*", r"\cdot": "*", r"\ast": "*", r"\div": "/"}
_TOKEN = re.compile(
    r"(?P<nothing>\s++|\$|\\[,;:! ()\[\]]|\\(?:left|right|displaystyle)(?![A-Za-z]))"
    r"|(?P<fraction>\\[cdt]?frac(?![A-Za-z]))"
    r"|[0-9]++|[-+*/()={}]|\\(?:times|cdot|ast|div)(?![A-Za-z])"
)


def read_expression(text: str) -> Expression:
    """The expression that a text is, in time linear in its length. Raises `UnreadableError`."""
    if len(text) > MAX_CHARS:
        raise UnreadableError(f"it has more than {MAX_CHARS} characters")
    tokens = [*_tokens(fold_typography(text).translate(_SIGNS).strip().removesuffix("."))]
    end = tokens.index("=") if "=" in tokens else len(tokens)
    numbers = Counter(int(token) for token in tokens[:end] if token.isdigit())
    return Expression(numbers, _value(tokens[:end]), _whole_number(tokens[end + 1 :]) if tokens[end:] else None)


def _tokens(text: str) -> Iterator[str]:
    """Numbers and `+ - * / ( ) =`. A fraction becomes a quotient of brackets; `parts` has what is still open."""
    position, parts = 0, list[str]()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnreadableError(f"`{shorten(text[position:])}` cannot be read")
        position, token, part = match.end(), match[0], parts[-1] if parts else ""
        if match["nothing"]:
            continue
        if part in ("above", "below") and token != "{":
            raise UnreadableError(r"a fraction is not written `\frac{a}{b}`")
        if match["fraction"]:
            yield "("
            parts.append("above")
        elif token == "{" and part in ("above", "below"):
            yield "("
            parts[-1] = f"in {part}"
        elif token == "}" and part == "in above":
            yield from ")/"
            parts[-1] = "below"
        elif token == "}" and part == "in below":
            yield from "))"
            parts.pop()
        elif token in ("{", "}"):
            raise UnreadableError(f"`{token}` belongs to no fraction")
        elif token == ")" and part.startswith("in "):
            raise UnreadableError("its brackets do not match")
        else:
            if token == "(":
                parts.append(token)
            elif token == ")" and part:
                parts.pop()
            yield _COMMANDS.get(token, token)
    if parts:
        raise UnreadableError("its brackets do not match")


def _whole_number(tokens: list[str]) -> Fraction:
    match tokens:
        case [number] if number.isdigit():
            return Fraction(number)
        case ["-", number] if number.isdigit():
            return -Fraction(number)
    raise UnreadableError("what follows `=` is not a whole number")


_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {"+": add, "-": sub, "*": mul, "/": truediv}
_END = "its end"
_RANKS = {"(": 0, ")": 1, _END: 1, "+": 1, "-": 1, "*": 2, "/": 2, "plus": 3, "minus": 3}


def _value(tokens: list[str]) -> Fraction | None:
    """The value of an expression by operator precedence, without recursion; None where it divides by zero."""
    values: list[Fraction] = []
    pending: list[str] = []
    complete = False
    try:
        for token in [*tokens, _END]:
            if token.isdigit() or token == "(":
                if complete:
                    raise UnreadableError(f"no sign stands before `{shorten(token)}`")
                if token == "(":
                    pending.append(token)
                else:
                    values.append(Fraction(token))
                    complete = True
            elif complete:
                _work_out(values, pending, _RANKS[token])
                if token in (")", _END):
                    if (token == _END) == bool(pending):
                        raise UnreadableError("its brackets do not match")
                    pending = pending[:-1]
                else:
                    pending.append(token)
                    complete = False
            elif token in ("+", "-") and pending[-1:] not in (["plus"], ["minus"]):
                pending.append("plus" if token == "+" else "minus")
            else:
                raise UnreadableError(f"no number stands before {token if token == _END else f'`{token}`'}")
    except ZeroDivisionError:
        return None
    return values[0]


def _work_out(values: list[Fraction], pending: list[str], rank: int) -> None:
    """Do the pending operations of at least this rank."""
    while pending and _RANKS[pending[-1]] >= rank:
        operation, right = pending.pop(), values.pop()
        if operation in ("plus", "minus"):
            values.append(right if operation == "plus" else -right)
        else:
            values.append(_OPERATIONS[operation](values.pop(), right))
