"""Answers to verdicts: extract an answer from a response, compare it with a reference, say what was found.

Standard library only. Nothing here trains, and nothing here turns an error into a zero.
"""

from rlsd_verifiers.extract import Extraction, extract
from rlsd_verifiers.notation import parse_number
from rlsd_verifiers.registry import VERIFIERS, UnknownVerifierError, Verifier, check_reference, verify, verify_all
from rlsd_verifiers.verdict import Outcome, Submission, Verdict

__all__ = [
    "VERIFIERS",
    "Extraction",
    "Outcome",
    "Submission",
    "UnknownVerifierError",
    "Verdict",
    "Verifier",
    "check_reference",
    "extract",
    "parse_number",
    "verify",
    "verify_all",
]
