r"""The `choice` verifier: the answer is one of a few lettered choices, or several of them.

Where the letter of a response is looked for, first that finds one wins:

| rule | reads |
|---|---|
| the marks of `extract` | a box, an answer tag or `####`: its letters, or the text of a choice |
| `answer is` | the letters after the last "answer is", "correct option:" or the like, in several languages |
| `is correct` | the letter before "is correct" or "is the right answer" |
| `bold` | the last `**C**` or `\textbf{(C)}` |
| `leading letter` | a letter that begins the text, before a full stop, a bracket, or other than Latin letters |
| `it is` | the letters after "it's", "must be", "I choose" and the like |
| `last line` | a last line that is a letter, or the text of a choice |

Letters that are ruled out ("not C", "it can't be A or B", "A is wrong") do not count, and neither does the article "A".
A response that names two where one is right names the wrong ones.
"""

import re
import string
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rlsd_verifiers.extract import Extraction, extract, visible_text, why_no_answer
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.notation import fold_typography, parse_number, plain
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten

NUM_LABELS = 10
_MARK_RULES = frozenset({"boxed", "boxes", "answer tag", "hash marker"})


class Choices(NamedTuple):
    """The letters that can be chosen, and what they stand for where that is known."""

    labels: str
    texts: dict[str, str]


class Choice(NamedTuple):
    """The letters that a response chooses, as it says so, and the name of the rule that found them."""

    letters: frozenset[str]
    text: str
    rule: str


def grade_choice(submission: Submission, leniency: Leniency) -> Verdict:  # noqa: ARG001
    """Compare the letters that a response chooses with those of the reference.

    A reference is a letter (`C`, `(C)`, `C.`, `(C) Paris`), a list of letters of which all are needed in any order
    (`A,C` or `AC`), or with `submission.choices` the text of one of them. A response may name the choice by its text.
    """
    shown = f"the reference `{shorten(submission.answer or '')}`"
    if not (submission.answer or "").strip():
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, "the reference answer is empty")
    reference, choices = _reference(submission)
    if not reference:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, f"{shown} is not the letter or text of a choice")
    marked = extract(submission.response, last_number=False)
    found = _find(submission.response, marked, choices)
    if found is None:
        if marked and marked.rule in _MARK_RULES:
            reason = f"`{shorten(marked.text)}` ({marked.rule}) is not a choice"
            return Verdict(Outcome.UNPARSEABLE, 0.0, marked.text, reason)
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    same = found.letters == reference
    outcome, verb = (Outcome.CORRECT, "is") if same else (Outcome.WRONG, "is not")
    letters = ", ".join(sorted(found.letters))
    said = "" if found.text == letters else f", from `{shorten(found.text)}`"
    return Verdict(outcome, float(same), letters, f"`{letters}` ({found.rule}{said}) {verb} {shown}")


def find_choice(response: str, choices: Choices) -> Choice | None:
    """What a response chooses, or None."""
    return _find(response, extract(response, last_number=False), choices)


def _find(response: str, marked: Extraction | None, choices: Choices) -> Choice | None:
    if marked and marked.rule in _MARK_RULES:
        letters = _marked_letters(marked.text, choices)
        return Choice(letters, marked.text.strip(), marked.rule) if letters else None
    text = fold_typography(visible_text(response) or "").strip()
    last_line = text[text.rfind("\n") + 1 :]
    candidates: tuple[tuple[str, Callable[[str, Choices], frozenset[str]], Iterator[str]], ...] = (
        ("answer is", _stated_letters, _clauses(_ANSWER_IS, text)),
        ("is correct", _whole_letters, (match[1] for match in _last(_IS_CORRECT, text))),
        ("bold", _marked_letters, (match[1] or match[2] for match in _last(_BOLD, last_line))),
        ("leading letter", _stated_letters, _leading_clause(text)),
        ("it is", _stated_letters, _clauses(_IT_IS, text)),
        ("last line", _whole_letters, iter((last_line,))),
    )
    for rule, read, clauses in candidates:
        for clause in clauses:
            if letters := read(clause, choices):
                return Choice(letters, clause.strip(), rule)
    return None


def _reference(submission: Submission) -> tuple[frozenset[str], Choices]:
    """The letters of the reference, and the choices there are."""
    answer = fold_typography(submission.answer or "").strip()
    if submission.choices:
        labels = string.ascii_uppercase[: len(submission.choices)]
        choices = Choices(labels, dict(zip(labels, submission.choices, strict=False)))
        return _marked_letters(answer, choices), choices
    choices = Choices(string.ascii_uppercase[:NUM_LABELS], {})
    if found := _whole_letters(answer, choices):
        return found, choices
    if named := _LABELLED.fullmatch(answer):
        return frozenset(named["letter"]), choices._replace(texts={named["letter"]: named["text"]})
    chosen = find_choice(answer, choices)
    return (chosen.letters if chosen else frozenset()), choices


