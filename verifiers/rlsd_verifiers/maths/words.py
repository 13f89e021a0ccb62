r"""Answers in words, which are equal where the words are the same."""

import re

_COMMAND_WITH_WORDS = re.compile(r"\\(?:text|textbf|textit|textnormal|textrm|mathrm|mathbf|mbox|operatorname)\s*+\{")
_MATHS = re.compile(r"\\[A-Za-z]|[0-9^_=<>+*/|\\]")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_DROPPED = frozenset({"the", "a", "an", "is", "are"})
_JOINERS = re.compile(r"\s*(?:,|;|\band\b|\bor\b)\s*")


def same_words(reference: str, answer: str) -> bool | None:
    """True where two texts say the same in words; None where one of them is no text in words.

    Case, articles, punctuation and LaTeX text commands do not count; the order of words does. Two lists of words may
    differ in how they are joined.
    """
    plain = [_COMMAND_WITH_WORDS.sub(" ", text).replace("}", " ") for text in (reference, answer)]
    wanted, given = (_members(text) for text in plain)
    if wanted and sorted(wanted) == sorted(given):
        return True
    worded = [bool(_LETTERS.search(text)) and not _MATHS.search(text) for text in plain]
    if any(worded):
        return False
    prose = [len(_LETTERS.findall(re.sub(r"\\[A-Za-z]+", " ", text))) >= 4 for text in plain]
    return False if any(prose) else None


_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s*+\{[a-z*]{1,20}\}(?:\{[clr|]{1,20}\})?|\\operatorname\*?\s*+\{[A-Za-z]{1,20}\}"
)
_COMMAND = re.compile(r"\\(?!text|mbox|mathrm|mathbf)[A-Za-z]++")


def holds_words(text: str) -> bool:
    """True where there are words in a text besides the names of environments, operators and commands."""
    return _LETTERS.search(_COMMAND.sub(" ", _ENVIRONMENT.sub(" ", text))) is not None


def _members(text: str) -> list[str]:
    parts = (_normal(part) for part in _JOINERS.split(text.casefold()))
    return [part for part in parts if part]


def _normal(text: str) -> str:
    text = re.sub(r"[^\w\s^+*/=<>|\\-]", " ", text.replace("$", " "))
    return " ".join(word for word in text.split() if word not in _DROPPED)
