"""What leaves a jail is exactly a builtin value, or it does not leave."""

import collections
import decimal
import enum
import fractions
import json
import math
import time
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_sandbox.values import MAX_DEPTH, MAX_PARTS, NotPlainError, decode, encode


def there_and_back(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


def is_same(a: Any, b: Any) -> bool:
    """Equal and of equal types all the way down; NaN is NaN and minus zero is not zero."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict):
        return is_same(list(a), list(b)) and is_same(list(a.values()), list(b.values()))
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(is_same(item, other) for other in b) for item in a)
    return repr(a) == repr(b)


PLAIN = [
    None, True, False, 0, -1, 10**300, "", "text", "\ud800", "\0", 'quote "', 0.1, -0.0, 5e-324, math.inf, -math.inf,
    math.nan, 1j, complex(-0.0, math.nan), complex(math.inf, 2), b"", b"\0\xff", bytearray(b"ab"), [], (), set(),
    frozenset(), {}, [1, [2, (3,)]], (1, "1", 1.0), {1, 2}, frozenset({"a"}), {frozenset({(1,)})},
    {"a": [1], 1: None, (1, 2): {}}, ["list", "dict", "int"], ["int", "0x1"], {"dict": ["float", "nan"]},
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_a_builtin_value_arrives_as_it_was(value: Any) -> None:
    assert is_same(there_and_back(value), value)


@pytest.mark.parametrize("exponent", [62, 63, 64, 999, 1000, 1001, 20_000, 1_000_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_arrives_whole_however_large(exponent: int, sign: int) -> None:
    for value in (sign * 2**exponent, sign * (2**exponent - 1)):
        assert there_and_back(value) == value


class Named(NamedTuple):
    a: Any = 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ([collections.Counter()], [{}]),
        (Named(a=[2]), ([2],)),
        ({Named(): Named(a=Named())}, {(1,): ((1,),)}),
    ],
    ids=repr,
)
def test_a_dictionary_of_collections_arrives_as_a_dict_and_a_named_tuple_as_a_tuple(value: Any, plain: Any) -> None:
    assert is_same(there_and_back(value), plain)


HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE | st.binary().map(bytearray) | st.sets(HASHABLE, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_any_nesting_of_builtin_values_arrives_as_it_was(value: Any) -> None:
    assert is_same(there_and_back(value), value)


class AnInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class AFloat(float): ...


class Text(str): ...


class Bytes(bytes): ...


class AList(list[int]): ...


class ATuple(tuple[int, ...]): ...


class ASet(set[int]): ...


class ADict(dict[str, int]): ...


class ACounter(collections.Counter[str]): ...


class Colour(enum.IntEnum):
    RED = 1


class Liar:
    """It says that it is an integer, and equals everything."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return int

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


NOT_PLAIN = [
    AnInt(1), AFloat(1), Text("a"), Bytes(b"a"), AList(), ATuple(), ASet(), ADict(), ACounter(), Colour.RED,
    Liar(), object(), range(3), iter([]), (x for x in ()), len, int, ..., NotImplemented, memoryview(b""),
    decimal.Decimal(1), fractions.Fraction(1), collections.deque(), collections.UserDict(), {}.keys(), ValueError("a"),
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda value: type(value).__name__)
def test_what_is_not_exactly_of_a_builtin_type_does_not_leave_nor_does_what_holds_it(value: Any) -> None:
    wrapped: list[Any] = [value, [value], (1, value), {"a": value}, {"a": [{1: value}]}]
    if getattr(value, "__hash__", None) and not isinstance(value, AList | ASet | ADict | ACounter):
        wrapped += [{value}, {value: 1}, frozenset({(value,)})]
    for whole in wrapped:
        with pytest.raises(NotPlainError):
            encode(whole)


@pytest.mark.skipif(find_spec("numpy") is None, reason="numpy is not installed")
def test_numbers_and_arrays_of_numpy_arrive_as_what_they_equal() -> None:
    import numpy

    value = [numpy.int64(3), numpy.float64(0.5), numpy.bool_(True), numpy.array([[1, 2]]), {"a": numpy.arange(2)}]
    assert is_same(there_and_back(value), [3, 0.5, True, [[1, 2]], {"a": [0, 1]}])
    with pytest.raises(NotPlainError):
        encode(numpy.array([Liar()], dtype=object))


def test_what_only_says_that_it_is_of_numpy_or_a_named_tuple_does_not_leave() -> None:
    array = {"__module__": "numpy", "tolist": lambda _: Liar()}
    for claims in (array, {"_fields": ("a",)}, {"__module__": "numpy"}):
        with pytest.raises(NotPlainError):
            encode(type("Fake", (), claims)())
    impostor = type("Fake", (tuple,), {"_fields": ("a",), "__iter__": lambda _: iter([2])})
    with pytest.raises(NotPlainError):
        encode(impostor([Liar()]))


COLLIDING = [n * (2**61 - 1) for n in range(1, 5000)]
PAIRS = [part for n in COLLIDING for part in (n, 0)]


@pytest.mark.parametrize(
    "encoded", [["set", *COLLIDING], ["frozenset", *COLLIDING], ["dict", *PAIRS]], ids=lambda e: e[0]
)
def test_a_table_of_members_that_collide_is_refused_at_once(encoded: Any) -> None:
    started = time.monotonic()
    with pytest.raises(NotPlainError):
        decode(encoded)
    assert time.monotonic() - started < 1
    assert decode(["set", *range(5000)]) == set(range(5000))


def nested(depth: int, kind: Any = lambda inner: [inner]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = kind(value)
    return value


@pytest.mark.parametrize(
    "kind",
    [lambda inner: [inner], lambda inner: (inner,), lambda inner: {1: inner}, lambda inner: frozenset({inner})],
    ids=["list", "tuple", "dict", "frozenset"],
)
def test_a_value_may_be_nested_to_the_limit_and_no_deeper(kind: Any) -> None:
    assert is_same(there_and_back(nested(MAX_DEPTH, kind)), nested(MAX_DEPTH, kind))
    for depth in (MAX_DEPTH + 1, MAX_DEPTH + 2, 200):
        with pytest.raises(NotPlainError, match="deep"):
            encode(nested(depth, kind))


def test_a_value_that_holds_itself_does_not_leave() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(NotPlainError, match="deep"):
        encode(cycle)


def test_a_value_of_too_many_parts_does_not_leave() -> None:
    bomb: Any = []
    for _ in range(40):
        bomb = [bomb, bomb]
    with pytest.raises(NotPlainError, match="parts"):
        encode(bomb)
    with pytest.raises(NotPlainError, match="parts"):
        encode([[0] * MAX_PARTS, []])


HOSTILE = [
    '{"a": 1}', "[]", "[1]", "[null]", "[[]]", '[["list"]]', "[{}]", '["object"]', '["List"]', '["list", {"a": 1}]',
    '["dict", 1]', '["dict", ["list"], 1]', '["set", ["list"]]', '["set", ["dict"]]', '["frozenset", ["set"]]',
    '["int"]', '["int", 5]', '["int", "ten"]', '["int", null]', '["int", ["list"]]', '["float"]', '["float", "x"]',
    '["float", null]', '["float", ["list"]]', '["complex", "a", "b"]', '["complex", 1, 2, 3]', '["complex", null, 1]',
    '["bytes"]', '["bytes", 5]', '["bytes", "\\u1234"]', '["bytes", "\\ud800"]', '["bytearray", null]', '["bytearray"]',
    '["complex", ["list"], 1]', f'["complex", {10**400}, 1]', f'["float", {10**400}]',
    '["NoneType"]', '["__import__", "os"]', '["dict", {}, {}]',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_json_that_encode_does_not_make_is_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        decode(json.loads(text))


@pytest.mark.parametrize("name", ["list", "tuple", "dict", "complex", "frozenset"])
def test_json_nested_too_deep_is_refused(name: str) -> None:
    other = {"dict": ', "a"', "complex": ", 1"}.get(name, "")
    for depth in (MAX_DEPTH + 2, 400):
        with pytest.raises(NotPlainError):
            decode(json.loads(f'["{name}", ' * depth + "1" + f"{other}]" * depth))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        | st.builds(
            lambda name, parts: [name, *parts],
            st.sampled_from("list tuple set frozenset dict complex bytes bytearray int float".split()),
            st.lists(inner, max_size=4),
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_whatever_json_says_comes_a_builtin_value_or_a_refusal(said: Any) -> None:
    try:
        value = decode(said)
    except NotPlainError:
        return
    assert is_same(there_and_back(value), value)
