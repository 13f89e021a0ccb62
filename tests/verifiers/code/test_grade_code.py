"""The verdict on a program, whatever the program does about it."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rlsd_sandbox import RefusedError, Sandbox, Settings
from rlsd_verifiers.code import grade
from rlsd_verifiers.code.grade import grade_code
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.verdict import Submission, Verdict

SETTINGS = Settings(timeout_seconds=2.0, memory_mb=256, output_mb=1)
QUICK = SETTINGS._replace(timeout_seconds=0.3)
ADD: list[dict[str, Any]] = [{"args": [2, 3], "expected": 5}, {"args": [10, 7], "expected": 17}]
IN_OUT = [{"input": "2 3\n", "output": "5\n"}, {"input": "10 7\n", "output": "17\n"}]


@pytest.fixture(scope="module", autouse=True)
def jails() -> Iterator[None]:
    """All of these need a jail; those that were put up are taken down at the end."""
    with Sandbox(SETTINGS) as sandbox:
        try:
            sandbox.start()
        except RefusedError as error:
            pytest.skip(f"no jail can be had: {error}")
    yield
    grade.close()


def graded(code: str, tests: object, entry_point: str | None = None, **given: Any) -> Verdict:
    sandbox, bare = given.pop("sandbox", SETTINGS), given.pop("bare", False)
    response = code if bare or code.startswith(("```", "<think>")) else f"```python\n{code}\n```"
    return grade_code(Submission(response, tests=tests, entry_point=entry_point, **given), Leniency(), sandbox=sandbox)


CALLED = [
    ("def add(a, b): return a + b", "correct"),
    ("add = lambda a, b: a + b", "correct"),
    ("class Solution:\n    def add(self, a, b): return a + b", "correct"),
    ("import os, sys, threading\nprint('noise', file=sys.stderr)\ndef add(a, b): return a + b", "correct"),
    ("def add(a, b): return a - b", "wrong"),
    ("def add(a, b): return 5", "wrong"),
    ("def add(a, b): return str(a + b)", "wrong"),
    ("def add(a, b): return float(a + b)", "wrong"),
    ("def add(a, b): return None", "wrong"),
    ("def add(a, b): pass", "wrong"),
    ("def add(a, b): return float('nan')", "wrong"),
    ("def add(a, b): return 10 ** 5000", "wrong"),
    ("def add(a): return a", "wrong"),
    ("def sub(a, b): return a + b", "wrong"),
    ("add = 5", "wrong"),
    ("def add(a, b): raise ValueError('no')", "wrong"),
    ("def add(a, b): raise SystemExit(0)", "wrong"),
    ("def add(a, b): raise KeyboardInterrupt", "wrong"),
    ("def add(a, b): return add(a, b)", "wrong"),
    ("1 / 0\ndef add(a, b): return a + b", "wrong"),
    ("import no_such_module\ndef add(a, b): return a + b", "wrong"),
    ("def add(a, b) return a + b", "unparseable"),
    ("  def add(a, b): return a + b", "unparseable"),
    ("def add(a, b):\n\treturn a\n        return b", "unparseable"),
    ("This function adds two numbers.", "unparseable"),
    ("s = '\ud800'\ndef add(a, b): return a + b", "unparseable"),
    ("```python\n```", "no_answer"),
    ("<think>def add(a, b): return a + b", "no_answer"),
    ("def add(a, b): return [0] * 10 ** 12", "memory"),
    ("x = []\nwhile True: x.append(bytearray(2**20))", "memory"),
    ("def add(a, b):\n    while True: print('x' * 1000)", "output_limit"),
]


@pytest.mark.parametrize(("code", "outcome"), CALLED, ids=lambda text: ascii(text)[:50])
def test_outcomes_of_functions(code: str, outcome: str) -> None:
    verdict = graded(code, ADD, "add")
    assert verdict.outcome == outcome, verdict.reason
    assert verdict.score == (outcome == "correct")
    assert not verdict.weak
    assert verdict.reason


PRINTED = [
    ("print(sum(map(int, input().split())))", "correct"),
    ("import sys\na, b = map(int, sys.stdin.read().split())\nprint(a + b); sys.exit()", "correct"),
    ("a, b = map(int, open(0).read().split())\nif __name__ == '__main__': print(a + b)", "correct"),
    ("import sys\nsys.stderr.write('noise')\nprint(sum(map(int, input().split())), end='')", "correct"),
    ("print(5)", "wrong"),
    ("print(float(sum(map(int, input().split()))))", "wrong"),
    ("print('The answer is', sum(map(int, input().split())))", "wrong"),
    ("", "no_answer"),
    ("pass", "wrong"),
    ("import sys\nprint(sum(map(int, input().split()))); sys.exit(1)", "wrong"),
    ("import os\nprint(sum(map(int, input().split())), flush=True); os.kill(os.getpid(), 9)", "wrong"),
    ("print(sum(map(int, input().split()))); 1 / 0", "wrong"),
    ("print(input(", "unparseable"),
    ("x = []\nwhile True: x.append(bytearray(2**20))", "memory"),
    ("while True: print('x' * 1000)", "output_limit"),
]


@pytest.mark.parametrize(("code", "outcome"), PRINTED, ids=lambda text: ascii(text)[:50])
def test_outcomes_of_programs_that_read_and_print(code: str, outcome: str) -> None:
    verdict = graded(code, IN_OUT)
    assert verdict.outcome == outcome, verdict.reason
    assert not verdict.weak


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "def add(a, b):\n while True:\n  try:\n   while True: pass\n  except BaseException: pass",
        "import itertools\ndef add(a, b): return sum(itertools.repeat(0))",
        "import os\ndef add(a, b):\n    os.close(4)\n    while True: pass",
    ],
)
@pytest.mark.parametrize("tests", [ADD, "x = add(2, 3)\nassert x == 5"], ids=["calls", "remote"])
def test_a_program_that_does_not_end_is_over_in_time(code: str, tests: object) -> None:
    started = time.monotonic()
    verdict = graded(code, tests, "add", sandbox=QUICK)
    assert time.monotonic() - started < QUICK.timeout_seconds + 1
    assert verdict.outcome in (("timeout", "wrong") if "close(4)" in code else ("timeout",)), verdict.reason


def test_the_time_is_for_all_tests_together() -> None:
    graded("x = 1", [{"input": "", "output": ""}], sandbox=QUICK)
    started = time.monotonic()
    slow = "import time\ntime.sleep(0.05)\nprint(1)"
    assert graded(slow, [{"input": "", "output": "1"}] * 2, sandbox=QUICK).outcome == "correct"
    assert graded(slow, [{"input": "", "output": "1"}] * 50, sandbox=QUICK).outcome == "timeout"
    calls = [{"args": [], "expected": 1}]
    slow = "import time\ndef f():\n    time.sleep(0.05)\n    return 1"
    assert graded(slow, calls * 2, "f", sandbox=QUICK).outcome == "correct"
    assert graded(slow, calls * 50, "f", sandbox=QUICK).outcome == "timeout"
    assert time.monotonic() - started < 4 * (QUICK.timeout_seconds + 1)


@pytest.mark.parametrize(
    ("tests", "entry_point"),
    [
        ([], "add"),
        (None, "add"),
        ("", "add"),
        ("assert add(", "add"),
        (ADD, None),
        ([{"args": [1]}], "add"),
        ([*ADD, *IN_OUT], "add"),
    ],
)
def test_tests_that_cannot_be_used_are_the_fault_of_the_reference(tests: object, entry_point: str | None) -> None:
    verdict = graded("def add(a, b): return a + b", tests, entry_point)
    assert (verdict.outcome, verdict.score, verdict.correct) == ("bad_reference", 0.0, None), verdict.reason


def test_a_verdict_names_the_walls_and_shows_the_program() -> None:
    verdict = graded("Here:\n```python\ndef add(a, b): return a + b\n```", ADD, "add", bare=True)
    assert verdict.sandbox
    assert "seccomp" in verdict.sandbox
    assert verdict.extracted is not None
    assert verdict.extracted.strip() == "def add(a, b): return a + b"


@pytest.mark.parametrize(
    ("code", "tests", "words"),
    [
        ("def add(a, b): return a - b", ADD, "test 1 of 2: add(2, 3) is -1, not 5"),
        ("def add(a, b): return 5", ADD, "test 2 of 2: add(10, 7) is 5, not 17"),
        ("def add(a, b): raise ValueError('no')", ADD, "ValueError: no in add(2, 3)"),
        ("x = 1", ADD, "no function `add`"),
        ("class C: pass\ndef add(a, b): return C()", ADD, "type C"),
        ("print(5)", IN_OUT, "it printed `5`, not `17`, in test 2 of 2"),
        ("def add(a, b): return 4", "x = add(2, 3)\nassert x == 5, 'no'", "`assert x == 5, 'no'`"),
    ],
)
def test_the_reason_says_which_test_failed_and_how(code: str, tests: object, words: str) -> None:
    verdict = graded(code, tests, "add")
    assert verdict.outcome == "wrong"
    assert words in verdict.reason


# -- the three ways tests run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "weak"),
    [
        ("assert add(2, 3) == 5", False),
        ("assert add(2, 3) != 6\nassert add(1, 1)\nassert not add(1, -1)\nassert add(2, 3) is not None", False),
        ("x = add(2, 3)\nassert x == 5", False),
        ("for i in range(50):\n    assert add(i, 1) == i + 1", False),
        ("assert math.isclose(add(2, 3), 5.0)", False),
        ("assert callable(add) and add(2, 3) == 5", True),
        ("assert Adder(2).add(3) == 5", True),
        ("assert isinstance(Adder(2), Adder)\nassert add(2, 3) == 5", True),
    ],
)
def test_a_verdict_is_weak_only_where_the_tests_ran_beside_the_program(tests: str, weak: bool) -> None:
    right = "class Adder:\n    def __init__(self, a): self.a = a\n    def add(self, b): return self.a + b\n"
    right += "def add(a, b): return Adder(a).add(b)"
    verdict = graded(right, tests, "add")
    assert (verdict.outcome, verdict.weak) == ("correct", weak), verdict.reason
    wrong = graded(right.replace("self.a + b", "self.a * b + 9"), tests, "add")
    assert (wrong.outcome, wrong.weak) == ("wrong", weak), wrong.reason


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(x): x.append(4)", "a = [1]\nf(a)\nassert a == [1, 4]"),
        ("def f(x): x.sort()", "a = [2, 1]\nassert f(a) is None\nassert a == [1, 2]"),
        ("def f(x): x['k'] = 1; del x['old']", "d = {'old': 0}\nf(d)\nassert d == {'k': 1}"),
        ("def f(x): x.add(1)", "s = {0}\nf(s)\nassert s == {0, 1}"),
        ("def f(x): x[0].append(9)", "b = [1]\na = [b]\nf(a)\nassert b == [1, 9]"),
        ("def f(x): x[0] = [9]", "a = [[1], 2]\nf(a)\nassert a == [[9], 2]"),
        ("def f(x, y): y.extend(x)", "a, b = [1], []\nf(a, b)\nassert (a, b) == ([1], [1])"),
        ("def f(x): return x", "a = [1]\nassert f(a) == a\nassert a == [1]"),
    ],
)
def test_what_a_function_does_to_its_arguments_is_seen_by_tests_elsewhere(code: str, tests: str) -> None:
    verdict = graded(code, tests)
    assert (verdict.outcome, verdict.weak) == ("correct", False), verdict.reason
    assert graded("def f(*x): return 0", tests).outcome == "wrong"


def expecting(kind: str) -> str:
    return (
        f"try:\n    f(1)\nexcept {kind} as error:\n    said = str(error)\nelse:\n    assert False, 'nothing raised'\n"
    )


@pytest.mark.parametrize(
    "kind", ["ValueError", "ZeroDivisionError", "TypeError", "KeyError", "IndexError", "RuntimeError"]
)
def test_a_builtin_exception_of_the_program_is_raised_in_tests_elsewhere(kind: str) -> None:
    for tests in (expecting(kind), expecting("Exception")):
        verdict = graded(f"def f(x): raise {kind}('no')", tests)
        assert (verdict.outcome, verdict.weak) == ("correct", False), verdict.reason
    assert graded("def f(x): return x", expecting(kind)).outcome == "wrong"
    assert graded("def f(x): raise OSError('no')", expecting(kind)).outcome == "wrong"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("class E(ValueError): pass\ndef f(x): raise E('no')", "ValueError"),
        ("import json\ndef f(x): json.loads('{')", "ValueError"),
        ("import decimal\ndef f(x): decimal.Decimal('x')", "ArithmeticError"),
        ("class E(Exception): pass\ndef f(x): raise E('no')", "Exception"),
    ],
)
def test_an_exception_of_another_type_is_raised_in_tests_elsewhere_as_the_builtin_that_it_is(
    code: str, kind: str
) -> None:
    verdict = graded(code, expecting(kind))
    assert (verdict.outcome, verdict.weak) == ("correct", False), verdict.reason


def test_an_exception_keeps_its_words_in_tests_elsewhere() -> None:
    tests = expecting("ValueError") + "assert said == 'no: 5', said\n"
    assert graded("def f(x): raise ValueError('no: 5')", tests).outcome == "correct"
    assert graded("def f(x): raise ValueError('no: 6')", tests).outcome == "wrong"


@pytest.mark.parametrize(
    "code",
    [
        "def f(x): raise SystemExit(0)",
        "def f(x): raise KeyboardInterrupt",
        "def f(x): raise AssertionError",
        "import os\ndef f(x): os._exit(0)",
        "import os\nos._exit(0)",
        "",
        "def g(x): return 2",
    ],
)
def test_a_program_cannot_leave_instead_of_answering_tests_elsewhere(code: str) -> None:
    verdict = graded(code or "pass", "x = f(1)\nassert x == 2")
    assert (verdict.outcome, verdict.weak) == ("wrong", False), verdict.reason


def test_a_function_given_to_a_function_runs_the_tests_beside_the_program() -> None:
    verdict = graded("def f(g, x): return g(x)", "assert f(lambda x: x + 1, 1) == 2")
    assert (verdict.outcome, verdict.weak) == ("correct", True), verdict.reason
    assert graded("def f(g, x): return g", "assert f(lambda x: x + 1, 1) == 2").outcome == "wrong"


@pytest.mark.parametrize(
    ("value", "tests", "outcome"),
    [
        ("re.match('a', 'a')", "assert f(1)", "correct"),
        ("re.match('a', 'b')", "assert not f(1)", "correct"),
        ("re.match('a', 'b')", "assert f(1)", "wrong"),
        ("object()", "assert f(1) == 2", "wrong"),
        ("Equal()", "assert f(1) == 2", "wrong"),
        ("Equal()", "x = f(1)\nassert x == 2", "wrong"),
        ("Equal()", "assert 2 == f(1)", "wrong"),
        ("Equal()", "x = f(1)\nassert not x != 2", "wrong"),
        ("AnInt(3)", "assert f(1) == 2", "wrong"),
        ("AnInt(3)", "x = f(1)\nassert 2 == x", "wrong"),
        ("[AnInt(3)]", "x = f(1)\nassert [2] == x", "wrong"),
    ],
)
def test_a_value_that_is_no_plain_value_is_true_or_false_and_equals_nothing(
    value: str, tests: str, outcome: str
) -> None:
    code = f"""
