"""The program in a response."""

import ast
import re
from typing import NamedTuple

from rlsd_verifiers.code.languages import LANGUAGES, PYTHON, Language
from rlsd_verifiers.extract import spoken_text

_FENCE = re.compile(r"^[ \t]{0,3}(```+|~~~+)([^\n]*)$", re.MULTILINE)
_INCLUDE = re.compile(r"^\s*#\s*include\s*[<\"]", re.MULTILINE)


class Code(NamedTuple):
    """A program, and the language it is in."""

    text: str
    language: Language


def extract_code(response: str) -> Code | None:
    """The last fenced block, also one that is never closed; a response without one is code as a whole.

    None where that is blank, or the response ends while still thinking. The word behind the fence names the language;
    without a word that is known it is C++ if it includes something, else Python.
    """
    text = spoken_text(response)
    if text is None:
        return None
    tag, text = [("", text), *_blocks(text)][-1]
    if not text.strip():
        return None
    known = next((language for language in LANGUAGES.values() if tag.lower() in language.tags), None)
    return Code(text, known or (LANGUAGES["cpp"] if _INCLUDE.search(text) else PYTHON))


def _blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks: the word behind the fence, and the content. A fence as long, with no word, closes one."""
    blocks = []
    opening: re.Match[str] | None = None
    word = ""
    for fence in _FENCE.finditer(text):
        behind = fence[2].split()
        if opening is None and "`" not in fence[2]:
            opening, word = fence, behind[0] if behind else ""
        elif opening is not None and fence[1].startswith(opening[1]) and not behind:
            blocks.append((word, text[opening.end() + 1 : fence.start()]))
            opening = None
    if opening is not None:
        blocks.append((word, text[opening.end() + 1 :]))
    return blocks


def to_bytes(text: str) -> bytes:
    """A program as the jail reads it: UTF-8, in which lone surrogates survive."""
    return text.encode("utf-8", "surrogatepass")


def complete(code: str, question: str, entry_point: str | None) -> str:
    """The program with the question before it, where the question is the beginning of the function that is asked for.

    So a response may be what follows the question, or the function once more, and may use what the question defines.
    """
    if not entry_point or f"def {entry_point}" not in question:
        return code
    try:
        tree = ast.parse(question)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    defines = any(isinstance(node, ast.FunctionDef) and node.name == entry_point for node in tree.body)
    return f"{question.rstrip()}\n{code}" if defines else code
