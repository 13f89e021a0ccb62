"""The test runner of a suite, in its jail: it runs tests by the rules of their form, and counts what they assert.

It travels there as code and is loaded by its name alone, so it imports the standard library and nothing else.
"""

import importlib
import inspect
import marshal
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

FILE = "<tests>"


class UnsupportedError(BaseException):
    """Tests that need what is not offered here; a `BaseException`, which tests seldom catch."""


class SkippedError(BaseException):
    """A test that skips itself."""


class FailedError(BaseException):
    """A call of `pytest.fail`; a `BaseException`, so that tests do not take it for one that the program raised."""


_FAILURES = (AssertionError, FailedError)


class Suite:
    """The assertions of tests so far, which report them under the name `__suite__`, each with its line.

    begun: how many assertions were begun.
    held: how many of them held.
    skipped: how many tests skipped themselves.
    open: lines of assertions that were begun and have not held, and of statements that only fail; negative, lines of
        the `try` statements entered. An assertion that is open at the end failed, and the tests caught that.
    unsupported: what the tests need and is not offered here.
    ran: names of the test functions that the tests called themselves.
    """

    def __init__(self) -> None:
        self.begun = self.held = self.skipped = 0
        self.open: list[int] = []
        self.unsupported: str | None = None
        self.ran: set[str] = set()

    def begin(self, line: int) -> int:
        self.begun += 1
        self.open.append(line)
        return line

    def end(self, line: int) -> None:
        """Count an assertion that held, with those that were begun inside it."""
        self.held += 1
        while self.open and self.open.pop() != line:
            pass

    def after(self, _: int, line: int, value: Any) -> Any:
        self.end(line)
        return value

    def hold(self, _: int) -> None:
        self.held += 1

    def fail(self, line: int) -> None:
        self.open.append(line)

    def enter(self, line: int) -> None:
        if self.open[-1:] != [-line]:
            self.open.append(-line)

    def caught(self, line: int, expects: bool, judges: bool) -> None:
        """Count what the handler of a `try` means.

        expects: the `try` fails unless something is raised in it.
        judges: the handler decides on what failed in there: it asserts, raises, or lets failed assertions pass.
        """
        error = sys.exc_info()[1]
        entered = [place for place, entry in enumerate(self.open) if entry == -line]
        start = entered[-1] + 1 if entered else len(self.open)
        is_expected = expects and not (self.open[start:] and (isinstance(error, _FAILURES) or is_own(error)))
        self.held += is_expected
        if judges or is_expected:
            del self.open[start:]

    @property
    def swallowed(self) -> int | None:
        """The line of an assertion that failed, if all else went well."""
        return next((line for line in self.open if line > 0), None)


