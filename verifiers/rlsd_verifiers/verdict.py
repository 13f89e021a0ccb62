"""The two records of this package: what is graded, and what was found."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Self


class Outcome(StrEnum):
    """How grading ended."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    UNPARSEABLE = "unparseable"
    BAD_REFERENCE = "bad_reference"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    CRASH = "crash"
    SANDBOX_ERROR = "sandbox_error"
    INVALID_ROW = "invalid_row"


NO_VERDICT = frozenset({Outcome.BAD_REFERENCE, Outcome.CRASH, Outcome.SANDBOX_ERROR, Outcome.INVALID_ROW})
"""Outcomes that are the fault of the verifier, the reference or the row, and say nothing about the response."""


class Submission(NamedTuple):
    """One response and everything that is needed to grade it.

    answer: the reference.
    tests, entry_point: for code, the tests and the function that they call.
    choices: for multiple choice, the texts of the choices.
    question: for verifiers that must know a restated question.
    """

    response: str
    answer: str | None = None
    tests: object | None = None
    entry_point: str | None = None
    choices: tuple[str, ...] | None = None
    question: str = ""


class Verdict(NamedTuple):
    """What a verifier found.

    score: 0..1, meaningful only where `is_verdict` is True.
    extracted: the answer as it was read from the response.
    reason: why, in words.
    seconds: wall time of the whole grading.
    sandbox: for code, the layers of isolation that it ran in.
    weak: for code, whether it could have forged its verdict.
    rewards: of a reward function instead of a verifier, a number for each response; none where it failed.
    """

    outcome: Outcome
    score: float
    extracted: str | None
    reason: str
    seconds: float = 0.0
    sandbox: str | None = None
    weak: bool = False
    rewards: tuple[float, ...] = ()

    @classmethod
    def of_rewards(cls, rewards: Iterable[float]) -> Self:
        """What a reward function found."""
        return cls(Outcome.CORRECT, 0.0, None, "", rewards=tuple(rewards))

    @property
    def is_verdict(self) -> bool:
        """True where the response was judged."""
        return self.outcome not in NO_VERDICT

    @property
    def correct(self) -> bool | None:
        """True or False for a judged response, None where no verdict was reached."""
        return self.outcome is Outcome.CORRECT if self.is_verdict else None


def shorten(text: str, limit: int = 60) -> str:
    """`text` on one line, cut in the middle to about `limit` characters, with nothing in it that cannot be printed."""
    half = (limit - 3) // 2
    if len(text) > limit:
        text = f"{text[:half]}...{text[-half:]}"
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
