"""The steps by which a verdict on one pair was reached."""

from collections.abc import Iterator
from typing import Any

from rlsd_cli.config.schema import Config
from rlsd_cli.grading.jobs import leniency_of
from rlsd_verifiers import AUTO, Submission, Verdict, parse_number
from rlsd_verifiers.maths.quick import read, reference_text

WHY = {
    "code": "there are tests",
    "choice": "the reference is the letter of a choice",
    "math": "the reference is not the letter of a choice",
}
"""Why `auto` chooses a verifier."""


def explain(submission: Submission, name: str, verdict: Verdict, config: Config) -> Iterator[tuple[str, str]]:
    """Each step of the verifier `name` on a pair: the step, and its result in words."""
    yield "verifier", f"{name}   " + (f"chosen by `{AUTO}`: {WHY[name]}" if config.verifier == AUTO else "asked for")
    yield "reference", _read_as(submission.answer or "", name)
    yield "extracted", "nothing" if verdict.extracted is None else _read_as(verdict.extracted, name)
    yield "compared", verdict.reason
    yield "leniency", "  ".join(f"{key}={value}" for key, value in leniency_of(config)._asdict().items())
    limits = config.verification
    yield "limits", f"timeout_seconds={limits.timeout_seconds:g}  memory_mb={limits.memory_mb}"


def _read_as(text: str, name: str) -> str:
    """A text, and what the verifier makes of it where it makes something of it."""
    if name == "math":
        reading = read(reference_text(text).strip())
        return f"{text}   " + (f"read as {_tree(reading.node)}" if reading.node else f"not read: {reading.fault}")
    if name == "numeric":
        number = parse_number(text, allow_unit=True)
        return f"{text}   " + ("not a number" if number is None else f"read as {number}")
    return text


def _tree(value: Any) -> str:
    """A tree of expressions as `sum(x, divide(1, 2))`."""
    op = getattr(value, "op", None)
    if op in ("number", "symbol"):
        return str(value.args[0])
    if op is not None:
        return f"{op}({', '.join(map(_tree, value.args))})"
    return f"({', '.join(map(_tree, value))})" if isinstance(value, tuple) else str(value)
