"""The process in a jail that runs a program, or functions that are called from outside.

Nothing here is trusted once the program has started. All it can do is to return values, which are judged outside, where
it is known what was expected.
"""

import atexit
import binascii
import builtins
import functools
import importlib
import json
import marshal
import os
import random
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from rlsd_sandbox import kernel
from rlsd_sandbox.values import NotPlainError, decode, encode

PROGRAM, CHANNEL = 3, 4
"""Descriptors: of the program, and of the conversation, where there is one."""

MAX_MESSAGE_CHARS = 200
_BUILTINS = dict(builtins.__dict__)
_to_json = json.JSONEncoder().encode
PATH = "/usr/local/bin:/usr/bin:/bin"


def run(mode: str) -> None:
    """Run the program on descriptor `PROGRAM`. Does not return.

    `script`: a Python program from its first line to its end. `binary`: an executable. `functions`: a Python module
    whose functions are called. `tests`: Python tests that call functions which are elsewhere.
    """
    if mode == "binary":
        kernel.execute(PROGRAM, ["program"], {**os.environ, "PATH": PATH})
    source = _read_program()
    random.seed(0)  # it is seeded anew by every fork, and a program shall do today what it did yesterday
    if mode == "script":
        _finish(_run_script(source))
    try:
        _serve(source) if mode == "functions" else _run_tests(source)
    finally:
        os._exit(0)


def _read_program() -> str:
    source = os.read(PROGRAM, os.fstat(PROGRAM).st_size)
    os.close(PROGRAM)
    return source.decode("utf-8", "surrogatepass").removeprefix("\ufeff")


# -- a script ----------------------------------------------------------------------------------------------------------


