"""A module that takes the place of `pytest` in a jail and follows its rules, written anew.

Tests that need more of pytest cannot be graded, and the verdict says so.
"""

import inspect
import itertools
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rlsd_verifiers.code.harness import FailedError, SkippedError, UnsupportedError

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-6, 1e-12


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise UnsupportedError(f"`pytest.{name}` is not supported")


def main(*_: Any, **__: Any) -> int:
    """Do nothing: the tests are run anyway."""
    return 0


def fail(reason: str = "", pytrace: bool = True, **_: Any) -> None:  # noqa: ARG001
    raise FailedError(reason)


def skip(reason: str = "", **_: Any) -> None:
    raise SkippedError(reason)


# -- marks -------------------------------------------------------------------------------------------------------------


class Mark(NamedTuple):
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Mark a function, or return the same mark with arguments."""
        if len(args) == 1 and not kwargs and inspect.isroutine(args[0]) | inspect.isclass(args[0]):
            args[0].pytestmark = [self, *args[0].__dict__.get("pytestmark", [])]
            return args[0]
        return Mark(self.name, args, kwargs)


class _Marks:
    def __getattr__(self, name: str) -> Mark:
        return Mark(name)


mark = _Marks()


class Parameters(NamedTuple):
    values: tuple[Any, ...]
    marks: Any


def param(*values: Any, marks: Any = (), id: str | None = None) -> Parameters:  # noqa: ARG001
    return Parameters(values, marks)


def variants(test: Any, owner: type | None) -> Iterator[dict[str, Any]]:
    """The arguments that a test is to be called with, once each."""
    marks = [*getattr(owner, "pytestmark", []), *getattr(test, "pytestmark", [])]
    skips = [each for each in marks if each.name in ("skip", "xfail") or (each.name == "skipif" and each.args[0])]
    if skips:
        raise SkippedError
    sets = [[*_parametrized(*each.args, **each.kwargs)] for each in marks if each.name == "parametrize"]
    for chosen in itertools.product(*sets):
        yield {name: value for given in chosen for name, value in given.items()}


def _parametrized(argnames: Any, argvalues: Any, indirect: Any = False, **_: Any) -> Iterator[dict[str, Any]]:
    if indirect:
        raise UnsupportedError("`parametrize` with `indirect` is not supported")
    names = [name.strip() for name in argnames.split(",")] if isinstance(argnames, str) else [*argnames]
    names = [name for name in names if name]
    for given in argvalues:
        if isinstance(given, Parameters):
            if given.marks:
                raise UnsupportedError("`pytest.param` with marks is not supported")
            values = given.values
        else:
            values = (given,) if isinstance(argnames, str) and len(names) == 1 else tuple(given)
        if len(values) != len(names):
            raise UnsupportedError(f"`parametrize` has {len(values)} values for {len(names)} names")
        yield dict(zip(names, values, strict=True))


# -- fixtures ----------------------------------------------------------------------------------------------------------


class Fixture(NamedTuple):
    function: Callable[..., Any]
    name: str
    scope: str
    autouse: bool


_shared: dict[Any, Any] = {}
"""Values of fixtures with a wider scope than a test."""


def fixture(
    function: Any = None, *, scope: str = "function", autouse: bool = False, name: str = "", **more: Any
) -> Any:
    if more.get("params") is not None:
        raise UnsupportedError("fixtures with `params` are not supported")
    if function is None:
        return lambda function: fixture(function, scope=scope, autouse=autouse, name=name)
    return Fixture(function, name or function.__name__, scope, autouse)


def fixtures(
    test: Any, given: dict[str, Any], namespace: dict[str, Any], instance: Any
) -> tuple[dict[str, Any], list[Iterator[Any]]]:
    """The arguments of a test with the values of its fixtures, and the generators to resume after it."""
    places = [*namespace.values(), *(value for kind in type(instance).__mro__[::-1] for value in vars(kind).values())]
    known = {each.name: each for each in places if isinstance(each, Fixture)}
    methods = {id(value) for kind in type(instance).__mro__ for value in vars(kind).values()}
    made: dict[str, Any] = dict(given)
    undo: list[Iterator[Any]] = []

    def make(name: str) -> Any:
        if name not in made:
            made[name] = _shared[name] if name in _shared else _make(name)
        return made[name]

    def _make(name: str) -> Any:
        if name == "tmp_path":
            return Path(tempfile.mkdtemp())
        if name not in known:
            raise UnsupportedError(f"the fixture `{name}` is not supported")
        function, _, scope, _ = known[name]
        owners = [instance] if id(known[name]) in methods else []
        value = function(*owners, **{each: make(each) for each in _parameters(function)[len(owners) :]})
        if inspect.isgenerator(value):
            steps, value = value, next(value)
            if scope == "function":
                undo.append(steps)
        if scope != "function":
            _shared[name] = value
        return value

    used = [name for each in getattr(test, "pytestmark", []) if each.name == "usefixtures" for name in each.args]
    for name in [*(each.name for each in known.values() if each.autouse), *used]:
        make(name)
    wanted = _parameters(test)[1 if instance is not None else 0 :]
    return {name: make(name) for name in wanted}, undo


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in kinds]


# -- what is raised, and what is near ----------------------------------------------------------------------------------


def raises(expected: Any, *call: Any, match: Any = None, **given: Any) -> "Raises":
    """For a block that must raise; with a function and its arguments, a call that must."""
    block = Raises(expected, match)
    if call:
        with block:
            call[0](*call[1:], **given)
    return block


class Raises:
    """`type`, `value` and `tb` of what was raised."""

    def __init__(self, expected: Any, match: Any) -> None:
        self._expected, self._match = expected, match

    def __enter__(self) -> "Raises":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            raise FailedError(f"did not raise {self._expected}")
        if not isinstance(error, self._expected):
            return False
        self.type, self.value, self.tb = kind, error, trace
        return self._match is None or self.match(self._match)

    def match(self, pattern: str) -> bool:
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"{str(self.value)!r} does not match {pattern!r}")
        return True


class approx:  # noqa: N801
    """Equal to a number that is near, and to a list, a tuple or a dictionary of such."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> None:
        self._expected, self._relative, self._absolute, self._nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, found: object) -> bool:
        return self._is_near(self._expected, found)

    def __repr__(self) -> str:
        return f"about {self._expected!r}"

    def _is_near(self, expected: Any, found: Any) -> bool:
        if hasattr(expected, "tolist") or hasattr(found, "tolist"):
            plain = (each.tolist() if hasattr(each, "tolist") else each for each in (expected, found))
            return self._is_near(*plain)
        if isinstance(expected, dict):
            return isinstance(found, dict) and expected.keys() == found.keys() and all(
                self._is_near(value, found[key]) for key, value in expected.items()
            )  # fmt: skip
        if isinstance(expected, list | tuple):
            return isinstance(found, list | tuple) and len(expected) == len(found) and all(
                map(self._is_near, expected, found)
            )  # fmt: skip
        return self._is_near_number(expected, found)

    def _is_near_number(self, expected: Any, found: Any) -> bool:
        if expected == found:
            return True
        if isinstance(expected, bool) or not (_is_number(expected) and _is_number(found)):
            return False
        if expected != expected:
            return self._nan_ok and bool(found != found)
        if abs(expected) == float("inf"):
            return False
        absolute = ABSOLUTE_TOLERANCE if self._absolute is None else self._absolute
        if self._relative is None and self._absolute is not None:
            return bool(abs(expected - found) <= absolute)
        relative = RELATIVE_TOLERANCE if self._relative is None else self._relative
        return bool(abs(expected - found) <= max(relative * abs(expected), absolute))


def _is_number(value: Any) -> bool:
    return hasattr(value, "__abs__") and hasattr(value, "__sub__")
