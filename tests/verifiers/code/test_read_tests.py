"""Which tests become calls that are compared outside, which run in a jail of their own, and which are weak."""

from typing import Any

import pytest

from rlsd_verifiers.code.collection import BadTestsError
from rlsd_verifiers.code.tests import MAX_TESTS, Beside, Calls, Remote, Streams, read_tests


@pytest.mark.parametrize(
    ("source", "args", "kwargs", "operator", "expected"),
    [
        ("assert f(1) == 2", (1,), {}, "==", 2),
        ("assert 2 == f(1)", (1,), {}, "==", 2),
        ("assert f(1) == 2, 'why'", (1,), {}, "==", 2),
        ("assert (f(1)) == (2)", (1,), {}, "==", 2),
        ("assert f(1) != 2", (1,), {}, "!=", 2),
        ("assert f(1)", (1,), {}, "true", None),
        ("assert not f(1)", (1,), {}, "false", None),
        ("assert f(1) is True", (1,), {}, "==", True),
        ("assert f(1) is False", (1,), {}, "==", False),
        ("assert f(1) is None", (1,), {}, "==", None),
        ("assert f() == -1.5", (), {}, "==", -1.5),
        ("assert f(-1, k={'a': (1,)}) == {1, 2}", (-1,), {"k": {"a": (1,)}}, "==", {1, 2}),
        ("assert f([1, 'a', None], b'x') == (1, [2])", ([1, "a", None], b"x"), {}, "==", (1, [2])),
        ("METADATA = {}\n'words'\nassert True\npass\nassert f(1) == 2", (1,), {}, "==", 2),
        ("def check(c):\n    assert c(1) == 2\ncheck(f)", (1,), {}, "==", 2),
        ("def check(c):\n    'words'\n    assert True\n    assert c(1) == 2\n\n\ncheck(f)", (1,), {}, "==", 2),
    ],
)
def test_an_assertion_of_one_call_becomes_that_call(
    source: str, args: Any, kwargs: Any, operator: str, expected: Any
) -> None:
    tests = read_tests(source, None)
    assert isinstance(tests, Calls)
    (call,) = tests.calls
    assert (call.function, call.args, call.kwargs) == ("f", args, kwargs)
    assert (call.operator, call.expected, type(call.expected)) == (operator, expected, type(expected))
    assert not call.from_json


@pytest.mark.parametrize(
    ("source", "functions", "modules"),
    [
        ("x = f(1)\nassert x == 2", ["f"], []),
        ("assert f(1) < 2", ["f"], []),
        ("assert f(1) in (1, 2)", ["f"], []),
        ("assert f(1) is not None", ["f"], []),
        ("assert f(1) == 2 == 2", ["f"], []),
        ("assert f(g(1)) == 2", ["f", "g"], []),
        ("assert f(*[1]) == 2", ["f"], []),
        ("assert f(**{'a': 1}) == 2", ["f"], []),
        ("assert len(f(1)) == 2", ["f"], []),
        ("assert set(f(1)) == {1}", ["f"], []),
        ("assert abs(f(1) - 2) < 1e-6", ["f"], []),
        ("assert f(lambda x: x) == 1", ["f"], []),
        ("assert f(float('nan')) == 1", ["f"], []),
        ("a = [1]\nf(a)\nassert a == [2]", ["f"], []),
        ("for i in range(3):\n    assert f(i) == i", ["f"], []),
        ("try:\n    f()\nexcept ValueError:\n    pass\nelse:\n    assert False", ["f"], []),
        ("import math\nassert math.isclose(f(1), 2.0)", ["f"], []),
        ("assert math.isclose(f(1), 2.0)", ["f"], ["math"]),
        ("from random import randint\nassert f(randint(1, 2)) > 0", ["f"], []),
        ("def check(c):\n    for i in range(3):\n        assert c(i) == i\ncheck(f)", ["f"], []),
        ("class T:\n    def test(self):\n        assert f(1) == 2\nT().test()", ["f"], []),
        ("def helper(x):\n    return x + 1\nassert f(1) == helper(1)", ["f"], []),
    ],
)
def test_source_that_does_more_runs_in_a_jail_of_its_own(source: str, functions: list[str], modules: list[str]) -> None:
    tests = read_tests(source, None)
    assert isinstance(tests, Remote)
    assert tests[:3] == (source, tuple(functions), tuple(modules))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("assert P(1).x == 2", ["P"]),
        ("p = Point(1, 2)\nassert p.x == 1", ["Point"]),
        ("assert isinstance(f(1), P)", ["P"]),
        ("assert f.x == 2", ["f"]),
        ("assert solver.f(1) == 2", ["solver"]),
        ("assert CONSTANT == 2 and f(1)", ["CONSTANT"]),
    ],
)
def test_source_that_needs_more_of_the_program_than_functions_runs_beside_it(source: str, names: list[str]) -> None:
    tests = read_tests(source, None)
    assert isinstance(tests, Beside)
    assert tests[:2] == (source, tuple(names))