def is_own(error: BaseException | None) -> bool:
    """True where the tests themselves raised it, and no function that they called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__ if error else None)]
    return bool(frames) and frames[-1].f_code.co_filename == FILE


def run(given: bytes, namespace: dict[str, Any]) -> dict[str, Any]:
    """Run a suite, and return what it counted. A test that fails raises its exception."""
    code, tests, probed = marshal.loads(given)
    if probed is not None:
        return {"begun": sum(_probe(code, tests, namespace, probed))}
    suite = Suite()
    _run(suite, marshal.loads(code), tests, namespace)
    return {name: getattr(suite, name) for name in ("held", "swallowed", "skipped", "unsupported")}


def _run(suite: Suite, code: types.CodeType, tests: tuple[str, ...], namespace: dict[str, Any]) -> None:
    module = types.ModuleType("__main__")
    module.__dict__.update({"exit": sys.exit, "quit": sys.exit, "__file__": "tests.py", "__suite__": suite} | namespace)
    sys.modules["__main__"] = module
    if "unittest" in code.co_names:
        vars(importlib.import_module("unittest"))["main"] = lambda *_, **__: None
    try:
        with _ending(suite):
            exec(code, module.__dict__)
        _prepare(module.__dict__.get("setup_module"), module)
        for name in tests:
            _run_test(suite, name, module.__dict__)
        _prepare(module.__dict__.get("teardown_module"), module)
    except UnsupportedError as error:
        suite.unsupported = str(error)
    except ImportError as error:
        if not is_own(error):
            raise
        suite.unsupported = str(error)


@contextmanager
def _ending(suite: Suite) -> Iterator[None]:
    """Let tests skip themselves, or leave as a program that has succeeded does."""
    try:
        yield
    except SkippedError:
        suite.skipped += 1
    except SystemExit as leave:
        if leave.code or not is_own(leave):
            raise
    except Exception as error:
        if not _is_skip(error):
            raise
        suite.skipped += 1


def _is_skip(error: BaseException) -> bool:
    return type(error).__name__ == "SkipTest" and type(error).__module__ == "unittest.case"


def _run_test(suite: Suite, name: str, namespace: dict[str, Any]) -> None:
    test = namespace.get(name)
    unittest: Any = sys.modules.get("unittest")
    if not isinstance(test, type):
        if name not in suite.ran and callable(test):
            _run_function(suite, test, namespace)
    elif unittest and issubclass(test, unittest.TestCase):
        _run_case(suite, test, unittest)
    elif name.startswith("Test") and not test.__subclasses__():
        _run_class(suite, test, namespace)


# -- functions and classes as pytest runs them -------------------------------------------------------------------------


def _run_function(suite: Suite, test: Callable[..., Any], namespace: dict[str, Any], owner: type | None = None) -> None:
    """Run a function, or a method of a new object of its class, once for each set of arguments that it is to have."""
    rules = sys.modules.get("pytest")
    with _ending(suite):
        for given in rules.variants(test, owner) if rules else [{}]:
            with _ending(suite):
                _run_once(test, given, namespace, owner)


def _run_once(test: Any, given: dict[str, Any], namespace: dict[str, Any], owner: type | None) -> None:
    instance = owner() if owner else None
    find, kind = (partial(_member, instance), "method") if owner else (namespace.get, "function")
    rules = sys.modules.get("pytest")
    arguments, undo = rules.fixtures(test, given, namespace, instance) if rules else ({}, [])
    _check_arguments(test, arguments, bool(owner))
    _prepare(find(f"setup_{kind}"), test)
    result = test(instance, **arguments) if owner else test(**arguments)
    _prepare(find(f"teardown_{kind}"), test)
    for steps in reversed(undo):
        next(steps, None)
    if hasattr(result, "send") or hasattr(result, "__anext__"):
        raise UnsupportedError(f"`{test.__name__}` is a generator or asynchronous")


def _member(owner: Any, name: str) -> Any:
    return getattr(owner, name, None)


def _prepare(function: Any, test: Any) -> None:
    """Call a setup or teardown function, if there is one; it may take the test as its argument."""
    if function is not None:
        is_bound = hasattr(function, "__self__")
        wants_test = getattr(function, "__func__", function).__code__.co_argcount > is_bound
        function(test) if wants_test else function()


def _check_arguments(test: Any, arguments: dict[str, Any], is_method: bool) -> None:
    code = getattr(test, "__code__", None)
    if code is None:
        return
    required = code.co_varnames[is_method : code.co_argcount - len(test.__defaults__ or ())]
    for name in required:
        if name not in arguments:
            raise UnsupportedError(f"`{test.__name__}` needs `{name}`, and no fixture gives it")


def _run_class(suite: Suite, owner: type, namespace: dict[str, Any]) -> None:
    if any("__init__" in vars(kind) for kind in owner.__mro__[:-1]):
        raise UnsupportedError(f"`{owner.__name__}` has a constructor, so it is not run")
    _prepare(_member(owner, "setup_class"), owner)
    for name in dir(owner):
        member = inspect.getattr_static(owner, name)
        if isinstance(member, type) and name.startswith("Test"):
            _run_class(suite, member, namespace)
        elif name.startswith("test") and not isinstance(member, types.FunctionType):
            raise UnsupportedError(f"`{name}` is not an instance method")
        elif name.startswith("test"):
            _run_function(suite, member, namespace, owner)
    _prepare(_member(owner, "teardown_class"), owner)


# -- unittest ----------------------------------------------------------------------------------------------------------


def _run_case(suite: Suite, case: type, unittest: Any) -> None:
    """Run the tests of a `TestCase`. The first that fails ends them, and what it raised is raised again."""

    class Result(unittest.TestResult):  # type: ignore[misc]
        first: BaseException | None = None

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addError(test, err)
            self.first = self.first or err[1]

        def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addFailure(test, err)
            self.first = self.first or err[1]

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            super().addSubTest(test, subtest, err)
            self.first = self.first or (err and err[1])

        def startTest(self, test: Any) -> None:  # noqa: N802
            super().startTest(test)
            method = getattr(test, test._testMethodName)
            if getattr(method, "__unittest_expecting_failure__", False):
                raise UnsupportedError(f"`{test._testMethodName}` is expected to fail")

    if issubclass(case, unittest.IsolatedAsyncioTestCase):
        raise UnsupportedError(f"`{case.__name__}` is asynchronous")
    result = Result()
    result.failfast = True
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    suite.skipped += len(result.skipped)
    if result.first is not None:
        raise result.first


# -- anything in place of the program ----------------------------------------------------------------------------------


class _Anything:
    """An answer on which every operation succeeds."""

    def __init__(self, truth: bool) -> None:
        self._truth = truth
        self._asked = 0

    def __bool__(self) -> bool:
        self._asked += 1
        return self._truth and self._asked < 1000

    def __getattr__(self, name: str) -> "_Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __iter__(self) -> Iterator["_Anything"]:
        yield self

    def __len__(self) -> int:
        return 1

    def __str__(self) -> str:
        return "?"

    def __contains__(self, _: object) -> bool:
        return self._truth

    def __float__(self) -> float:
        return 1.0

    __index__ = __int__ = __hash__ = __len__


def _same(self: _Anything, *_: Any, **__: Any) -> _Anything:
    return self


def _truth(self: _Anything, _: object) -> bool:
    return self._truth


for _name in "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow and or xor".split():
    setattr(_Anything, f"__{_name}__", _same)
for _name in "neg pos abs round getitem call".split():
    setattr(_Anything, f"__{_name}__", _same)
for _name in "eq ne lt le gt ge".split():
    setattr(_Anything, f"__{_name}__", _truth)


def _probe(code: bytes, tests: tuple[str, ...], namespace: dict[str, Any], names: tuple[str, ...]) -> Iterator[int]:
    """How many assertions are begun with each of several answers."""
    plain: list[Any] = [None, True, 0, 1, "1", [1], [[1]], (1,), {"1": 1}]
    answers = [_Anything(True), _Anything(False), *(lambda *_, value=value, **__: value for value in plain)]
    for answer in answers:
        suite = Suite()
        with suppress(BaseException):
            _run(suite, marshal.loads(code), tests, namespace | dict.fromkeys(names, answer))
        yield suite.begun + suite.held
