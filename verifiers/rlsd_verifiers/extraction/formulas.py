"""Formulas between dollar signs or brackets, and the last of them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rlsd_verifiers.extraction.signs import DIGIT, PERCENT, is_joiner, percent_after
from rlsd_verifiers.units import find_unit


class _Formula(NamedTuple):
    """A formula with its delimiters, and its content."""

    start: int
    end: int
    content: str


_DOLLAR = re.compile(r"\\.|\$++|\n(?:[ \t]*+\n)?", re.DOTALL)
_BRACKET = re.compile(r"\\(?:([(\[])|([)\]])|.)", re.DOTALL)
COMMAND_OR_TEXT = re.compile(r"\\(?:text\w*+|[mh]box|mathrm|mathbf|operatorname)\s*+\{[^{}]*+\}|\\[A-Za-z]++")
_PLAIN_WORD = re.compile(r"(?<![A-Za-z])(?!(?:and|or|mod|sin|cos|tan|log|ln|gcd|lcm|max|min|sqrt|pi)\b)[A-Za-z]{2,}")
_TWO_WORDS = re.compile(r"(?<![A-Za-z])(?!(?:and|or|mod)\b)[A-Za-z]{3,}+[ ]++(?!(?:and|or|mod)\b)[A-Za-z]{3,}")
MAX_FORMULA_CHARS = 5000


def find_formulas(text: str) -> list[_Formula]:
    """All formulas that lie in no other, in order."""
    found = sorted([*_dollar_formulas(text), *_bracket_formulas(text)])
    outer: list[_Formula] = []
    for formula in found:
        if not outer or formula.start >= outer[-1].end:
            outer.append(formula)
    return outer


def _dollar_formulas(text: str) -> Iterator[_Formula]:
    opener, start, broken = "", 0, False
    if "$" not in text:
        return
    for token in _DOLLAR.finditer(text):
        kind, position = token[0], token.start()
        if kind[0] == "\\" or len(kind) > 2:
            continue
        if kind[0] == "\n":
            opener, broken = ("", False) if opener == "$" else (opener, broken or kind != "\n")
        elif opener == "$":
            if _is_formula(text, start, position):
                yield _Formula(start - 1, position + 1, text[start:position])
                opener, start = ("$", position + 2) if kind == "$$" else ("", 0)
            else:
                opener, start, broken = kind, token.end(), False
        elif opener == "$$" and kind == "$$" and text[start:position].strip():
            yield _Formula(start - 2, token.end(), text[start:position])
            opener = ""
        elif opener != "$$" or kind == "$$" or broken:
            opener, start, broken = kind, token.end(), False


def _is_formula(text: str, start: int, end: int) -> bool:
    """True where the text between two dollar signs is a formula; False where the signs belong to two prices."""
    content = text[start:end]
    if len(content) > MAX_FORMULA_CHARS or not content.strip():
        return False
    bare = COMMAND_OR_TEXT.sub(" ", content).strip() if "\\" in content else content
    if _TWO_WORDS.search(bare):
        return False
    if not content[0].isdigit():
        return True
    return not (text[end + 1 : end + 2].isdigit() or _price_like(bare))


def _price_like(content: str) -> bool:
    return any(not find_unit(word) for word in _PLAIN_WORD.findall(content)) or content.rstrip()[-1:] in (
        "+",
        "-",
        "=",
        "*",
        "/",
    )


def _bracket_formulas(text: str) -> Iterator[_Formula]:
    opener, start = "", 0
    for token in _BRACKET.finditer(text):
        if token[1]:
            opener, start = token[1], token.end()
        elif token[2] and opener + token[2] in ("()", "[]"):
            content = text[start : token.start()]
            if content.strip() and not (opener == "(" and "\n" in content):
                yield _Formula(start - 2, token.end(), text[start : token.start()])
            opener = ""


_UNIT_AFTER = re.compile(r"[ ]{1,3}([A-Za-z]{2,12}+)(?=[\s.,;:!?)*]|\Z)")
NO_UNITS_IN_PROSE = frozenset({"in", "at", "as", "a", "min", "second", "turn", "turns", "foot", "bit", "bits", "stone"})
_POINTER = re.compile(r"\b(?:for|of|in|on|to|where|with|by|from|at|let|than|if|when|that|and)\s{1,3}\Z", re.IGNORECASE)
_NAME = re.compile(r"\s*+\\?[A-Za-z]++(?:_\w|\([A-Za-z]\))?\s*+")


def last_formula(text: str, formulas: list[_Formula]) -> tuple[str, int] | None:
    """The last formula, or the list it ends, with a percent sign or unit after it; and where that ends.

    A mere name after a word such as "of" is passed over, as in "12 values of $x$", unless there is nothing else.
    """
    named = 0
    while named < len(formulas) and _is_mere_name(text, formulas[-1 - named]):
        named += 1
    kept = formulas[: len(formulas) - named] or (formulas if not DIGIT.search(text) else [])
    if not kept:
        return None
    members = [kept[-1]]
    for formula in reversed(kept[:-1]):
        if not is_joiner(text[formula.end : members[-1].start]):
            break
        members.append(formula)
    contents = [formula.content.strip() for formula in reversed(members)]
    end = members[0].end
    if len(contents) > 1:
        return ", ".join(contents), end
    content = contents[0]
    if percent := percent_after(text, end, content):
        return content + percent, PERCENT.match(text, end).end()  # type: ignore[union-attr]
    unit = unit_after(text, end)
    return (rf"{content} \text{{ {unit}}}" if unit and content[-1:].isdigit() else content), end + len(unit)


def _is_mere_name(text: str, formula: _Formula) -> bool:
    return bool(
        _NAME.fullmatch(formula.content[:40]) and _POINTER.search(text, max(0, formula.start - 12), formula.start)
    )


def unit_after(text: str, position: int) -> str:
    match = _UNIT_AFTER.match(text, position)
    return match[1] if match and match[1].lower() not in NO_UNITS_IN_PROSE and find_unit(match[1]) else ""
