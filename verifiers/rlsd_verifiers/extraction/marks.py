"""Marks around an answer other than boxes: tags, hashes, `A:` lines, bold."""

import re

from rlsd_verifiers.extraction.signs import COUNTED_IN_CJK, DIGIT, LEADS_WITH_NUMBER, MAX_ANSWER_WORDS

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


def last_marked(text: str) -> str | None:
    """What follows the last `####` on its line. A line of words with more text below it is a Markdown heading."""
    text = text.rstrip()
    for marker in reversed(list(_MARKER.finditer(text))):
        if marker.end() == len(text) or LEADS_WITH_NUMBER.match(marker[1]):
            return marker[1]
    return None


_FINAL_HASH = re.compile(r"(?<![# \t])#([-+]?[0-9][0-9,]*+(?:\.[0-9]++)?)")


def final_hash(text: str) -> str | None:
    """The number that ends the text, if a single `#` stands directly before it and no blank before the `#`."""
    text = text.rstrip()
    match = _FINAL_HASH.fullmatch(text, max(text.rfind("#"), 0))
    return match[1] if match else None


_A_LINE = re.compile(r"^[ \t]*+\**A[:\uff1a]\**[ \t]*+([^\n]++)$", re.MULTILINE)
_B_LINE = re.compile(r"^[ \t]*+[*(]*B[*]*[:\uff1a.)]", re.MULTILINE)


def answer_line(text: str) -> str | None:
    """The rest of the last line that begins with `A:`, where no line begins with `B:` as in a list of choices."""
    *_, last = [None, *_A_LINE.finditer(text)]
    return last[1].strip().rstrip(".") if last and not _B_LINE.search(text) else None


_BOLD = re.compile(r"\*\*(?!\s)([^*\n]{1,80})\*\*")
_SENTENCE_END = re.compile(r"[.!?](?=\s|[*\"'()\[\]]{0,4}\Z)|[\u3002\uff01\uff1f]|\n")
_ENDS_TEXT = re.compile(r"[\s.!*\"'()\[\]$\u3002]*+\Z")


def last_bold(text: str) -> str | None:
    """The last text in bold, if it stands in the last sentence and holds a number, or ends that sentence.

    Bold that a colon belongs to, or that begins a line with more after it, is a heading.
    """
    text = text.rstrip()
    *_, last = [None, *_BOLD.finditer(text, last_sentence(text))]
    if last is None:
        return None
    content = last[1].strip()
    after = text[last.end() : last.end() + 3].lstrip()
    if content.endswith((":", "\uff1a")) or after.startswith((":", "\uff1a")):
        return None
    ends = _ENDS_TEXT.match(text, last.end()) is not None
    if len(content.split()) > MAX_ANSWER_WORDS or not (ends or DIGIT.search(content)):
        return None
    counted = COUNTED_IN_CJK.fullmatch(content)
    return (counted[1] if counted else content).rstrip(".")


def last_sentence(text: str) -> int:
    """Where the last sentence or line of a text begins, at most `_MAX_SENTENCE_CHARS` from the end."""
    start = max(0, len(text) - _MAX_SENTENCE_CHARS)
    for stop in _SENTENCE_END.finditer(text, start):
        if not _ENDS_TEXT.match(text, stop.end()):
            start = stop.end()
    return start


_MAX_SENTENCE_CHARS = 2000
