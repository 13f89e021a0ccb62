"""The first part of the `math` verifier: what can be decided at once, with the standard library and bounded work."""

import re
from functools import lru_cache
from typing import NamedTuple

from rlsd_verifiers.extract import Extraction, extract, why_no_answer
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.compare import same
from rlsd_verifiers.maths.labels import Rules
from rlsd_verifiers.maths.parser import parse
from rlsd_verifiers.maths.rational import ExactValues, UndecidedError
from rlsd_verifiers.maths.tokens import InvisibleError, TooComplexError, UnreadableError, tokenize
from rlsd_verifiers.maths.tree import Node, number
from rlsd_verifiers.maths.words import holds_words, same_words
from rlsd_verifiers.notation import parse_number
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten

SHORTEST_SOLUTION = 200
"""Characters from which a reference is searched for a marked answer, as a worked solution."""

_BETWEEN_BOXES = re.compile(r"(?<=\})[^\w\\{}]{0,12}(?=\\+boxed)")


class Reading(NamedTuple):
    """A text as it was read.

    node: its tree, or None.
    fault: why there is no tree.
    refused: whether sympy must not read it either.
    """

    text: str
    node: Node | None = None
    fault: str = ""
    refused: bool = False


@lru_cache(maxsize=8192)
def read(text: str) -> Reading:
    """Read a text, or take it from the cache: a reference comes once for every sample of a group."""
    try:
        return Reading(text, parse(text))
    except (TooComplexError, InvisibleError) as error:
        return Reading(text, fault=str(error), refused=True)
    except UnreadableError as error:
        return Reading(text, fault=str(error))


def reference_text(answer: str) -> str:
    r"""The reference itself: the last box of a worked solution, what follows `####`, or the whole text.

    Boxes with nothing but signs between them are one list.
    """
    answer = _BETWEEN_BOXES.sub(", ", answer)
    if "\\boxed" in answer or "\\fbox" in answer:
        found = extract(answer, last_number=False)
        return found.text if found else answer.rpartition("boxed{")[2]
    if "####" in answer:
        return answer.rpartition("####")[2]
    stated = extract(answer, last_number=False) if len(answer) > SHORTEST_SOLUTION else None
    return stated.text if stated else answer


def found_answer(submission: Submission, leniency: Leniency) -> Extraction | None:
    return extract(submission.response, last_number=leniency.last_number, formulas=True)


def grade_math_quickly(submission: Submission, leniency: Leniency) -> Verdict | None:
    """A verdict where typography, exact numbers or a static limit decides; None where expressions must be compared."""
    if submission.answer is None or not submission.answer.strip():
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "the reference answer is empty")
    reference = reference_text(submission.answer).strip()
    found = found_answer(submission, leniency)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    if found.text.strip() == reference and reference.isprintable():
        return verdict(True, found, reference, "is")
    wanted, given = parse_number(reference), parse_number(found.text)
    if wanted is not None and wanted == given and not any(sign in reference + found.text for sign in "%="):
        return verdict(True, found, reference, "equals")
    return compare(found, reference, Rules(leniency, ExactValues()))


def compare(found: Extraction, reference: str, rules: Rules) -> Verdict | None:
    """The verdict on an answer; None where `rules` cannot decide."""
    wanted, given = read(reference), read(found.text)
    if wanted.refused:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, found.text, f"the reference is not readable: {wanted.fault}")
    if given.refused:
        return _unreadable(found, given.fault)
    if wanted.node is None or given.node is None:
        return _compare_words(found, reference, wanted, given)
    try:
        equal = same(wanted.node, given.node, rules)
    except UndecidedError:
        return None
    except TooComplexError as error:
        if _is_too_complex(wanted.node, rules):
            return Verdict(Outcome.BAD_REFERENCE, 0.0, found.text, f"the reference is {error}")
        return _unreadable(found, str(error))
    if not equal and rules.values.doubts and not rules.values.decisive:
        return None
    return verdict(equal, found, reference, "equals" if equal else "does not equal")


def _is_too_complex(node: Node, rules: Rules) -> bool:
    try:
        same(node, number(0), rules)
    except TooComplexError:
        return True
    except UndecidedError:
        pass
    return False


def _compare_words(found: Extraction, reference: str, wanted: Reading, given: Reading) -> Verdict | None:
    if (tokens := _spelling(reference)) and tokens == _spelling(found.text):
        return verdict(True, found, reference, "is")
    equal = same_words(reference, found.text)
    if equal is None and holds_words(found.text):
        return _unreadable(found, given.fault or "words where none are asked for")
    if equal is None:
        return None
    if equal or wanted.node is None:
        return verdict(equal, found, reference, "says" if equal else "does not say")
    return _unreadable(found, given.fault)


def _spelling(text: str) -> list[str] | None:
    """The symbols of a text, however they are typed and spaced; braces around a single symbol do not count."""
    try:
        symbols = [token.text.strip() for token in tokenize(text)]
    except UnreadableError:
        return None
    kept: list[str] = []
    for symbol in symbols:
        kept.append(symbol)
        if symbol == "}" and len(kept) > 2 and kept[-3] == "{":
            kept[-3:] = [kept[-2]]
    return kept


def _unreadable(found: Extraction, fault: str) -> Verdict:
    return Verdict(Outcome.UNPARSEABLE, 0.0, found.text, f"`{shorten(found.text)}` ({found.rule}): {fault}")


def verdict(equal: bool, found: Extraction, reference: str, verb: str) -> Verdict:
    outcome = Outcome.CORRECT if equal else Outcome.WRONG
    reason = f"`{shorten(found.text)}` ({found.rule}) {verb} the reference `{shorten(reference)}`"
    return Verdict(outcome, float(equal), found.text, reason)