import re
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
class AnInt(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def f(x): return {value}
"""
    verdict = graded(code, tests)
    assert (verdict.outcome, verdict.weak) == (outcome, False), verdict.reason


def test_a_recursive_value_is_wrong() -> None:
    assert graded("def f(x):\n    a = []\n    a.append(a)\n    return a", "assert f(1) == 2").outcome == "wrong"


# -- a program that wants to pass without being right ------------------------------------------------------------------

FIND_CHANNEL = """
import json, os, sys, threading
def ids():
    found, frame = [], sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            if isinstance(value, dict) and isinstance(value.get("id"), str): found.append(value["id"])
            if isinstance(value, str) and len(value) == 32: found.append(value)
        frame = frame.f_back
    return found
def say(message):
    for fd in range(3, 64):
        try: os.write(fd, json.dumps(message).encode() + b"\\n")
        except OSError: pass
"""

FORGED = {
    "passed without a number": "say({'passed': True})\nos._exit(0)",
    "passed under the number of loading": "for i in ids(): say({'id': i, 'passed': True})\nos._exit(0)",
    "a value ahead of the call": """
for i in ids(): say({'id': i, 'loaded': True}), say({'id': i, 'value': 2})
os._exit(0)""",
    "passed instead of a value": """
def f(x):
    for i in ids(): say({'id': i, 'passed': True})
    os._exit(0)""",
    "nothing instead of a value": """
def f(x):
    for i in ids(): say({'id': i})
    os._exit(0)""",
    "a value and more": """
def f(x):
    for i in ids(): say({'id': i, 'value': 7}), say({'id': i, 'value': 2})
    os._exit(0)""",
    "no JSON": """
def f(x):
    for fd in range(3, 64):
        try: os.write(fd, b'{' * 10**5 + b'\\n')
        except OSError: pass
    os._exit(0)""",
    "a value that is none": """
def f(x):
    for i in ids(): say({'id': i, 'value': ['list', {}]})
    os._exit(0)""",
    "no end of the line": """
def f(x):
    for fd in range(3, 64):
        try: os.write(fd, b' ' * 1000)
        except OSError: pass
    os._exit(0)""",
    "replaced encoders": """
json.JSONEncoder.encode = json.dumps = lambda *_, **__: '{"passed": true}'
def f(x): return 3""",
    "replaced builtins": """
import builtins
builtins.AssertionError = builtins.Exception = type('E', (BaseException,), {})
builtins.len = lambda x: 2
builtins.bool = lambda x: True
def f(x): return 3""",
    "answers by a thread": """
def late():
    while True: say({'passed': True, 'value': 2})
threading.Thread(target=late, daemon=True).start()
def f(x):
    threading.Event().wait(0.05)
    return 3""",
}


@pytest.mark.parametrize("tests", ["assert f(1) == 2", "x = f(1)\nassert x == 2"], ids=["calls", "remote"])
@pytest.mark.parametrize("trick", FORGED)
def test_what_a_program_writes_into_the_channel_does_not_make_it_pass(trick: str, tests: str) -> None:
    verdict = graded(FIND_CHANNEL + FORGED[trick], tests)
    assert verdict.outcome in ("wrong", "output_limit"), verdict.reason
    assert not verdict.weak


FAKE_ARRAY = "class A:\n    __module__ = 'numpy'\n    def tolist(self): return self\ndef f(x): return A()"


def saying(message: str) -> str:
    return f"{FIND_CHANNEL}\ndef f(x):\n    for i in ids(): say({{'id': i, {message}}})\n    os._exit(0)"


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(x): return {10**5000: 1}", [{"args": [1], "expected": {"a": 1}}]),
        ("def f(x): return 10**5000", "assert f(1) == 2"),
        ("def f(x): return [10**5000]", "assert f(1) == 2"),
        ("def f(x): return 1", f"assert f(1) == 0x{'f' * 5000}"),
        ("def f(x): return '\\ud800'", "assert f(1) == 2"),
        ("def f(x): raise ValueError('\\ud800')", "assert f(1) == 2"),
        ("def f(x): return {n * (2**61 - 1) for n in range(3000)}", "assert f(1) == 2"),
        (FAKE_ARRAY, "assert f(1) == 2"),
        (saying(f"'value': ['complex', {10**400}, 0]"), "assert f(1) == 2"),
        (saying("'raised': 5"), "assert f(1) == 2"),
        (saying("'unplain': [[]], 'truth': 1"), "assert f(1)"),
        (saying("'missing': {}"), "assert f(1)"),
        (saying("'raised': 5"), "x = f(1)\nassert x == 2"),
        (saying("'value': 2, 'args': 5"), "x = f(1)\nassert x == 2"),
    ],
    ids=range(14),
)
def test_no_answer_of_a_program_makes_the_grader_fail(code: str, tests: object) -> None:
    verdict = graded(code, tests, "f")
    assert verdict.outcome == "wrong", verdict.reason
    verdict.reason.encode(errors="surrogatepass")


SECRET = 918_273_645
SEARCH = f"""
import gc, sys
def inside(thing):
    if type(thing) is dict: return [thing, *thing, *thing.values()]
    return [thing, *thing] if type(thing) in (list, tuple, set) else [thing]
def f(x):
    text = str({SECRET // 1000}) + str({SECRET % 1000})
    wanted = int(text)
    seen, frame = [], sys._getframe()
    while frame:
        seen += [*frame.f_locals.values(), *frame.f_code.co_consts]
        frame = frame.f_back
    found = []
    for part in (part for thing in gc.get_objects() + seen for part in inside(thing)):
        if type(part) is int and part == wanted and part is not wanted: found.append("an integer")
        if type(part) is str and text in part and part is not text: found.append(part[:50])
    return found
"""


@pytest.mark.parametrize(
    "tests",
    [
        [{"args": [1], "expected": [SECRET]}],
        f"assert f(1) == [{SECRET}]",
        f"def check(candidate):\n    assert candidate(1) == [{SECRET}]\ncheck(f)",
        f"x = f(1)\nassert x == [{SECRET}]",
        f"SECRET = '{SECRET}'\nassert f(1) == [int(SECRET)]",
    ],
    ids=["objects", "assertion", "check", "remote", "remote text"],
)
def test_what_is_expected_cannot_be_found_in_the_memory_of_the_program(tests: object) -> None:
    searched = SEARCH
    verdict = graded(searched, tests, "f")
    assert verdict.outcome == "wrong", verdict.reason
    nothing = str(tests).replace(f"[{SECRET}]", "[]").replace("[int(SECRET)]", "[]")
    if isinstance(tests, str) and "SECRET" not in tests:
        assert graded(searched, nothing, "f").outcome == "correct"
    elif isinstance(tests, list):
        assert "f(1) is []" in verdict.reason


def test_a_search_for_what_is_expected_finds_it_where_it_is_known() -> None:
    """The test above would be worth nothing if the search found nothing anywhere."""
    given = f"from_outside = [{SECRET}]\n" + SEARCH
    assert "an integer" in graded(given, [{"args": [1], "expected": [SECRET]}], "f").reason


def test_a_program_learns_nothing_from_the_one_before() -> None:
    leave = "import builtins, os\nbuiltins.left = 5\nopen('/tmp/left', 'w').write('5')\ndef add(a, b): return a + b"
    assert graded(leave, ADD, "add").outcome == "correct"
    take = "import builtins, os\nif hasattr(builtins, 'left') or os.path.exists('/tmp/left'):\n    add = int.__add__"
    assert graded(take, ADD, "add").outcome == "wrong"


# -- languages and forms -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << '\\n'; }", "correct"),
        ("#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a - b << '\\n'; }", "wrong"),
        ("#include <iostream>\nint main() { std::cout << 5; return 1; }", "wrong"),
        ("#include <cstdlib>\nint main() { abort(); }", "wrong"),
        ("int main() { return x; }", "unparseable"),
        ("int main( {", "unparseable"),
        ("int main() { volatile int i = 0; for (;;) i = i + 1; }", "timeout"),
    ],
)
def test_outcomes_of_cpp(code: str, outcome: str) -> None:
    seconds = 2.0 if outcome == "timeout" else 10.0
    verdict = graded(f"```cpp\n{code}\n```", IN_OUT, sandbox=SETTINGS._replace(timeout_seconds=seconds))
    assert verdict.outcome == outcome, verdict.reason


def test_functions_are_not_called_in_cpp() -> None:
    assert graded("```cpp\nint add(int a, int b) { return a + b; }\n```", ADD, "add").outcome == "wrong"


HUMAN_EVAL = {
    "question": 'from typing import List\n\ndef twice(xs: List[int]) -> List[int]:\n    """Each doubled.\n    """\n',
    "entry_point": "twice",
}


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ("    return [2 * x for x in xs]", "correct"),
        ("    return [2 * x for x in xs]\n\nprint(twice([1]))", "correct"),
        ("```python\n    return [2 * x for x in xs]\n```", "correct"),
        ("```python\ndef twice(xs: List[int]) -> List[int]:\n    return [2 * x for x in xs]\n```", "correct"),
        ("```python\nfrom typing import List\ndef twice(xs):\n    return [2 * x for x in xs]\n```", "correct"),
        ("    return xs", "wrong"),
        ("    return [2 * x for x in xs", "unparseable"),
    ],
)
def test_a_response_may_go_on_where_the_question_ends_or_begin_again(response: str, outcome: str) -> None:
    tests = (
        "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1]) == [2]\n    assert candidate([]) == []\n"
    )
    verdict = graded(response, tests, bare=True, **HUMAN_EVAL)
    assert (verdict.outcome, verdict.weak) == (outcome, False), verdict.reason


# -- a sandbox that fails ----------------------------------------------------------------------------------------------


def launchers() -> list[int]:
    """The children of this process that hold a jail; a jail ends with its own."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid() and b"rlsd_sandbox" in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
    return found


def kill_jails() -> None:
    for pid in launchers():
        os.kill(pid, signal.SIGKILL)


def test_a_sandbox_that_cannot_start_is_no_verdict() -> None:
    for settings in (Settings(level="none"), Settings(imports=("no_such_module_here",))):
        verdict = graded("def add(a, b): return a + b", ADD, "add", sandbox=settings)
        assert (verdict.outcome, verdict.score, verdict.correct) == ("sandbox_error", 0.0, None)
        assert "sandbox" in verdict.reason


def test_a_sandbox_that_fails_once_is_put_up_again_and_the_program_is_judged() -> None:
    for place in range(2):
        assert graded("def add(a, b): return a + b", ADD, "add").outcome == "correct"
        kill_jails()
        time.sleep(0.1)
        code, outcome = [("def add(a, b): return a + b", "correct"), ("def add(a, b): return a", "wrong")][place]
        assert graded(code, ADD, "add").outcome == outcome


@pytest.mark.parametrize("tests", [ADD, "x = add(2, 3)\nassert x == 5"], ids=["calls", "remote"])
def test_a_sandbox_that_fails_every_time_is_no_verdict_and_the_next_program_is_judged(tests: object) -> None:
    grade.close()
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.3):
            kill_jails()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        slow = "import time\ndef add(a, b):\n    time.sleep(1.5)\n    return a + b"
        verdict = graded(slow, tests, "add")
    finally:
        stop.set()
        killer.join()
    assert (verdict.outcome, verdict.correct) == ("sandbox_error", None), verdict.reason
    assert graded("def add(a, b): return a + b", tests, "add").outcome == "correct"


def test_harmless_code_runs_without_a_jail_if_that_is_allowed_and_the_verdict_says_unsafe() -> None:
    verdict = graded("def add(a, b): return a + b", ADD, "add", sandbox=Settings(level="none", allow_unsafe=True))
    assert verdict.outcome == "correct"
    assert verdict.sandbox is not None
    assert verdict.sandbox.startswith("UNSAFE")
    grade.close()


def test_a_thousand_tests_are_asked_in_one_jail() -> None:
    tests = [{"args": [n, 1], "expected": n + 1} for n in range(1000)]
    started = time.monotonic()
    assert graded("def add(a, b): return a + b", tests, "add").outcome == "correct"
    assert time.monotonic() - started < SETTINGS.timeout_seconds
