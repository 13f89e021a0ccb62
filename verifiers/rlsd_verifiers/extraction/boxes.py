r"""Boxes: `\boxed{...}` and `\fbox{...}`, their ends, and which of them count."""

import re
from typing import NamedTuple

from rlsd_verifiers.extraction.signs import lightened


class Box(NamedTuple):
    """Where the backslash stands, where the content begins and ends, and where the text goes on."""

    start: int
    inner: int
    inner_end: int
    end: int


_BOX_TOKEN = re.compile(
    r"(?P<slashes>\\++)"
    r"(?:(?:boxed|fbox|framebox)\s*+(?:(?P<box>\{)|(?P<bare>[0-9]++(?:\.[0-9]++)?))|(?P<escaped>[{}]))?+"
    r"|(?P<brace>[{}])"
)
_PLACEHOLDER = re.compile(
    r"(?:(?:your|the|final)[ ]){0,3}(?:answer|result)(?:[ ]here)?|x{3,9}|\\[lc]?dots|\\square|[.?_\u2026 -]*",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:\bnot|n['\u2019]t|\brather\sthan|\binstead\sof)[\s$*:]{0,9}\Z", re.IGNORECASE)


def find_boxes(text: str) -> list[Box]:
    r"""The closed boxes that hold no other. In text with doubled backslashes, `\\{` is no brace either."""
    if "boxed" not in text and "fbox" not in text:
        return []
    found: list[Box] = []
    opened: list[tuple[int, int] | None] = []
    doubled = False
    for token in _BOX_TOKEN.finditer(text):
        kind, end = token.lastgroup, token.end()
        if kind == "box":
            doubled = token.end("slashes") - token.start() & 1 == 0
            opened.append((token.start(), end))
        elif kind == "bare":
            found.append(Box(token.start(), token.start("bare"), end, end))
        elif kind == "slashes" or (kind == "escaped" and _hides_brace(end - 1 - token.start(), doubled)):
            continue
        elif text[end - 1] == "{":
            opened.append(None)
        elif opened and (box := opened.pop()) and not (found and found[-1].start > box[0]):
            found.append(Box(*box, end - 1, end))
    end = len(text.rstrip(" \n.$"))
    if opened and (box := opened[-1]) and text.endswith("\\}", box[1], end):  # `\boxed{185\}`
        found.append(Box(*box, end - 2, end))
    return found


def _hides_brace(num_slashes: int, doubled: bool) -> bool:
    return num_slashes % 2 == 1 or (doubled and num_slashes % 4 == 2)


def filled_boxes(text: str, boxes: list[Box]) -> list[Box]:
    """The boxes up to the last one that holds an answer and does not come after a "not"."""
    for index in range(len(boxes) - 1, -1, -1):
        box = boxes[index]
        content = text[box.inner : box.inner_end][:100].strip()
        if (
            content
            and not _PLACEHOLDER.fullmatch(lightened(content))
            and not _NOT.search(text, max(0, box.start - 24), box.start)
        ):
            return boxes[: index + 1]
    return []
