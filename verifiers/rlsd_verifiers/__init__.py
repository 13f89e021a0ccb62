"""Verifiers: extract an answer from a response, compare it with a reference, and return a verdict.

Standard library only; what needs more is loaded in the worker processes of a `Pool`. An error of a verifier is an
outcome of its own, and not a score of 0.
"""

from rlsd_verifiers.extract import Extraction, extract
from rlsd_verifiers.job import Job
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.notation import parse_number
from rlsd_verifiers.pool import Pool, check_reference, verify, verify_all
from rlsd_verifiers.registry import AUTO, VERIFIERS, UnknownVerifierError, Verifier, find_verifier
from rlsd_verifiers.rewards import Call
from rlsd_verifiers.verdict import Outcome, Submission, Verdict

__all__ = [
    "AUTO",
    "VERIFIERS",
    "Call",
    "Extraction",
    "Job",
    "Leniency",
    "Outcome",
    "Pool",
    "Submission",
    "UnknownVerifierError",
    "Verdict",
    "Verifier",
    "check_reference",
    "extract",
    "find_verifier",
    "parse_number",
    "verify",
    "verify_all",
]