_LIGHT = re.compile(
    r"\\(?:text(?:bf|rm|it|sf)?|math(?:rm|bf|it|sf)|[mh]box|boxed|left|right|q?quad|[,;:! ()\[\]])"
    r"|[{}$_`\"\u201c\u201d]|\*\*"
)
_LABELLED = re.compile(
    r"\(?(?P<letter>[A-J])(?:[).:]\s*+|\s++(?=[A-Z0-9$\\]))(?P<text>[^\s,;&/][^\n]*+)(?:\n.*+)?", re.DOTALL
)
_ARTICLE = (
    r"(?:\s+(?!(?:and|or|is|isn|are|because|since|as|not|but|for|with|which|that|rather|instead|so)\b)[a-z]|['\u2019])"
)
_LETTER = rf"(?<![A-Za-z0-9'\u2019])(?:(?![AI]{_ARTICLE})[A-Z])(?![A-Za-z0-9'\u2019])"
_SEPARATOR = r"(?:\s*(?:[,;/&\u3001\u548c\u6216\u4e0e\u53ca]|(?:and|or|und|et|y)(?![a-z])))+\s*"
_ITEM = rf"\(?{_LETTER}\)?"
_LIST = re.compile(rf"(?:both\s)?{_ITEM}(?:{_SEPARATOR}{_ITEM}){{0,25}}[.:]?")
_LEADING_LIST = re.compile(
    rf"[(\[]?{_ITEM}(?!\s+(?:is|isn|was)\b[^,;.]*?(?:not|n't|wrong|incorrect|false)\b)"
    rf"(?:{_SEPARATOR}{_ITEM}(?=\s*(?:[.,;:\])]|\Z|and\b|or\b))){{0,25}}"
    r"(?=[.)\]:,;]|\Z|\s+[A-Za-z(0-9$\\]|\s*[^\x00-\x7f])"
)
_LOWER = re.compile(r"\(?([a-z])[).]?")
_CAPITAL = re.compile(_LETTER)


def _lightened(text: str) -> str:
    return " ".join(_LIGHT.sub(" ", fold_typography(text)).split()).strip("* ")


def _whole_letters(text: str, choices: Choices) -> frozenset[str]:
    """The letters of a text that is nothing but letters or the text of a choice."""
    clean = _lightened(text)
    if lower := _LOWER.fullmatch(clean):
        clean = lower[1].upper()
    if _LIST.fullmatch(clean):
        letters = frozenset(_CAPITAL.findall(clean))
        return letters if letters <= set(choices.labels) else frozenset()
    if clean.isalpha() and clean.isupper() and set(clean) <= set(choices.labels) and list(clean) == sorted(set(clean)):
        return frozenset(clean)
    return _named_by_text(text, choices)


def _named_by_text(text: str, choices: Choices) -> frozenset[str]:
    key, number = _key(text), parse_number(text)
    same = [
        label
        for label, choice in choices.texts.items()
        if key == _key(choice) or (number is not None and number == parse_number(choice))
    ]
    return frozenset(same) if key and len(same) == 1 else frozenset()


def _key(text: str) -> str:
    return _lightened(plain(text)).casefold().rstrip(".").replace(" ", "")


def _marked_letters(text: str, choices: Choices) -> frozenset[str]:
    """The letters of a marked answer: nothing but letters, letters before the text of a choice, or that text."""
    if letters := _whole_letters(text, choices):
        return letters
    clean = _lightened(text)
    if leading := _LEADING_LIST.match(clean):
        return frozenset(_CAPITAL.findall(leading[0])) & set(choices.labels)
    return _scanned_letters(clean, choices) if _SPEAKS_OF_CHOICES.search(clean) else frozenset()


def _stated_letters(clause: str, choices: Choices) -> frozenset[str]:
    """The letters that a clause of prose names and does not rule out."""
    if letters := _whole_letters(clause, choices):
        return letters
    clean = _lightened(clause)
    if leading := _LEADING_LIST.match(clean):
        return frozenset(_CAPITAL.findall(leading[0])) & set(choices.labels)
    return _scanned_letters(clean, choices)


