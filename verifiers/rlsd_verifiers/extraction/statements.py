"""Clauses that state an answer: "the answer is ...", in several languages."""

import re
from bisect import bisect_right

from rlsd_verifiers.extraction.formulas import NO_UNITS_IN_PROSE, find_formulas, last_formula
from rlsd_verifiers.extraction.last_number import find_last_number
from rlsd_verifiers.extraction.signs import (
    CJK,
    COUNTED_IN_CJK,
    CURRENCY,
    DIGIT,
    LEADS_WITH_FORMULA,
    LEADS_WITH_NUMBER,
    MAX_ANSWER_WORDS,
    WORD,
)
from rlsd_verifiers.notation import is_unit_like, split_percent
from rlsd_verifiers.units import find_unit

_ANSWER_IS = re.compile(
    r"""
    \b(?P<word>answers?|ans|solution[ ]is(?=:)|r[\u00e9e]ponse|respuesta|resposta|antwort
        |\u043e\u0442\u0432\u0435\u0442|result)\b
    [*_\s]{0,4}+(?:(?:to|for|of|here|in|finale|correcte|final|option|choice|must|should|would|will)\b[^.\n:=$*\\]{0,40}?)??
    (?:(?P<verb>is|are|be|est|es|ist|lautet|\u00e9)(?!\w)|[:=\uff1a])
    | (?P<chinese>\u7b54\u6848[*_\s]{0,4}+(?:\u5e94\u8be5|\u5e94|\u5c31)?(?:[:=\uff1a\u662f\u4e3a]
        |\u7b49\u4e8e)|\u7b54[:\uff1a]|\u7b54\u3048[\u306f:\uff1a])
    | ^[\#*_> \t]{0,8}+(?:(?:my|the|your)[ ])?(?:final[ ])?answer[*_ \t]{0,4}+$
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_FILLER = re.compile(
    r"[*_\s:\uff1a]{0,8}+(?:(?:therefore|thus|then|hence|simply|clearly|indeed|approximately|about|roughly|exactly"
    r"|just|now|equal\sto|given\sby|found\sto\sbe)\b[\s,:*_]{0,8}+){0,3}+",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"[.!?](?=\s|[*_$\"'\\)\]}]*+$)|[\u3002\uff01\uff1f\uff1b]|\n"
    r"|[\s,;]\s?(?:because|since|as|which|so|given|not|rather|instead|but)\b",
    re.IGNORECASE,
)
_TALK = re.compile(r"(?:correct|right|below|above|as\sfollows|shown|verified|known)\W*+", re.IGNORECASE)


def last_answer_is(text: str, *, guess: bool = True, formulas: bool = False) -> str | None:
    """The clause after the last "answer is", up to the end of the sentence, of the line, or to a "because".

    "The answer is just the number itself" is talk about the answer: after `is`, a clause that does not begin with a
    number or formula and is longer than `MAX_ANSWER_WORDS` words is passed over, unless it ends in "... is 42". "The
    result is" counts at the end of the text only. Of a sentence after "answer:" what stands after its "is" is taken,
    or with `guess` its number.
    """
    end = len(text)
    for head in reversed(list(_ANSWER_IS.finditer(text))):
        filler = _FILLER.match(text, head.end(), end)
        start = filler.end() if filler else head.end()
        clause, stop = _clause(text[start : min(end, start + _MAX_CLAUSE_CHARS)])
        is_result = (head["word"] or "").lower() == "result"
        if clause and not _TALK.fullmatch(clause) and not (is_result and WORD.search(text, start + stop)):
            answer = _answer_in(clause, guess=guess, formulas=formulas, is_verb=head["verb"] is not None)
            if answer:
                return answer
        end = head.start()
    return None


_MAX_CLAUSE_CHARS = 5000


def _clause(text: str) -> tuple[str, int]:
    """The first clause of a text, and where it ends. Full stops and line ends in formulas do not end it."""
    spans = find_formulas(text)
    for stop in _CLAUSE_END.finditer(text):
        index = bisect_right(spans, stop.start(), key=lambda span: span.start) - 1
        if index < 0 or spans[index].end <= stop.start():
            return _tidy(text[: stop.start()]), stop.start()
    return _tidy(text), len(text)


def _tidy(clause: str) -> str:
    """The clause without blanks, quotes and bold marks around it, or half a pair of braces or dollar signs."""
    clause = _QUOTE.sub("", clause.strip()).strip(" \t\r\n*_,;\"'`\u201c\u201d").removeprefix("}").strip()
    return clause[:-1] if clause.endswith("$") and clause.replace("\\$", "").count("$") == 1 else clause


_QUOTE = re.compile(r"\A\\(?=\")|\\\"\Z")
_COPULA = re.compile(
    r"(?:\s(?:is|are|was|equals|be|est)|\u662f|\u4e3a|\u7b49\u4e8e)(?:\s*+:)?(?:\s++|(?=[^\sA-Za-z]))", re.IGNORECASE
)
_AFTERTHOUGHT = re.compile(r"\s(?:is|are|was|were|will|would|can|gives?)\s", re.IGNORECASE)
_NO_BARE_VALUE = re.compile(
    r"\b(?:all|every|any|no|none|except|other|than|least|most|between|more|less|greater|fewer|until|up)\b",
    re.IGNORECASE,
)
_PRICE = re.compile(rf"(?<![0-9])(?:[{CURRENCY}][ ]?([0-9][0-9,.]*+)|([0-9][0-9,.]*+)[ ]?[{CURRENCY}])(?![{CURRENCY}])")
_NUMBER_AND_WORDS = re.compile(
    r"([-+]?[$]?[0-9][0-9,./]*+)((?:\s++|(?=[\u3040-\u30ff\u4e00-\u9fff]))[^\W\d_].*+)", re.DOTALL
)


def _answer_in(clause: str, *, guess: bool, formulas: bool, is_verb: bool) -> str | None:
    """The answer that a clause gives, or None if it only talks about it."""
    number_first = LEADS_WITH_NUMBER.match(clause) is not None and not clause.startswith(("$", "\\"))
    formula_first = LEADS_WITH_FORMULA.match(clause) is not None
    cjk = CJK.search(clause) is not None
    num_words = len(clause.split())
    if not number_first and (rest := _after_copula(clause, prose=not formula_first and (num_words > MAX_ANSWER_WORDS))):
        clause, number_first = rest, True
    if number_first or formula_first:
        if after := _AFTERTHOUGHT.search(clause):
            clause = _tidy(clause[: after.start()])
        return _trimmed(clause) if formulas else clause
    if num_words <= MAX_ANSWER_WORDS and not (cjk and DIGIT.search(clause)):
        return clause
    if is_verb and not cjk:
        return None
    if guess and not _NO_BARE_VALUE.search(clause):
        return _price(clause) or _last_value(clause, last_number=True, formulas=formulas) or clause
    return clause


def _after_copula(clause: str, *, prose: bool) -> str:
    """What follows the last "is", where that is a value or, in prose, a few words."""
    *_, last = [None, *_COPULA.finditer(clause)]
    rest = _tidy(clause[last.end() :]) if last else ""
    is_value = LEADS_WITH_NUMBER.match(rest) or LEADS_WITH_FORMULA.match(rest)
    return rest if is_value or (prose and len(rest.split()) <= MAX_ANSWER_WORDS) else ""


def _price(clause: str) -> str | None:
    """The one amount of money of a clause, if there is one."""
    prices = [match[1] or match[2] for match in _PRICE.finditer(clause)] if clause.count("$") < 2 else []
    return prices[0].rstrip(".,") if len(prices) == 1 else None


def _trimmed(clause: str) -> str:
    """A number without the words after it, unless they are a unit or change its value."""
    if counted := COUNTED_IN_CJK.fullmatch(clause):
        return counted[1]
    match = _NUMBER_AND_WORDS.fullmatch(clause)
    if match is None or not is_unit_like(match[2]) or split_percent(match[2])[0] or find_unit(match[2]):
        return clause
    word = match[2].split()[0].strip(".,;:")
    return f"{match[1]} {word}" if word.lower() not in NO_UNITS_IN_PROSE and find_unit(word) else match[1]


def _last_value(text: str, *, last_number: bool, formulas: bool) -> str | None:
    formula = last_formula(text, find_formulas(text)) if formulas else None
    number = find_last_number(text[formula[1] :] if formula else text) if last_number else None
    return number or (formula[0] if formula else None)