def test_check_that_is_not_called_is_called_with_the_entry_point() -> None:
    source = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3\n"
    tests = read_tests(source, "f")
    assert isinstance(tests, Calls)
    assert [(call.function, call.args, call.expected) for call in tests.calls] == [("f", (1,), 2), ("f", (2,), 3)]
    looping = read_tests("def check(c):\n    for i in (1, 2):\n        assert c(i)\n", "f")
    assert isinstance(looping, Remote)
    assert looping.source.rstrip().endswith("check(f)")
    assert looping.functions == ("f",)


def test_check_that_is_called_is_called_with_what_the_tests_say() -> None:
    tests = read_tests("def check(c):\n    assert c(1) == 2\ncheck(g)", "f")
    assert isinstance(tests, Calls)
    assert tests.calls[0].function == "g"


def test_a_list_of_source_is_its_lines_together() -> None:
    lines = ["assert f(1) == 2", "assert f(2) == 3"]
    assert read_tests(lines, None) == read_tests("\n".join(lines), None)


def test_a_function_named_as_a_builtin_is_that_of_the_program_if_it_is_the_entry_point_or_all_there_is() -> None:
    for entry_point in ("sum", None):
        tests = read_tests("assert sum([1]) == 1", entry_point)
        assert isinstance(tests, Calls)
        assert tests.calls[0].function == "sum"
    both = read_tests("assert len([1]) == 1\nassert sum(f(1)) == 1", None)
    assert isinstance(both, Remote)
    assert both.functions == ("f",)


@pytest.mark.parametrize(
    ("test", "args", "kwargs", "expected"),
    [
        ({"args": [1, [2]], "expected": {"a": 1}}, (1, [2]), {}, {"a": 1}),
        ({"args": [], "expected": None}, (), {}, None),
        ({"expected": 1}, (), {}, 1),
        ({"args": [1], "kwargs": {"k": 2}, "expected": 1}, (1,), {"k": 2}, 1),
        ({"args": [1], "kwargs": None, "expected": 1}, (1,), {}, 1),
    ],
)
def test_an_object_with_expected_is_a_call_of_the_entry_point(
    test: object, args: Any, kwargs: Any, expected: Any
) -> None:
    tests = read_tests([test], "f")
    assert isinstance(tests, Calls)
    (call,) = tests.calls
    assert call[:5] == ("f", args, kwargs, "==", expected)
    assert call.from_json


@pytest.mark.parametrize(
    ("test", "stream"),
    [
        ({"input": "1 2\n", "output": "3\n"}, (b"1 2\n", b"3\n")),
        ({"output": "3"}, (b"", b"3")),
        ({"input": "é", "output": ""}, ("é".encode(), b"")),
        ({"input": "\ud800", "output": "\ud800"}, (b"\xed\xa0\x80", b"\xed\xa0\x80")),
    ],
)
def test_an_object_with_output_is_what_a_program_reads_and_prints(test: object, stream: tuple[bytes, bytes]) -> None:
    assert read_tests([test, test], None) == Streams((stream, stream))


@pytest.mark.parametrize(
    ("tests", "entry_point", "words"),
    [
        (None, "f", "neither"),
        ({"expected": 1}, "f", "neither"),
        (1, "f", "neither"),
        ([], "f", "empty"),
        ("", "f", "nothing is asserted"),
        ("x = 1", "f", "nothing is asserted"),
        ("assert True", "f", "nothing is asserted"),
        ("assert f(", "f", "not Python"),
        ("\0", "f", "not Python"),
        ("def check(c):\n    assert c(1) == 2", None, "entry_point"),
        ([1], "f", r"\[0\]"),
        (["assert f(1) == 2", {"expected": 1}], "f", r"\[0\]"),
        ([{"expected": 1}, {}], "f", r"\[1\]"),
        ([{"args": [1]}], "f", r"\[0\]"),
        ([{"args": [1], "expected": 2}], None, "entry_point"),
        ([{"args": 1, "expected": 2}], "f", "args"),
        ([{"kwargs": [1], "expected": 2}], "f", "kwargs"),
        ([{"input": 1, "output": "2"}], "f", "text"),
        ([{"input": "1", "output": 2}], "f", "text"),
        ([{"input": "1", "output": "2"}, {"args": [1], "expected": 2}], "f", "some"),
        ([{"output": "2"}] * (MAX_TESTS + 1), "f", "more than"),
        ("assert f(" + "(" * 300 + ")" * 300 + ") == 1", "f", "not Python"),
    ],
)
def test_tests_that_cannot_be_read_are_refused_with_words(tests: object, entry_point: str | None, words: str) -> None:
    with pytest.raises(BadTestsError, match=words):
        read_tests(tests, entry_point)


def test_tests_nested_beyond_reason_are_refused_or_read_but_never_fail_otherwise() -> None:
    for source in ("assert f(1) == " + "-" * 5000 + "1", "assert f(1) == " + "+".join(["1"] * 5000), "[" * 5000):
        try:
            read_tests(source, None)
        except BadTestsError:
            continue
