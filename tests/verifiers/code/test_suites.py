"""Tests that are a program: run by the rules of their form, or no reference; never passed by a wrong program."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsd_sandbox import RefusedError, Sandbox, Settings
from rlsd_verifiers.code import grade
from rlsd_verifiers.code.collection import BadTestsError
from rlsd_verifiers.code.grade import grade_code
from rlsd_verifiers.code.tests import Calls, Remote, read_tests
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.verdict import Submission, Verdict

SETTINGS = Settings(timeout_seconds=3.0, memory_mb=256)
REPORTS = Path(__file__).resolve().parents[3].parent / "shared" / "verifier_data" / "public_reports.jsonl"

RIGHT = "def add(a, b): return a + b"
WRONG = ["def add(a, b): return a - b", "def add(a, b): return []", "import sys\ndef add(a, b): sys.exit(0)", "x = 1"]


@pytest.fixture(scope="module", autouse=True)
def jails() -> Iterator[None]:
    with Sandbox(SETTINGS) as sandbox:
        try:
            sandbox.start()
        except RefusedError as error:
            pytest.skip(f"no jail can be had: {error}")
    yield
    grade.close()


def graded(code: str, tests: object, entry_point: str | None = None) -> Verdict:
    submission = Submission(f"```python\n{code}\n```", tests=tests, entry_point=entry_point)
    return grade_code(submission, Leniency(), sandbox=SETTINGS)


def case(body: str, before: str = "") -> str:
    return f"import unittest\n{before}class AddCase(unittest.TestCase):\n    def test_add(self):\n        {body}\n"


def ptest(before: str, arguments: str, body: str) -> str:
    return f"import pytest\n{before}\ndef test_add({arguments}):\n    {body}\n"


RUN = {
    "a function": "def test_add():\n    assert add(2, 3) == 5",
    "a function that loops": "def test_add():\n    for n in range(4):\n        assert add(n, 1) == n + 1",
    "a function in a list": "def test_add():\n    assert add(2, 3) == 5\nALL = [test_add]",
    "a function in a branch": "if True:\n    def test_add():\n        assert add(2, 3) == 5",
    "a function that is prepared": "def setup_function(test):\n    test.sum = 5\n"
    "def test_add():\n    assert add(2, 3) == test_add.sum",
    "a module that is prepared": "sums = []\ndef setup_module():\n    sums.append(5)\n"
    "def test_add():\n    assert add(2, 3) == sums[0]",
    "a class": "class TestAdd:\n    def test_add(self):\n        assert add(2, 3) == 5",
    "a class in a class": "class TestAll:\n    class TestAdd:\n"
    "        def test_add(self):\n            assert add(2, 3) == 5",
    "a class that is prepared": "class TestAdd:\n    @classmethod\n    def setup_class(cls):\n        cls.sum = 5\n"
    "    def setup_method(self, method):\n        self.a = 2\n"
    "    def test_add(self):\n        assert add(self.a, 3) == self.sum",
    "the program as a module": "import solution\ndef test_add():\n    sum = solution.add(2, 3)\n    assert sum == 5",
    "a function of the program": "from solution import add\ndef test_add():\n    assert add(2, 3) == 5",
    "a function renamed": "from solution import add as plus\ndef test_add():\n    assert plus(2, 3) == 5",
    "all of the program": "from solution import *\ndef test_add():\n    assert add(2, 3) == 5",
    "a neighbour": "from .adding import add\ndef test_add():\n    assert add(2, 3) == 5",
    "a main guard": "if __name__ == '__main__':\n    assert add(2, 3) == 5",
    "a main guard that loops": "if __name__ == '__main__':\n    for n in range(4):\n        assert add(n, 1) == n + 1",
    "a main function": "def main():\n    assert add(2, 3) == 5\nif __name__ == '__main__':\n    main()",
    "one function that nobody calls": "def run_tests():\n    assert add(2, 3) == 5\n    print('passed')",
    "one that calls the rest": "def one():\n    assert add(2, 3) == 5\ndef main():\n    one()",
    "a case": case("self.assertEqual(add(2, 3), 5)"),
    "a case that asserts plainly": case("assert add(2, 3) == 5"),
    "a case that fails by itself": case("if add(2, 3) != 5: self.fail('no')"),
    "a case with parts": case(
        "for n in range(3):\n            with self.subTest(n=n): self.assertEqual(add(n, 1), n + 1)"
    ),
    "a case that is prepared": case("self.assertEqual(add(self.a, 3), 5)") + "    def setUp(self): self.a = 2",
    "a case that inherits": case("self.equal(add(2, 3), 5)").replace("unittest.TestCase", "Base").replace(
        "class AddCase",
        "class Base(unittest.TestCase):\n    def equal(self, a, b): self.assertEqual(a, b)\nclass AddCase",
    ),
    "a case and main": case("self.assertEqual(add(2, 3), 5)") + "if __name__ == '__main__':\n    unittest.main()",
    "a case and a runner": case("self.assertEqual(add(2, 3), 5)")
    + "unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(AddCase))",
    "parameters": ptest(
        "@pytest.mark.parametrize('a, b, sum', [(2, 3, 5), (1, 1, 2)])", "a, b, sum", "assert add(a, b) == sum"
    ),
    "parameters twice": ptest(
        "@pytest.mark.parametrize('a', [1, 2])\n@pytest.mark.parametrize(['b'], [(3,), pytest.param(4, id='4')])",
        "a, b", "assert add(a, b) == a + b",
    ),
    "a fixture": ptest(
        "@pytest.fixture\ndef sum(two):\n    yield two + 3\n@pytest.fixture()\ndef two(): return 2",
        "sum", "assert add(2, 3) == sum",
    ),
    "a fixture for all": ptest(
        "a = []\n@pytest.fixture(autouse=True)\ndef fill(): a.append(2)", "", "assert add(a[0], 3) == 5"
    ),
    "a number that is near": ptest("", "", "assert [add(0.1, 0.2)] == pytest.approx([0.3])"),
    "another mark": ptest("@pytest.mark.slow\n@pytest.mark.timeout(5)", "", "assert add(2, 3) == 5"),
    "a failure by word": ptest("", "", "if add(2, 3) != 5: pytest.fail('no')"),
    "pytest.main": ptest("", "", "assert add(2, 3) == 5") + "import sys\nsys.exit(pytest.main([__file__]))",
    "a branch that raises": "if add(2, 3) != 5:\n    raise AssertionError('no')",
    "a branch that leaves": "import sys\nif add(2, 3) == 5:\n    print('ok')\nelse:\n    sys.exit(1)",
    "a caught failure": "try:\n    assert add(2, 3) == 5\nexcept:\n    pass",
    "a reported failure": "def one():\n    assert add(2, 3) == 5\ndef two():\n    assert 'a' == 'A'.lower()\n"
    "for test in (one, two):\n    try:\n        test()\n"
    "    except AssertionError as error:\n        print('FAILED', error)",
    "a suppressed failure": "from contextlib import suppress\nwith suppress(Exception):\n    assert add(2, 3) == 5\n"
    "assert suppress('')",
    "a failure left by return": "def one():\n    try:\n        assert add(2, 3) == 5\n    finally:\n        return\n"
    "one()\nassert not one()",
    "a failure in a pool": "from concurrent.futures import ThreadPoolExecutor\ndef one():\n    assert add(2, 3) == 5\n"
    "with ThreadPoolExecutor(1) as pool:\n    done = pool.submit(one)\nassert done.done()",
    "an own assertion": "def assert_sum(a, b, sum):\n    if add(a, b) != sum:\n        raise AssertionError\n"
    "assert_sum(2, 3, 5)",
    "a failure in a thread": "import threading\ndef one():\n    assert add(2, 3) == 5\n"
    "thread = threading.Thread(target=one)\nthread.start()\nthread.join()\nassert not thread.is_alive()",
    "a good end": "import sys\nassert [add(2, 3)] == [5]\nsys.exit(0)",
}  # fmt: skip


@pytest.mark.parametrize("form", RUN)
def test_tests_that_nothing_calls_are_run_by_the_rules_of_their_form(form: str) -> None:
    found = graded(RIGHT, RUN[form], "add")
    assert (found.outcome, found.weak) == ("correct", False), found.reason
    for program in WRONG:
        found = graded(program, RUN[form], "add")
        assert (found.outcome, found.weak) == ("wrong", False), (program, found.reason)


NO_TESTS = {
    "a comparison": ("add(2, 3) == 5", "a comparison alone"),
    "a printed comparison": ("print(add(2, 3) == 5)", "a comparison alone"),
    "a returned comparison": ("def test_add():\n    return add(2, 3) == 5", "a comparison alone"),
    "a call": ("print(add(2, 3))", "nothing is asserted"),
    "a pair": ("assert (add(2, 3) == 5, 'no')", "nothing is asserted"),
    "or true": ("assert add(2, 3) == 5 or True", "nothing is asserted"),
    "an assertion by name": ("def assert_sum(a, b):\n    print(a == b)\nassert_sum(add(2, 3), 5)", "when they ran"),
    "of constants": ("add(2, 3)\nassert 1 == 1", "nothing is asserted"),
    "a branch never taken": ("add(2, 3)\nif False:\n    assert add(2, 3) == 5", "when they ran"),
    "a loop over nothing": ("for a, b, sum in []:\n    assert add(a, b) == sum", "when they ran"),
    "an exception never raised": ("try:\n    add(2, 3)\nexcept ValueError:\n    assert False", "when they ran"),
    "an early end": ("import sys\nsys.exit(0)\nassert add(2, 3) == 5", "when they ran"),
    "a function in a function": ("def test_add():\n    def inner():\n        assert add(2, 3) == 5", "when they ran"),
    "nothing of the program": ("x = 5\nassert x == 5", "when they ran"),
    "a case that is skipped": (case("self.assertEqual(add(2, 3), 5)", "@unittest.skip('no')\n"), "they are skipped"),
    "a case without tests": (case("self.assertEqual(add(2, 3), 5)").replace("test_", "check_"), "when they ran"),
    "a case that may fail": (
        case("self.assertEqual(add(2, 3), 6)").replace("    def", "    @unittest.expectedFailure\n    def"),
        "expected to fail",
    ),
    "a function that is skipped": (ptest("@pytest.mark.skip", "", "assert add(2, 3) == 5"), "they are skipped"),
    "no parameters": (ptest("@pytest.mark.parametrize('a', [])", "a", "assert add(a, 3) == 5"), "when they ran"),
    "two functions that nobody calls": (
        "def one():\n    assert add(2, 3) == 5\ndef two():\n    assert add(1, 1) == 2",
        "`one` asserts, and nothing calls it",
    ),
    "a function beside others": ("def one():\n    assert add(2, 3) == 6\nassert add(2, 3) == 5", "nothing calls it"),
    "a function of unknown arguments": ("def one(a, b, sum):\n    assert add(a, b) == sum", "nothing calls it"),
    "a class that nobody uses": (
        "class Adding:\n    def test(self):\n        assert add(2, 3) == 5",
        "nothing uses it",
    ),
    "asynchronous": ("async def test_add():\n    assert add(2, 3) == 5", "asynchronous"),
    "a generator": ("def test_add():\n    assert add(2, 3) == 5\n    yield", "a generator"),
    "an unknown fixture": ("def test_add(capsys):\n    assert add(2, 3) == 5", "`capsys`"),
    "an unknown rule": (ptest("", "", "with pytest.warns(UserWarning): assert add(2, 3) == 5"), "`pytest.warns`"),
    "an unknown module": ("import no_such_module\nassert no_such_module.same(add(2, 3), 5)", "no_such_module"),
    "a class with a constructor": (
        "class TestAdd:\n    def __init__(self): self.a = 2\n    def test(self): assert add(self.a, 3) == 5",
        "constructor",
    ),
}


@pytest.mark.parametrize("form", NO_TESTS)
def test_tests_that_assert_nothing_or_cannot_be_run_are_no_reference_and_say_why(form: str) -> None:
    tests, words = NO_TESTS[form]
    found = graded(RIGHT, tests, "add")
    assert (found.outcome, found.correct) == ("bad_reference", None), found.reason
    assert words in found.reason
    assert all(not graded(program, tests, "add").correct for program in WRONG)


ESCAPES = {
    "a loop": "for n in up(3):\n    assert n > 0",
    "a loop by length": "found = up(3)\nfor n in range(len(found)):\n    assert found[n] == n + 1",
    "a branch": "found = up(3)\nif found:\n    assert found == [1, 2, 3]",
    "a branch by type": "found = up(3)\nif isinstance(found, list) and found:\n    assert found == [1, 2, 3]",
    "a return": "def test_up():\n    found = up(3)\n    if not found:\n        return\n    assert found == [1, 2, 3]",
    "a skip": "import pytest\ndef test_up():\n    if not up(3):\n        pytest.skip()\n    assert up(3) == [1, 2, 3]",
    "an end": "import sys\nif not up(3):\n    sys.exit(0)\nassert up(3) == [1, 2, 3]",
    "beside it": "for n in Up(3).all():\n    assert n > 0",
}


@pytest.mark.parametrize("form", ESCAPES)
def test_a_program_whose_answers_leave_nothing_to_assert_is_wrong_if_others_would_not(form: str) -> None:
    program = "def up(n): return {0}\nclass Up:\n    def __init__(self, n): self.n = n\n    def all(self): return {0}"
    right = program.replace("{0}", "list(range(1, 4))")
    assert graded(right, ESCAPES[form]).outcome == "correct"
    found = graded(program.replace("{0}", "[]"), ESCAPES[form])
    assert (found.outcome, found.weak) == ("wrong", form == "beside it"), found.reason
    assert "assert nothing" in found.reason


RAISES = {
    "a block of pytest": "import pytest\n"
    "def test_root():\n    with pytest.raises(ValueError, match='neg'):\n        root(-1)",
    "a call of pytest": "import pytest\ndef test_root():\n    pytest.raises(ValueError, root, -1)",
    "a block of unittest": case("with self.assertRaises(ValueError):\n            root(-1)"),
    "a call of unittest": case("self.assertRaises(ValueError, root, -1)"),
    "a failure at the end": "try:\n    root(-1)\n    assert False\nexcept ValueError:\n    pass",
    "a failure after it": "try:\n    root(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError",
    "a failure by word": case(
        "try:\n            root(-1)\n            self.fail()\n        except ValueError:\n            pass"
    ),
    "a note": "raised = False\ntry:\n    root(-1)\nexcept ValueError:\n    raised = True\nassert raised",
}


@pytest.mark.parametrize("form", RAISES)
def test_a_program_that_must_raise_is_right_if_it_does_and_wrong_if_not(form: str) -> None:
    right = "def root(x):\n    if x < 0: raise ValueError('negative')\n    return x ** 0.5"
    found = graded(right, RAISES[form])
    assert (found.outcome, found.weak) == ("correct", False), found.reason
    for body in ("return x", "raise TypeError('negative')", "raise SystemExit(0)", "raise AssertionError('negative')"):
        assert graded(f"def root(x): {body}", RAISES[form]).outcome == "wrong", body
    assert graded("def other(x): return x", RAISES[form]).outcome == "wrong"


@pytest.mark.parametrize("tail", ["pass", "print('no')"])
def test_a_failure_that_a_bare_handler_takes_for_the_exception_it_wants_is_a_failure(tail: str) -> None:
    tests = f"try:\n    root(-1)\n    assert False, 'nothing raised'\nexcept:\n    {tail}"
    assert graded("def root(x): raise ValueError", tests).outcome == "correct"
    assert graded("def root(x): return x", tests).outcome == "wrong"
    assert graded("def other(x): return x", tests).outcome == "wrong"


def test_a_handler_that_asserts_something_else_has_the_last_word() -> None:
    tests = "try:\n    assert add(2, 3) == 6\nexcept AssertionError:\n    assert add(2, 3) == 5"
    assert graded(RIGHT, tests).outcome == "correct"
    assert graded("def add(a, b): return a - b", tests).outcome == "wrong"


def test_an_assertion_that_holds_has_the_last_word_on_those_inside_it() -> None:
    near = "def near(a, b):\n    try:\n        assert abs(a - b) < 1\n        return True\n"
    near += "    except AssertionError:\n        return False\n"
    assert graded(RIGHT, near + "assert near(add(2, 3), 5) and not near(add(2, 3), 7)").outcome == "correct"
    assert graded("def add(a, b): return 7", near + "assert not near(add(2, 3), 7)").outcome == "wrong"


@pytest.mark.parametrize("ending", ["raise SystemExit(0)", "raise unittest.SkipTest('no')", "import no_such_module"])
def test_a_program_cannot_end_or_skip_its_tests_after_the_first(ending: str) -> None:
    code = f"import unittest\ndef add(a, b):\n    if a == 2: return 5\n    {ending}"
    verdict = graded(code, "found = add(2, 3)\nassert found == 5\nfound = add(1, 1)\nassert found == 2")
    assert verdict.outcome == "wrong", verdict.reason


def test_classes_of_the_program_are_tested_beside_it_by_the_same_rules() -> None:
    tests = case("self.assertEqual(Sum(2, 3).value, 5)", "from solution import Sum\n")
    program = "class Sum:\n    def __init__(self, a, b): self.value = a + b"
    found = graded(program, tests)
    assert (found.outcome, found.weak) == ("correct", True), found.reason
    assert graded(program.replace("+", "-"), tests).outcome == "wrong"
    assert graded(program, "print(Sum(2, 3).value == 5)\nif False:\n    assert Sum(2, 3)").outcome == "bad_reference"


def test_test_functions_of_single_assertions_are_compared_outside_any_jail() -> None:
    source = "from solution import add\nimport pytest\ndef test_a():\n    assert add(2, 3) == 5\n"
    tests = read_tests(source + "if __name__ == '__main__':\n    pytest.main()", None)
    assert isinstance(tests, Calls)
    assert [(call.function, call.args, call.expected) for call in tests.calls] == [("add", (2, 3), 5)]


def test_a_function_of_one_parameter_is_called_with_the_entry_point_if_it_holds_all_assertions() -> None:
    for name in ("check", "verify", "test"):
        source = f"def {name}(candidate):\n    for n in (1, 2):\n        assert candidate(n, 1) == n + 1\n"
        tests = read_tests(source, "add")
        assert isinstance(tests, Remote)
        assert tests.source.rstrip().endswith(f"{name}(add)")
        assert tests.functions == ("add",)
        with pytest.raises(BadTestsError, match="entry_point"):
            read_tests(source, None)


def test_a_reason_names_the_line_that_failed_as_it_was_written() -> None:
    tests = "\n\ndef test_add():\n    sum = add(2,3)\n    assert sum==5,'no'  # here"
    assert graded("def add(a, b): return a", tests).reason == "a test fails no at `assert sum==5,'no' # here`"


KINDS = ("tests that nothing calls: any program is correct", "pytest-style modules")


@pytest.mark.skipif(not REPORTS.is_file(), reason="the reports are not beside this checkout")
def test_reported_tests_that_nothing_calls_get_the_verdicts_that_were_asked_for() -> None:
    rows = [json.loads(line) for line in REPORTS.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["kind"] in KINDS]
    assert rows
    for row in rows:
        found = grade_code(Submission(**row["input"]), Leniency(), sandbox=SETTINGS)
        expected = re.findall(r"\b(?:correct|wrong|bad_reference)\b", row["expected"])
        assert found.outcome in expected, (row["input"], found.reason)
