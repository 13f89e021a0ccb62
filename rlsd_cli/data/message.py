"""A message made of a template and of data, which knows what of it is data."""

import re
from typing import Self

Spans = tuple[tuple[int, int], ...]


class Message(str):
    """A text with the places (begin, end) that are filled with data. What is cut out of it is a plain text again."""

    __slots__ = ("data",)
    data: Spans

    def __new__(cls, text: str, data: Spans) -> Self:
        message = super().__new__(cls, text)
        message.data = data
        return message


def data_of(text: str) -> Spans:
    """The places of a text that are data: all of it, where nothing else is known."""
    return text.data if isinstance(text, Message) else ((0, len(text)),)


def fill(template: str, **values: str) -> Message:
    """`{name}` replaced by its value in one pass: braces in the template and in the values stay as they are."""
    text, data = "", list[tuple[int, int]]()
    for number, piece in enumerate(re.split("(" + "|".join(rf"\{{{name}\}}" for name in values) + ")", template)):
        if number % 2:
            piece = values[piece[1:-1]]
            data += [(len(text) + begin, len(text) + end) for begin, end in data_of(piece)]
        text += piece
    return Message(text, tuple(data))
