"""JSON as people write it into data files: one object at a time, with faults that say where."""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

MAX_LINE_BYTES = 64 * 2**20


class Number(float):
    """A number with a decimal point or an exponent, that remembers how it was written."""

    def __init__(self, text: str) -> None:
        self.text = text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_float=Number, parse_constant=_no_constant)
LENIENT = json.JSONDecoder(parse_float=Number)
"""For documents, in which one NaN should not hide what stands behind it: fields refuse it for themselves."""


def decode_object(data: bytes | None) -> dict[str, Any]:
    """A line as an object; None stands for a line longer than `MAX_LINE_BYTES`.

    Raises:
        ValueError: saying what is wrong, and at which byte or column (from 1).
    """
    if data is None:
        raise ValueError(f"longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        fields = DECODER.decode(data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON that can be read: {str(error).split(';')[0]}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, found {kind_of(fields)}")
    return fields


def plain(value: Any) -> Any:
    """A value as JSON can hold it: a date as text, bytes in base64, a number that is none as null."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return value.text if isinstance(value, Number) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if value is None or isinstance(value, str | int | float) else str(value)


def json_line(value: Any) -> bytes:
    """A value as a line of JSON in UTF-8; half a character, which UTF-8 does not have, as an escape."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace") + b"\n"


def kind_of(value: object) -> str:
    """The kind of a JSON value in words."""
    kinds = {str: "text", bool: "true or false", int: "a number", list: "a list", dict: "an object"}
    return "a number" if isinstance(value, float) else kinds.get(type(value), "null")


def as_text(value: str | int | float) -> str:
    """A text or number as it was written."""
    return value.text if isinstance(value, Number) else str(value)
