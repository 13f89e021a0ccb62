"""Values as JSON: what may leave a jail is a value of exactly a builtin type, and nothing else.

Scalars that JSON has stand for themselves; everything else is a list that begins with the name of its type. What is
decoded is a builtin value by construction, whoever wrote the text.
"""

import collections
import math
from typing import Any

MAX_DEPTH = 50
MAX_PARTS = 1_000_000

_SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_NAMES = {kind: name for name, kind in _SEQUENCES.items()}
_DICTS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_BYTES = {bytes: "bytes", bytearray: "bytearray"}
_MAX_PLAIN_BITS = 1000
_MAX_UNCHECKED = 1000


class NotPlainError(ValueError):
    """A value that is no builtin value, too deep or too large; the message says which."""


def encode(value: object) -> Any:
    """A value as something that `json.dumps` takes.

    Raises:
        NotPlainError: a part of it is not exactly of a builtin type. The dictionaries of `collections`, named tuples,
            and the numbers and arrays of numpy count as the builtin values that they equal.
    """
    return _encode(value, MAX_DEPTH, [MAX_PARTS])


def _encode(
    value: Any,
    depth: int,
    left: list[int],
    # bound here, so that nothing which replaces a builtin later is called
    type: Any = type, dict_items: Any = dict.items, names: Any = _NAMES, dicts: Any = _DICTS,
    isfinite: Any = math.isfinite, tuple_iter: Any = tuple.__iter__,
) -> Any:  # fmt: skip
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if value.bit_length() < _MAX_PLAIN_BITS else ["int", hex(value)]
    if kind is float:
        return value if isfinite(value) else ["float", repr(value)]
    left[0] -= 1 + (len(value) if kind in names or kind in dicts else 0)
    if depth == 0 or left[0] < 0:
        raise NotPlainError(f"a value nested over {MAX_DEPTH} deep" if depth == 0 else "a value of too many parts")
    if kind in names:
        return [names[kind], *[_encode(item, depth - 1, left) for item in value]]
    if kind in dicts:
        return ["dict", *[_encode(part, depth - 1, left) for item in dict_items(value) for part in item]]
    if kind is complex:
        return ["complex", _encode(value.real, depth, left), _encode(value.imag, depth, left)]
    if kind in _BYTES:
        return [_BYTES[kind], value.decode("latin-1")]
    if kind.__base__ is tuple and hasattr(kind, "_fields"):
        return _encode((*tuple_iter(value),), depth, left)
    if kind.__module__ == "numpy" and hasattr(kind, "tolist"):
        return _encode(value.tolist(), depth - 1, left)
    raise NotPlainError(f"a value of type {kind.__name__}")


def decode(encoded: Any) -> Any:
    """What `encode` was given.

    Raises:
        NotPlainError: `encode` makes no such thing.
    """
    try:
        return _decode(encoded, MAX_DEPTH)
    except NotPlainError:
        raise
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise NotPlainError("not an encoded value") from error


def _decode(encoded: Any, depth: int) -> Any:
    if not isinstance(encoded, list):
        if isinstance(encoded, dict):
            raise NotPlainError("not an encoded value")
        return encoded
    if depth < 0:
        raise NotPlainError(f"a value nested over {MAX_DEPTH} deep")
    name, *parts = encoded
    if name in _SEQUENCES:
        items = [_decode(part, depth - 1) for part in parts]
        return _SEQUENCES[name](items if name in ("list", "tuple") else _hashed(items))
    if name == "dict":
        items = [_decode(part, depth - 1) for part in parts]
        return dict(zip(_hashed(items[::2]), items[1::2], strict=True))
    if name == "complex":
        return complex(*(_decode(part, depth - 1) for part in parts))
    if name == "bytes":
        return parts[0].encode("latin-1")
    if name == "bytearray":
        return bytearray(parts[0].encode("latin-1"))
    if name == "int":
        return int(parts[0], 16)
    if name == "float":
        return float(parts[0])
    raise NotPlainError("not an encoded value")


def _hashed(members: list[Any]) -> list[Any]:
    """The members of a set or keys, refused where so many collide that a table of them takes quadratic time."""
    if len(members) > _MAX_UNCHECKED and len({hash(member) for member in members}) < len(members) // 2:
        raise NotPlainError("a table of members that collide")
    return members
