r"""Find the answer in a response. Grading comes after, and sees only what was found here.

What is searched is the visible text: the end of turn cuts it, thinking and fenced code are not part of it. Then the
first rule that finds something wins:

| rule | reads |
|---|---|
| `boxed` | the last closed `\boxed{...}` or `\fbox{...}`, the innermost of nested ones |
| `boxes` | the last closed boxes, where only a joiner such as `,` or `and` stands between them: a list |
| `answer tag` | the last closed `<answer>...</answer>` |
| `hash marker` | the rest of the line after the last `####` that is not a heading |
| `final hash` | a `#` directly before a number that ends the text, as in `95-21=74;#74` |
| `answer is` | the clause after the last "answer is", "answer:" or "answer =", in several languages |
| `answer line` | the rest of a line that begins with `A:` |
| `bold` | a number or short answer between `**` in the last sentence |
| `last formula` | on request: the last formula between `$`, `\(` or `\[`, if no bare number comes after it |
| `only line` | on request: a response that is one line of a few words |
| `last number` | the last number anywhere: a guess, which the caller can forbid |

A box that is empty or holds a placeholder does not count, except that a text which ends in one has no answer. Nor does
a box after "not". The last three rules find nothing in a text that ends by saying it found no solution, or that only
states the problem.

Every rule is linear in the length of the text.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from rlsd_verifiers.extraction.boxes import Box, filled_boxes, find_boxes
from rlsd_verifiers.extraction.formulas import COMMAND_OR_TEXT, MAX_FORMULA_CHARS, find_formulas, last_formula
from rlsd_verifiers.extraction.last_number import find_last_number
from rlsd_verifiers.extraction.marks import answer_line, final_hash, last_bold, last_marked, last_sentence, last_tagged
from rlsd_verifiers.extraction.signs import DIGIT, LEADS_WITH_FORMULA, LEADS_WITH_NUMBER, WORD, is_joiner, percent_after
from rlsd_verifiers.extraction.statements import last_answer_is
from rlsd_verifiers.units import find_unit


class Extraction(NamedTuple):
    """An answer as it stands in the response, and the name of the rule that found it."""

    text: str
    rule: str


_END_OF_TURN = re.compile(r"<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|<end_of_turn>|</s>|(?<=\S)\s*+<\|im_start\|>")
_THINK_TAG = re.compile(r"<(/?)(?:think|thought|thinking)\s*+>", re.IGNORECASE)
_FENCE = "```"


def spoken_text(response: str) -> str | None:
    """The text after the last closing think tag and before the first end-of-turn token.

    None if it ends while still thinking. A response whose opening tag stood in the prompt and that never closes it
    cannot be told from one that does not think.
    """
    end = _END_OF_TURN.search(response) if "<" in response else None
    text = response[: end.start()] if end else response
    tags = list(_THINK_TAG.finditer(text)) if "<" in text else []
    closing = max((tag.end() for tag in tags if tag[1]), default=0)
    if any(tag.start() >= closing for tag in tags if not tag[1]):
        return None
    return text[closing:]


def visible_text(response: str) -> str | None:
    """The part of a response that may hold its answer, `spoken_text` without fenced code; None if there is none."""
    text = spoken_text(response)
    return None if text is None else "\n".join(text.split(_FENCE)[::2])


def extract(response: str, *, last_number: bool = True, formulas: bool = False) -> Extraction | None:
    """The answer of a response by the first rule that finds one, or None.

    Without `last_number` no number is ever picked out of prose. `formulas` adds the rules for answers that are
    expressions: `last formula` and `only line`.
    """
    text = visible_text(response)
    if text is None:
        return None
    boxes = find_boxes(text)
    if boxes:
        if filled := filled_boxes(text, boxes):
            return _restated(text[filled[-1].end :], formulas=formulas) or _from_boxes(text, filled)
        if not WORD.search(text, boxes[-1].end):
            return None
    for name, rule in _MARKS.items():
        if marked := (rule(text) or "").strip():
            return Extraction(_without_preamble(marked), name)
    if found := last_answer_is(text, guess=last_number, formulas=formulas):
        return Extraction(found, "answer is")
    for name, rule in _WEAKER_MARKS.items():
        if weak := (rule(text) or "").strip():
            return Extraction(weak, name)
    if _says_nothing(text):
        return None
    return _unmarked(text, last_number=last_number, formulas=formulas)


def only_line(response: str) -> Extraction | None:
    """A response of one line as its own answer."""
    text = (visible_text(response) or "").strip()
    return Extraction(text, "only line") if text and "\n" not in text else None


def why_no_answer(response: str) -> str:
    """The reason to give when `extract` found nothing."""
    if not response.strip():
        return "the response is empty"
    if visible_text(response) is None:
        return "the response ends inside its thinking"
    return "no answer was found in the response"


_FINAL_ANSWER = re.compile(r"\bfinal answer(?: is|:)", re.IGNORECASE)


def _restated(rest: str, *, formulas: bool) -> Extraction | None:
    """A value that is called the final answer after the last box."""
    if not _FINAL_ANSWER.search(rest):
        return None
    found = last_answer_is(rest, guess=False, formulas=formulas)
    given = found and (LEADS_WITH_NUMBER.match(found) or LEADS_WITH_FORMULA.match(found))
    return Extraction(found, "answer is") if found and given else None


def _from_boxes(text: str, boxes: list[Box]) -> Extraction:
    members = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        if not is_joiner(text[box.end : members[-1].start]):
            break
        members.append(box)
    contents = [text[box.inner : box.inner_end].strip() for box in reversed(members)]
    if len(set(contents)) > 1:
        return Extraction(", ".join(contents), "boxes")
    return Extraction(_without_preamble(contents[0]) + percent_after(text, boxes[-1].end, contents[0]), "boxed")


_PREAMBLE = re.compile(
    r"(\\text\{)?\s*+(?:the\s)?(?:(?:final|correct)\s)?(?:answer|result)\s?(?:is|:|=)\s*+:?\s*+(\})?\s*+(?=\S)",
    re.IGNORECASE,
)


def _without_preamble(content: str) -> str:
    r"""What an answer such as `\text{The answer is } 42` says."""
    match = _PREAMBLE.match(content)
    if match is None:
        return content
    rest = content[match.end() :]
    return rest[:-1] if match[1] and not match[2] and rest.endswith("}") else rest


_GIVES_UP = re.compile(
    r"\b(?:could|can|was|were|am|is|are|do|did|does)(?:\s?not|n['\u2019]t)\s(?:be\s)?(?:able\sto\s)?"
    r"(?:solve|determine|answer|know|sure|figure|certain|find\s(?:the|an|any)\s(?:answer|solution))"
    r"|\bunable\sto\s(?:solve|determine|find|answer|compute|figure)|\bno\sidea\b|\bnot\s(?:sure|certain)\b"
    r"|\bgive\sup\b|\b(?:not\senough|insufficient)\sinformation\b",
    re.IGNORECASE,
)
_MAX_LAST_WORDS = 240
_COMMANDS = re.compile(
    r"\s*+(?:simplify|evaluate|compute|calculate|find|solve|determine|express|write|expand|factor|factori[sz]e|prove|show)\b",
    re.IGNORECASE,
)
_RESULT_WORD = re.compile(
    r"=|\b(?:is|are|get|gives?|gave|yields?|obtain|thus|so|hence|therefore|equals?)\b", re.IGNORECASE
)


def _says_nothing(text: str) -> bool:
    """True where a text ends by giving up, or is a single sentence that states a problem."""
    if _GIVES_UP.search(text, max(0, len(text) - _MAX_LAST_WORDS)):
        return True
    return _COMMANDS.match(text) is not None and last_sentence(text) == 0 and not _RESULT_WORD.search(text)


def _unmarked(text: str, *, last_number: bool, formulas: bool) -> Extraction | None:
    spans = find_formulas(text) if formulas else []
    formula = last_formula(text, spans)
    if formula is None and formulas and (line := _only_line(text, last_number)):
        return Extraction(line, "only line")
    number = find_last_number(text[formula[1] :] if formula else text) if last_number else None
    if number:
        return Extraction(number, "last number")
    return Extraction(formula[0], "last formula") if formula else None


MAX_LINE_WORDS = 6
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\b")
_PROSE_WORD = re.compile(
    r"(?<![^\s(*\"'])(?!(?:and|or|cm|mm|km|kg|mod|sin|cos|tan|log|ln|max|min|sqrt|pi|percent|pct)\b)[^\W\d_]{2,}(?=[\s.,;:!?)*\"']|\Z)"
)
_BRACKETED = re.compile(r"\[([^\[\],;$\\]*+)\]\.?")
_IN_CJK = re.compile(r"[0-9]\s?[\u3040-\u30ff\u4e00-\u9fff]|[\u3040-\u30ff\u4e00-\u9fff]\s?[0-9]")


def _only_line(text: str, last_number: bool) -> str | None:
    """A text that is one line of a few words; words around a number are left to `last number`, where it may be used."""
    line = text.strip()
    if (
        not line
        or "\n" in line
        or _OPEN_BOX.search(line)
        or len(line) > MAX_FORMULA_CHARS
        or len(line.split()) > MAX_LINE_WORDS + line.count("+")
    ):
        return None
    if last_number and DIGIT.search(line):
        words = [word for word in _PROSE_WORD.findall(COMMAND_OR_TEXT.sub(" ", line)) if not find_unit(word)]
        if words or _IN_CJK.search(line):
            return None
    bracketed = _BRACKETED.fullmatch(line)
    return bracketed[1].strip() if bracketed else line.strip("*")


_MARKS: dict[str, Callable[[str], str | None]] = {
    "answer tag": last_tagged,
    "hash marker": last_marked,
    "final hash": final_hash,
}
_WEAKER_MARKS: dict[str, Callable[[str], str | None]] = {"answer line": answer_line, "bold": last_bold}
