"""The `auto` verifier: which verifier a submission needs.

Tests need `code`. Choices, or a reference that is a capital letter from A to J, alone, in brackets or before the text
of its choice, or a comma-separated list of such letters, need `choice`. Everything else needs `math`.
"""

import re

from rlsd_verifiers.verdict import Submission

_LETTERS = re.compile(r"\s*+(?:\([A-J]\)(?:\s[^\n]*+)?|[A-J][.)]?\s*+(?:,\s*+[A-J]\s*+)*+)")


def choose(submission: Submission) -> str:
    """The name of the verifier that the reference of a submission calls for."""
    if submission.tests is not None:
        return "code"
    if submission.choices or _LETTERS.fullmatch(submission.answer or ""):
        return "choice"
    return "math"
