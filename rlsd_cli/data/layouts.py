"""Rows of published data sets in our own field names.

A layout is known by fields that only it has. What is particular to one may also lie in `meta`, beside `id`, `question`
and `solution`. Fields that were read are gone from the row; whatever else it holds stays.
"""

import re
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rlsd_verifiers.extraction.boxes import filled_boxes, find_boxes

Row = Mapping[str, Any]

SHOWN_TESTS = "Your code should pass these tests:"
"""MBPP's questions do not name the function: as in Austin et al. 2021, the asserts in the prompt do."""

LETTERS = string.ascii_uppercase
"""What choices are called in prompts and references, as the verifier `choice` knows them."""


class Layout(NamedTuple):
    """How a layout is known, how it is read, and what it is. `reads` are the fields that go into ours."""

    matches: Callable[[Row], bool]
    read: Callable[[Row], dict[str, Any]]
    reads: frozenset[str]
    summary: str


def in_own_fields(row: Row) -> Row:
    """A row of any known layout as `id`, `question`, `answer`, `solution`, `tests`, `entry_point`; our own as it is.

    Raises:
        ValueError: naming a field of the layout that is missing, empty or of the wrong type.
    """
    meta = row.get("meta")
    own = {name: value for name, value in row.items() if value is not None and name != "meta"}
    fields = {**meta, **own} if isinstance(meta, dict) else row
    layout = next((layout for layout in LAYOUTS.values() if layout.matches(fields)), None)
    if layout is None:
        return row
    rest = {name: value for name, value in fields.items() if name not in layout.reads and name != "meta"}
    return rest | layout.read(fields)


def as_choices(value: Any) -> Any:
    """Choices as a list of bare texts, of an object `{"A": "Lyon", "B": "Paris"}` or of texts that are all labelled.

    Anything else is returned as it is.

    Raises:
        ValueError: the names of an object do not run A, B, C, ..., or there are more choices than letters.
    """
    if isinstance(value, dict):
        texts = {name: text for name, text in value.items() if text is not None}
        if sorted(texts) != [*LETTERS[: len(texts)]]:
            raise ValueError("field `choices` is an object whose names do not run A, B, C, ...")
        value = [texts[letter] for letter in sorted(texts)]
    if not isinstance(value, list):
        return value
    if len(value) > len(LETTERS):
        raise ValueError(f"field `choices` has {len(value)} texts, and there are letters for {len(LETTERS)}")
    labels = [_LABEL.match(text) if isinstance(text, str) else None for text in value]
    if all(label and label[1] == letter for label, letter in zip(labels, LETTERS, strict=False)):
        return [label.string[label.end() :] for label in labels if label]
    return value


_LABEL = re.compile(r"\s*[(\[]?([A-Z])(?:[)\]]\s*|[.:]\s+)(?=\S)")


def _is_own(row: Row) -> bool:
    return row.get("answer") is not None or row.get("tests") is not None


# -- GSM8K ---------------------------------------------------------------------------------------------------------


def _is_gsm8k(row: Row) -> bool:
    return "question" in row and isinstance(row.get("answer"), str) and "\n#### " in row["answer"]


def _from_gsm8k(row: Row) -> dict[str, Any]:
    """The number behind `####`, and the working before it without its calculator marks `<<48/2=24>>`."""
    working, _, answer = row["answer"].rpartition("\n#### ")
    return {"answer": answer.strip(), "solution": re.sub(r"<<[^<>]*>>", "", working).strip() or None}


# -- MATH ----------------------------------------------------------------------------------------------------------


def _is_math(row: Row) -> bool:
    return "problem" in row and "question" not in row and ("solution" in row or "answer" in row)


def _from_math(row: Row) -> dict[str, Any]:
    """The answer is given, as in MATH-500 and its like, or it is what the solution's last box holds."""
    answer, solution = row.get("answer"), _text(row, "solution", required=False)
    if answer is None:
        boxes = filled_boxes(solution or "", find_boxes(solution or ""))
        if not boxes:
            raise ValueError("field `solution` holds no boxed answer, and there is no `answer`")
        answer = (solution or "")[boxes[-1].inner : boxes[-1].inner_end].strip()
    return {
        "id": row.get("id", row.get("unique_id")),
        "question": _text(row, "problem"),
        "answer": answer,
        "solution": solution,
    }