_SPEAKS_OF_CHOICES = re.compile(r"\b(?:option|choice|answer)s?\b", re.IGNORECASE)
_TOKEN = re.compile(
    rf"""(?P<negation>\b\w{{0,12}}n['\u2019]t\b|\b(?:not|cannot|non|pas|no|nor|neither|never|none|except|nicht|instead\sof|rather\sthan
          |excludes?|excluded|eliminat\w{{0,4}}|rul\w{{1,3}}\sout)\b|n['\u2019]t\b|\u4e0d\u662f|\u4e0d\u9009|\u6392\u9664|\u800c\u975e)
    | (?P<stop>\b(?:because|since|due\sto)\b|\u56e0\u4e3a)
    | (?P<turn>[.;!?\u3002\uff1b]|\b(?:but|so|therefore|thus|hence|however|then)\b|\u56e0\u6b64|\u6240\u4ee5
        |\u800c\u662f)
    | (?P<comma>[,\uff0c\u3001])
    | (?P<joiner>\b(?:and|or)\b)
    | (?P<letter>{_LETTER})
    | (?P<word>\w+)""",
    re.VERBOSE,
)
_WRONG = re.compile(
    r"\)?\s+(?:is|are|was|seems?)(?:\s+(?:clearly|definitely|obviously))?(?:\s+(?:not|wrong|incorrect|false|out)\b|n['\u2019]t\b)"
)
_MAX_CLAUSE_CHARS = 300


def _scanned_letters(clause: str, choices: Choices) -> frozenset[str]:
    found: set[str] = set()
    negated = comma = False
    for token in _TOKEN.finditer(clause[:_MAX_CLAUSE_CHARS]):
        kind = token.lastgroup
        if kind == "letter" and token[0] in choices.labels:
            if not negated and not _WRONG.match(clause, token.end()):
                found.add(token[0])
        elif kind == "negation":
            negated = True
        elif kind == "stop" and found:
            break
        elif kind in ("turn", "stop") or (kind == "word" and comma):
            negated = False
        if kind != "joiner":
            comma = kind == "comma"
    return frozenset(found)


_ANSWER_IS = re.compile(
    r"""\b(?:answers?|option|choice|r[\u00e9e]ponse|respuesta|resposta|antwort)\b[*_\s]{0,4}+
    (?:(?:to|for|of|here|among|from|above|letter)\b[^.\n:]{0,40}?)??
    (?:(?:is|are|be|est|es|ist)(?!\w)|[:=])[*_\s:]{0,6}+
    |\u7b54\u6848(?:\u5e94\u8be5|\u5e94|\u5c31)?(?:[:=\u662f\u4e3a\u9009]){1,2}\s*+|\u7b54:\s*+|\u7b54\u3048[\u306f:]\s*+""",
    re.IGNORECASE | re.VERBOSE,
)
_IT_IS = re.compile(
    r"\b(?:it(?:['\u2019]s|\s(?:is|must\sbe|has\sto\sbe|should\sbe|would\sbe))|that(?:['\u2019]s|\sis)|must\sbe"
    r"|(?:I|we|would|will|to|should|['\u2019]ll|['\u2019]d)\s(?:choose|pick|select|say|guess|go\swith)|(?:go|going|went)\swith|so|therefore,?|thus,?|hence,?)"
    r"(?!\w)[:\s*]{0,4}+|(?:\u6545\u9009|\u5e94\u9009|\u9009\u62e9|\u9009)[:\s]*+",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.!?](?=\s|\Z)|[\u3002\uff01\uff1f]|\n")
_IS_CORRECT = re.compile(
    rf"({_ITEM})(?:[.:][^.\n]{{0,60}}?)?\s(?:is|are)\s(?:(?:the|clearly|definitely|most|only)\s){{0,3}}(?:correct|right|best|answer)\b"
)
_BOLD = re.compile(r"\*\*(?!\s)([^*\n]{1,80})\*\*|\\textbf\{([^{}\n]{1,80})\}")
_LEADING = re.compile(r"[(\[*\s$]{0,4}+(?:\\text(?:bf)?\{)?\(?(?!I,)[A-Z](?:[)\].:,;*$}]|\Z|\n|[^\x00-\x7f])")
_SECOND_LABEL = re.compile(r"^\s*+[(\[*]{0,3}B[)\].:]", re.MULTILINE)


def _last(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The last matches in a text, the very last first."""
    return reversed(deque(pattern.finditer(text), maxlen=_MAX_CLAUSES))


_MAX_CLAUSES = 50


def _clauses(head: re.Pattern[str], text: str) -> Iterator[str]:
    """What follows each head up to the end of its sentence, the last first."""
    end = len(text)
    for match in _last(head, text):
        stop = _CLAUSE_END.search(text, match.end(), min(end, match.end() + _MAX_CLAUSE_CHARS))
        yield text[match.end() : stop.start() if stop else min(end, match.end() + _MAX_CLAUSE_CHARS)]
        end = match.start()


def _leading_clause(text: str) -> Iterator[str]:
    """The first line, if it begins with a letter of its own and the text is no list of choices."""
    if _LEADING.match(text) and not (_SECOND_LABEL.search(text) and text.lstrip("([* ").startswith("A")):
        yield text[: text.find("\n") if "\n" in text else len(text)][:_MAX_CLAUSE_CHARS]
