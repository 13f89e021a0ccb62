r"""Find the answer in a response. Grading comes after, and never looks at anything but what was found here.

What is searched is the visible text: the end of turn cuts it, thinking and fenced code are not part of it. Then the
first rule that finds something wins:

| rule | reads |
|---|---|
| `boxed` | the last closed `\boxed{...}` or `\fbox{...}`, the innermost of nested ones |
| `answer tag` | the last closed `<answer>...</answer>` |
| `hash marker` | the rest of the line after the last `####` that is not a heading |
| `final hash` | a `#` directly before a number that ends the text, as in `95-21=74;#74` |
| `answer is` | the clause after the last "answer is", "answer:" or "answer =" |
| `last number` | the last number anywhere: a guess, which the caller can forbid |

Every rule is linear in the length of the text.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from rlsd_verifiers.notation import plain


class Extraction(NamedTuple):
    """An answer as it stands in the response, and the name of the rule that found it."""

    text: str
    rule: str


_END_OF_TURN = re.compile(r"<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|<end_of_turn>|</s>")
_THINK_TAG = re.compile(r"<(/?)(?:think|thought|thinking)\s*+>", re.IGNORECASE)
_FENCE = "```"


def visible_text(response: str) -> str | None:
    """The part of a response that may hold its answer, or None if it ends while still thinking.

    That is the text after the last closing think tag and before the first end-of-turn token, without fenced code. A
    response whose opening tag stood in the prompt and that never closes it cannot be told from one that does not think.
    """
    end = _END_OF_TURN.search(response)
    text = response[: end.start()] if end else response
    tags = list(_THINK_TAG.finditer(text))
    closing = max((tag.end() for tag in tags if tag[1]), default=0)
    if any(tag.start() >= closing for tag in tags if not tag[1]):
        return None
    return "\n".join(text[closing:].split(_FENCE)[::2])


def extract(response: str, *, allow_last_number: bool = True) -> Extraction | None:
    """The answer of a response by the first rule that finds one, or None."""
    text = visible_text(response)
    if text is None:
        return None
    for name, rule in _RULES.items():
        if name == LAST_NUMBER and not allow_last_number:
            continue
        if found := (rule(text) or "").strip():
            return Extraction(found, name)
    return None


def why_no_answer(response: str) -> str:
    """The reason to give when `extract` found nothing."""
    if not response.strip():
        return "the response is empty"
    if visible_text(response) is None:
        return "the response ends inside its thinking"
    return "no answer was found in the response"


_BRACE = re.compile(r"(\\(?:boxed|fbox)\s*+\{)|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The content of the last-opened box that is closed; braces are matched and `\{` is not a brace."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    open_braces: list[int | None] = []
    span: tuple[int, int] | None = None
    for token in _BRACE.finditer(text):
        if token[1]:
            open_braces.append(token.end())
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and (span is None or start > span[0]):
                span = start, token.start()
    return text[slice(*span)] if span else None


_ANSWER_TAG = re.compile(r"<(/?)answer\s*+>", re.IGNORECASE)


def last_tagged(text: str) -> str | None:
    """The content of the last `<answer>` that is closed."""
    start: int | None = None
    span: tuple[int, int] | None = None
    for tag in _ANSWER_TAG.finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            span, start = (start, tag.start()), None
    return text[slice(*span)] if span else None


_MARKER = re.compile(r"(?<!#)####(?!#)([^\n#]*+)")
_LEADS_WITH_NUMBER = re.compile(r"[^\w\n]*+[0-9]")


def last_marked(text: str) -> str | None:
    """What follows the last `####` on its line. A line of words with more text below it is a Markdown heading."""
    text = text.rstrip()
    for marker in reversed(list(_MARKER.finditer(text))):
        if marker.end() == len(text) or _LEADS_WITH_NUMBER.match(marker[1]):
            return marker[1]
    return None


_FINAL_HASH = re.compile(r"(?<![# \t])#([-+]?[0-9][0-9,]*+(?:\.[0-9]++)?)")


def final_hash(text: str) -> str | None:
    """The number that ends the text, if a single `#` stands directly before it and no blank before the `#`."""
    text = text.rstrip()
    match = _FINAL_HASH.fullmatch(text, max(text.rfind("#"), 0))
    return match[1] if match else None


_ANSWER_IS = re.compile(r"\banswer\b[*_\s]{0,4}+(is|are|:|=)(?!\w)[*_\s:]{0,8}+", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.!?](?=\s|[*_$\"']*+$)|\s(?:because|since|as|which|so|given)\b|\n", re.IGNORECASE)
MAX_ANSWER_WORDS = 4


def last_answer_is(text: str) -> str | None:
    """The clause after the last "answer is", up to the end of the sentence, of the line, or to a "because".

    "The answer is just the number itself" is talk about the answer: after `is`, a clause that does not begin with a
    number and is longer than `MAX_ANSWER_WORDS` words is passed over.
    """
    end = len(text)
    for head in reversed(list(_ANSWER_IS.finditer(text))):
        stop = _CLAUSE_END.search(text, head.end(), end)
        clause = text[head.end() : stop.start() if stop else end].strip(" \t*_")
        given = head[1] in ":=" or _LEADS_WITH_NUMBER.match(clause) or len(clause.split()) <= MAX_ANSWER_WORDS
        if clause and given:
            return clause
        end = head.start()
    return None


_NUMBER = re.compile(
    r"(?<![\w^.])(?<![_^]\{)(?:[0-9]++[ ][0-9]++/[0-9]++|([0-9][0-9,]*+)(?:\.[0-9]++)?|\.[0-9]++)"
    r"(?:[eE][-+]?[0-9]++(?!\w)|[ ]?/[ ]?[0-9]++)?+(?![\^_])[ ]?%?"
)
_SIGNED = re.compile(r"(?<![\w)\]}+-])[-+][$\u20ac\u00a3\u00a5]?\Z")
_WELL_FORMED = re.compile(r"[0-9]{1,3}+(?:,[0-9]{3})*+|[0-9]++")


def last_number(text: str) -> str | None:
    """The last number of the text, with its sign, decimals, exponent, fraction or percent sign.

    Well-formed thousands belong together (`1,234,567`); of any other run of commas the last piece is taken (`5,1`
    gives `1`). A minus directly after a number or bracket is a subtraction (`10-3` gives `3`). Indices and powers
    (`x_3`, `2^10`) are not numbers of their own.
    """
    text = plain(text)
    match: re.Match[str] | None = None
    for match in _NUMBER.finditer(text):  # noqa: B007
        pass
    if match is None:
        return None
    number, run = match[0].rstrip(), (match[1] or "").rstrip(",")
    if not _WELL_FORMED.fullmatch(run):
        number = number[run.rfind(",") + 1 :]
    number = number.rstrip(",")
    sign = _SIGNED.search(text, max(match.start() - 3, 0), match.start()) if match[0].startswith(number) else None
    return (text[sign.start()] if sign else "") + number


LAST_NUMBER = "last number"

_RULES: dict[str, Callable[[str], str | None]] = {
    "boxed": last_boxed,
    "answer tag": last_tagged,
    "hash marker": last_marked,
    "final hash": final_hash,
    "answer is": last_answer_is,
    LAST_NUMBER: last_number,
}
