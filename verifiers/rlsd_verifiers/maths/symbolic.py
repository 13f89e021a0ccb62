"""Equality by sympy's algebra, through math-verify: the last resort, and only in a process that can be killed."""

import logging

from math_verify import parse, verify
from math_verify.parser import LatexExtractionConfig

logging.getLogger("math_verify").setLevel(logging.CRITICAL)
_LATEX = (LatexExtractionConfig(boxed_match_priority=0),)


def sympy_equal(reference: str, answer: str) -> bool | None:
    """True where two LaTeX texts are equal to sympy; None where one of them cannot be parsed.

    One candidate each, in a box, the reference first. Nothing of the text is evaluated as Python: math-verify reads
    LaTeX through its own grammar.
    """
    trees = [
        parse(f"\\boxed{{{_bare(text)}}}", extraction_config=_LATEX, parsing_timeout=None, fallback_mode="no_fallback")
        for text in (reference, answer)
    ]
    if any(not tree for tree in trees):
        return None
    return bool(verify(trees[0], trees[1], timeout_seconds=None, allow_set_relation_comp=True))


def _bare(text: str) -> str:
    for delimiter in ("$", "\\(", "\\)", "\\[", "\\]"):
        text = text.replace(delimiter, " ")
    return text.strip().rstrip(".")
