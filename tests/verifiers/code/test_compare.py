"""When two values, and when two outputs, are the same."""

from typing import Any

import pytest

from rlsd_verifiers.code.compare import same, same_output

NAN, INF = float("nan"), float("inf")
BIG = 10**400


@pytest.mark.parametrize("from_json", [True, False])
@pytest.mark.parametrize(
    ("expected", "found", "is_same"),
    [
        (1, 1, True), (1, 2, False), (BIG, BIG, True), (BIG, BIG + 1, False), (1, "1", False), (1, None, False),
        (1, True, False), (True, 1, False), (0, False, False), (False, 0, False), (False, None, False),
        (1.0, True, False), (True, True, True), (True, False, False), (None, None, True), (None, 0, False),
        (None, "", False), (0, None, False),
        (1.0, 1, True), (1.0, 1.0, True), (1.0, 1.0000001, True), (1.0, 1.00001, False), (0.0, 1e-10, True),
        (0.0, 1e-8, False), (1e300, 1e300 * 1.0000001, True), (0.0, -0.0, True), (1.5, "1.5", False),
        (NAN, NAN, False), (NAN, 1.0, False), (1.0, NAN, False), (1, NAN, False), (INF, INF, True), (INF, -INF, False),
        (INF, BIG, False), (1.0, BIG, False), (1e300, 1j, False),
        (1j, 1j, True), (1j, 1, False), (1 + 1j, 1.0000001 + 1j, True), (1 + 1j, 1 + 2j, False),
        ("a", "a", True), ("a", "A", False), ("a", b"a", False), ("", [], False),
        (b"a", b"a", True), (b"a", bytearray(b"a"), False), (bytearray(b"a"), bytearray(b"a"), True),
        ([], [], True), ([1, 2], [1, 2], True), ([1, 2], [2, 1], False), ([1], [1, 1], False), ([1, 1], [1], False),
        ([0.1 + 0.2], [0.3], True), ([[1.0]], [[1]], True), ([1], [True], False), ([NAN], [NAN], False),
        ([1], {1}, False), ([1], 1, False), ([], None, False), ([], {}, False), ("ab", ["a", "b"], False),
        ({}, {}, True), ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"a": 2}, False), ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False), ({"a": 1, "b": 2}, {"a": 1}, False), ({"a": 1}, ["a"], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True), ({"a": 0.3}, {"a": 0.1 + 0.2}, True),
        ({"a": 1}, {"a": True}, False),
        ({1, 2}, {2, 1}, True), ({1}, {2}, False), ({1}, [1], False), (set(), frozenset(), True), ({1}, {"1"}, False),
    ],
    ids=repr,
)  # fmt: skip
def test_same_however_the_expectation_was_written(expected: Any, found: Any, is_same: bool, from_json: bool) -> None:
    assert same(expected, found, from_json=from_json) is is_same


@pytest.mark.parametrize(
    ("expected", "found", "in_json", "in_python"),
    [
        (2, 2.0, False, True),
        (2, 2.0000001, False, False),
        ([1, 2], (1, 2), True, False),
        ((1, 2), [1, 2], True, False),
        ([[1], [2]], [(1,), (2,)], True, False),
        ([2], [2.0], False, True),
        ({"1": "a"}, {1: "a"}, True, False),
        ({"1": [1]}, {1: (1,)}, True, False),
        ({"1.5": "a"}, {1.5: "a"}, True, False),
        ({"true": 1}, {True: 1}, True, False),
        ({"null": 1}, {None: 1}, True, False),
        ({"True": 1}, {True: 1}, False, False),
        ({1: "a"}, {1: "a"}, False, True),
        ({"a": {"1": 2}}, {"a": {1: 2}}, True, False),
        ({(1, 2): 3}, {(1, 2): 3}, True, True),
    ],
    ids=repr,
)
def test_what_json_cannot_say_does_not_count_where_the_expectation_is_json(
    expected: Any, found: Any, in_json: bool, in_python: bool
) -> None:
    assert same(expected, found, from_json=True) is in_json
    assert same(expected, found, from_json=False) is in_python


@pytest.mark.parametrize(
    ("expected", "found", "is_same"),
    [
        ("5\n", "5\n", True), ("5\n", "5", True), ("5", "5\n", True), ("5\n", "5 \n", True), ("5\n", " 5\r\n", True),
        ("5\n", "5\n\n\n", True), ("5\n\n", "5", True), ("1 2", "1   2", True), ("1 2", "1\t2", True), ("", "", True),
        ("", "\n \n", True), ("", "5", False), ("5", "", False),
        ("5\n", "\n5\n", False), ("1\n\n2", "1\n2", False), ("1\n2", "1 2", False), ("1 2", "1\n2", False),
        ("1 2", "12", False), ("12", "1 2", False), ("1 2", "1 2 3", False), ("1 2 3", "1 2", False),
        ("1\n2", "1", False), ("1", "1\n2", False), ("a b", "b a", False), ("Yes", "yes", False), ("Yes", "YES", False),
        ("5", "5.0", False), ("5", "05", False), ("5", "+5", False), ("-0", "0", False), ("10", "1e1", False),
        ("1000000", "1000001", False), ("5", "5.", False), ("5", "\uff15", False), ("5", "\u200b5", False),
        ("5", "9\b5", False),
        ("5.0", "5", True), ("5.0", "5.0000001", True), ("5.0", "5.0001", False), ("0.333333", "0.3333333333", True),
        ("0.1", ".1", True), ("1e3", "1000", True), ("1e-3", "0.001", True), ("-0.0", "0.0", True),
        ("1.5", "+1.5", True),
        ("1.5", "-1.5", False), ("1.5", "1.5x", False), ("1.5", "nan", False), ("1.5", "inf", False),
        ("1.5", "", False),
        ("1.5", "1,5", False), ("x1.5", "x1.50", False), ("1.0.0", "1.0", False), ("nan", "NaN", False),
        ("1.5", "1_5", False),
        ("1.5 a 3", "1.5000001 a 3", True), ("1.5 a 3", "1.5 a 3.0", False), ("é", "é", True),
    ],
    ids=repr,
)  # fmt: skip
def test_two_outputs_have_the_same_words_on_the_same_lines(expected: str, found: str, is_same: bool) -> None:
    assert same_output(expected.encode(), found.encode()) is is_same


def test_output_that_is_no_text_is_compared_byte_for_byte() -> None:
    assert same_output(b"\xff\n", b"\xff")
    assert not same_output(b"\xff", b"\xfe")
    assert not same_output(b"1.5", b"1.5\xff")