# -- SVAMP ---------------------------------------------------------------------------------------------------------


def _is_svamp(row: Row) -> bool:
    return "question" not in row and {"Body", "Question", "Answer"} <= row.keys()


def _from_svamp(row: Row) -> dict[str, Any]:
    """Body and question in one; answers are whole numbers written as floats."""
    answer = row["Answer"]
    whole = isinstance(answer, int | float) and float(answer).is_integer()
    body = (_text(row, "Body") or "").strip()
    return {
        "id": row.get("id", f"svamp/{row['ID']}" if "ID" in row else None),
        "question": f"{body}{'' if body.endswith(('.', ',', '?', '!')) else '.'} {_text(row, 'Question')}",
        "answer": str(int(answer)) if whole else answer,
        "solution": _text(row, "Equation", required=False),
    }


# -- programs ------------------------------------------------------------------------------------------------------


def _is_mbpp(row: Row) -> bool:
    return not _is_own(row) and "test_list" in row


def _from_mbpp(row: Row) -> dict[str, Any]:
    asserts = _texts(row, "test_list")
    if not asserts:
        raise ValueError("field `test_list` is empty")
    before = [*_texts(row, "test_imports"), _text(row, "test_setup_code", required=False) or ""]
    return {
        "id": row.get("id", f"mbpp/{row['task_id']}" if "task_id" in row else None),
        "question": "\n".join([f"{_text(row, 'question', 'text', 'prompt')}\n\n{SHOWN_TESTS}", *asserts]),
        "solution": _text(row, "solution", "code", required=False),
        "tests": "\n".join([*filter(None, before), *asserts, ""]),
    }


def _is_humaneval(row: Row) -> bool:
    return not _is_own(row) and "test" in row


def _from_humaneval(row: Row) -> dict[str, Any]:
    entry_point = _text(row, "entry_point")
    return {
        "id": row.get("id", row.get("task_id")),
        "question": _text(row, "question", "prompt"),
        "solution": _text(row, "solution", "canonical_solution", required=False),
        "tests": f"{_text(row, 'test')}\n\ncheck({entry_point})\n",
        "entry_point": entry_point,
    }


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "GSM8K": Layout(_is_gsm8k, _from_gsm8k, frozenset(), "`question`, and `answer` with `#### 72` at its end"),
        "SVAMP": Layout(
            _is_svamp,
            _from_svamp,
            frozenset({"ID", "Body", "Question", "Answer", "Equation"}),
            "`Body`, `Question`, `Answer`, `Equation`",
        ),
        "MATH": Layout(
            _is_math,
            _from_math,
            frozenset({"problem", "unique_id"}),
            "`problem`, and `solution` with a boxed answer or `answer`",
        ),
        "MBPP": Layout(
            _is_mbpp,
            _from_mbpp,
            frozenset({"task_id", "text", "prompt", "code", "test_list", "test_imports", "test_setup_code"}),
            "`text` or `prompt`, `code`, `test_list`",
        ),
        "HumanEval": Layout(
            _is_humaneval,
            _from_humaneval,
            frozenset({"task_id", "prompt", "canonical_solution", "test"}),
            "`prompt`, `canonical_solution`, `test`, `entry_point`",
        ),
    }
)


def _text(row: Row, *names: str, required: bool = True) -> str | None:
    """The text in the first of these fields that the row has."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        if required:
            raise ValueError(f"field {' or '.join(f'`{name}`' for name in names)} is missing")
        return None
    if not isinstance(row[name], str):
        raise ValueError(f"field `{name}` must be text, found {type(row[name]).__name__}")
    if required and not row[name].strip():
        raise ValueError(f"field `{name}` is empty")
    return str(row[name])


def _texts(row: Row, name: str) -> list[str]:
    """A list of texts; empty where the row has none."""
    values = row.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"field `{name}` must be a list of text")
    return values
