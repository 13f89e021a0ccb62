"""Rows of published benchmarks in our own field names.

A layout is known by the field that holds its tests: `test` (HumanEval) or `test_list` (MBPP). What is particular to one
may also lie in `meta`, beside `id`, `question` and `solution`.
"""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

SHOWN_TESTS = "Your code should pass these tests:"
"""MBPP's questions do not name the function: as in Austin et al. 2021, the asserts in the prompt do."""


def in_own_fields(row: Row) -> Row:
    """A row of any known layout as `id`, `question`, `solution`, `tests` and `entry_point`; our own as it is.

    Raises:
        ValueError: naming a field of the layout that is missing, empty or of the wrong type.
    """
    if row.get("answer") is not None or row.get("tests") is not None:
        return row
    meta = row.get("meta")
    fields = {**meta, **row} if isinstance(meta, dict) else row
    if "test_list" in fields:
        return _from_mbpp(fields)
    return _from_humaneval(fields) if "test" in fields else row


def _from_humaneval(row: Row) -> Row:
    entry_point = _text(row, "entry_point")
    return {
        **row,
        "id": row.get("id", row.get("task_id")),
        "question": _text(row, "question", "prompt"),
        "solution": _text(row, "solution", "canonical_solution", required=False),
        "tests": f"{_text(row, 'test')}\n\ncheck({entry_point})\n",
        "entry_point": entry_point,
    }


def _from_mbpp(row: Row) -> Row:
    asserts = _texts(row, "test_list")
    if not asserts:
        raise ValueError("field `test_list` is empty")
    before = [*_texts(row, "test_imports"), _text(row, "test_setup_code", required=False) or ""]
    return {
        **row,
        "id": row.get("id", f"mbpp/{row['task_id']}" if "task_id" in row else None),
        "question": "\n".join([f"{_text(row, 'question', 'text', 'prompt')}\n\n{SHOWN_TESTS}", *asserts]),
        "solution": _text(row, "solution", "code", required=False),
        "tests": "\n".join([*filter(None, before), *asserts, ""]),
    }


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