def _run_script(source: str) -> int:
    """Run a program, and return the exit status that an interpreter would end with."""
    main = types.ModuleType("__main__")
    main.__file__ = "program.py"
    sys.modules["__main__"] = main
    try:
        exec(compile(source, "<program>", "exec"), main.__dict__)
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return (leave.code or 0) & 0xFF
        print(leave.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _finish(status: int) -> None:
    """End as an interpreter does, without the teardown of modules."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        status = status or 120
    try:
        sys.stderr.flush()
    finally:
        os._exit(status)


# -- functions ---------------------------------------------------------------------------------------------------------


class _Channel:
    """Messages as lines of JSON over a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._received = b""

    def read(
        self, *, read: Callable[[int, int], bytes] = os.read, loads: Callable[[bytes], Any] = json.loads
    ) -> dict[str, Any]:
        while b"\n" not in self._received:
            block = read(self._descriptor, 2**18)
            if not block:
                os._exit(0)
            self._received += block
        line, _, self._received = self._received.partition(b"\n")
        return loads(line)  # type: ignore[no-any-return]

    def write(
        self,
        message: dict[str, Any],
        *,
        write: Callable[[int, Any], int] = os.write,
        to_json: Callable[[Any], str] = _to_json,
    ) -> None:
        rest = memoryview(to_json(message).encode() + b"\n")
        while rest:
            rest = rest[write(self._descriptor, rest) :]


def _serve(source: str) -> None:
    """Load the module, then answer each call with what it returned or raised, under the number of the call."""
    channel = _Channel(CHANNEL)
    module = types.ModuleType("solution")
    module.__file__ = "solution.py"
    sys.modules["solution"] = module
    identifier = channel.read()["id"]
    try:
        exec(compile(source, "<solution>", "exec"), module.__dict__)
    except BaseException as error:
        channel.write({"id": identifier, "raised": _describe(error)})
        return
    channel.write({"id": identifier, "loaded": True})
    while True:
        request = channel.read()
        if "tests" in request:
            _test_inside(request["tests"], request["classes"], module, channel)
        else:
            channel.write({"id": request["id"], **_call(request, module)})


def _call(request: dict[str, Any], module: types.ModuleType) -> dict[str, Any]:
    function = _find(module, request["call"])
    if function is None:
        return {"missing": request["call"]}
    arguments, keywords = decode(request["args"]), decode(request["kwargs"])
    try:
        result = function(*arguments, **keywords)
    except BaseException as error:
        return {"raised": _describe(error)}
    try:
        reply = {"value": encode(result)}
        return reply | {"args": encode(arguments)} if request.get("back") else reply
    except NotPlainError as error:
        return {"unplain": str(error), "truth": _truth(result)}


def _truth(value: Any) -> bool:
    try:
        return bool(value)
    except BaseException:
        return False


def _find(module: types.ModuleType, name: str) -> Any:
    """A function of the module, or a method of its class `Solution`, as is the custom of some problem sets."""
    if name in module.__dict__:
        return module.__dict__[name]
    owner = module.__dict__.get("Solution")
    if isinstance(owner, type) and hasattr(owner, name):
        return getattr(owner(), name)
    return None


def _describe(error: BaseException) -> list[Any]:
    """An exception as a list: type, message, the line of the tests that raised it or None, the builtin type that it is
    made from, and its arguments, or None where they are no plain values."""
    try:
        message = str(error)[:MAX_MESSAGE_CHARS]
    except BaseException:
        message = ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<tests>"]
    kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    try:
        arguments = encode(list(error.args)) if len(message) < MAX_MESSAGE_CHARS else None
    except BaseException:
        arguments = None
    return [type(error).__name__, message, lines[-1] if lines else None, kind, arguments]


# -- tests -------------------------------------------------------------------------------------------------------------


def _run_suite(given: dict[str, Any], namespace: dict[str, Any]) -> Any:
    """Load the modules that tests come with, have one of them run the tests, and return what it found."""
    for name, code in given["modules"].items():
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(marshal.loads(binascii.a2b_base64(code)), module.__dict__)
    return sys.modules[given["runner"]].run(binascii.a2b_base64(given["suite"]), namespace)


def _test_inside(tests: dict[str, Any], classes: list[str], module: types.ModuleType, channel: _Channel) -> None:
    """Run tests in the process of the module they test. What they find is weak: it could have changed anything there.

    The number that the answer goes under is read when the last test has passed, not before.
    """
    named = {module.__dict__.get(name) for name in classes}

    def checked(function: Any) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = function(*arguments, **keywords)
            if type(result) not in named:
                encode(result)
            return result

        return call

    found = {
        name: checked(value) if isinstance(value, types.FunctionType) else value
        for name, value in module.__dict__.items()
        if not name.startswith("__")
    }
    try:
        report = _run_suite(tests, {**found, "__builtins__": _BUILTINS})
    except BaseException as error:
        channel.write({"id": channel.read()["id"], "failed": _describe(error)})
    else:
        channel.write({"id": channel.read()["id"], "passed": True, "report": report})


def _run_tests(program: str) -> None:
    """Run tests that call the program in another jail, from where it cannot reach them."""
    given = json.loads(program)
    channel = _Channel(CHANNEL)
    identifier = channel.read()["id"]
    stubs = {name: _stub(name, channel, identifier) for name in given["names"]}
    try:
        modules = {name: importlib.import_module(name) for name in given["imports"]}
        report = _run_suite(given, {**modules, **stubs})
    except BaseException as error:
        channel.write({"id": identifier, "failed": _describe(error)})
    else:
        channel.write({"id": identifier, "passed": True, "report": report})


class _Opaque:
    """A value that cannot leave its jail: it has its truth value there, and equals nothing here."""

    def __init__(self, truth: bool) -> None:
        self._truth = truth

    def __bool__(self) -> bool:
        return self._truth


def _stub(name: str, channel: _Channel, identifier: str) -> Callable[..., Any]:
    """A function that is called in another jail, with copies: what it changes in them is changed here too."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            request = {"call": name, "args": encode(list(arguments)), "kwargs": encode(keywords)}
        except NotPlainError as error:
            channel.write({"id": identifier, "unsplittable": str(error)})
            channel.read()
            raise AssertionError(f"`{name}` is called with {error}") from None
        channel.write(request)
        reply = channel.read()
        if "raised" in reply:
            _, message, _, kind, given = reply["raised"]
            known = getattr(builtins, kind, None)
            ends_loops = known in (StopIteration, StopAsyncIteration)
            is_known = isinstance(known, type) and issubclass(known, BaseException) and not ends_loops
            exception: Any = known if is_known else RuntimeError
            raised = exception.__new__(exception)
            raised.args = (message,) if given is None else tuple(decode(given))
            raise raised
        if "unplain" in reply:
            return _Opaque(bool(reply.get("truth")))
        if "value" not in reply:
            raise AssertionError(f"no function `{name}`")
        for before, after in zip(arguments, decode(reply["args"]), strict=True):
            _become(before, after)
        return decode(reply["value"])

    call.__name__ = name
    return call


def _become(before: Any, after: Any) -> None:
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, item in enumerate(after):
            if isinstance(item, list | dict | set) and type(before[place]) is type(item):
                _become(before[place], item)
            else:
                before[place] = item
    elif isinstance(before, list):
        before[:] = after
    elif isinstance(before, dict | set):
        before.clear()
        before.update(after)
