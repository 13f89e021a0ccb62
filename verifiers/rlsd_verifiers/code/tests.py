"""Tests as data: what to call a program with and what must come of it.

Tests are given as calls, as inputs and outputs, or as Python source. Source is taken apart: an assertion about what one
call returns becomes that call and a comparison made outside the jail. Source that does more than that is a suite, which
runs in a jail of its own and calls the program's functions in theirs. Only source that needs more of the program than
functions of plain values, its classes say, has to run beside it, and is weak.
"""

import ast
import builtins
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from rlsd_verifiers.code.assertions import asserts, is_vacuous, last_name
from rlsd_verifiers.code.collection import BadTestsError, as_of_program, call_of_root
from rlsd_verifiers.code.suite import Suite, make_suite
from rlsd_verifiers.verdict import shorten

MAX_TESTS = 10_000


class Call(NamedTuple):
    """A call of a function of the program, and what must hold of its result.

    operator: `==`, `!=`, `true` or `false`; the last two take any value with that truth value.
    expected: the other side of `==` and `!=`.
    from_json: whether `expected` comes from JSON, which has no tuples and no keys but text.
    words: the call in words.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    operator: str
    expected: Any
    from_json: bool
    words: str


class Calls(NamedTuple):
    calls: tuple[Call, ...]


class Streams(NamedTuple):
    """What a whole program reads, and what it must print."""

    streams: tuple[tuple[bytes, bytes], ...]


class Remote(NamedTuple):
    """Source that calls functions of the program, and needs nothing else of it.

    functions: the names of these functions.
    modules: modules of the standard library that it uses and does not import.
    """

    source: str
    functions: tuple[str, ...]
    modules: tuple[str, ...]
    suite: Suite


class Beside(NamedTuple):
    """Source that must run beside the program, because it uses `names` of it in other ways than to call them."""

    source: str
    names: tuple[str, ...]
    suite: Suite


Tests = Calls | Streams | Remote | Beside


def read_tests(tests: object, entry_point: str | None) -> Tests:
    """The tests of a problem.

    Raises:
        BadTestsError: they cannot be read, or do not say what to call.
    """
    if isinstance(tests, str):
        return _from_source(tests, entry_point)
    if not isinstance(tests, list):
        raise BadTestsError("neither a list nor text")
    if not tests:
        raise BadTestsError("the list is empty")
    if len(tests) > MAX_TESTS:
        raise BadTestsError(f"more than {MAX_TESTS}")
    if all(isinstance(test, str) for test in tests):
        return _from_source("\n".join(tests), entry_point)
    cases = [_case(test, place, entry_point) for place, test in enumerate(tests)]
    calls = tuple(case for case in cases if isinstance(case, Call))
    if not calls:
        return Streams(tuple(case for case in cases if not isinstance(case, Call)))
    if len(calls) < len(cases):
        raise BadTestsError("some are calls and some are inputs and outputs")
    return Calls(calls)


def _case(test: object, place: int, entry_point: str | None) -> Call | tuple[bytes, bytes]:
    if not isinstance(test, dict):
        raise BadTestsError(f"[{place}] is not an object")
    if "output" in test:
        given, output = test.get("input", ""), test["output"]
        if not isinstance(given, str) or not isinstance(output, str):
            raise BadTestsError(f"[{place}]: `input` and `output` must be text")
        return given.encode("utf-8", "surrogatepass"), output.encode("utf-8", "surrogatepass")
    if "expected" not in test:
        raise BadTestsError(f"[{place}] has neither `expected` nor `output`")
    args, kwargs = test.get("args", []), test.get("kwargs") or {}
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadTestsError(f"[{place}]: `args` must be a list and `kwargs` an object")
    if not entry_point:
        raise BadTestsError(f"[{place}] is a call, and there is no `entry_point` to call")
    named = [*map(_words, args), *(f"{name}={_words(value)}" for name, value in kwargs.items())]
    return Call(entry_point, tuple(args), kwargs, "==", test["expected"], True, f"{entry_point}({', '.join(named)})")


def show(value: object) -> str:
    """A value in words, on one line."""
    try:
        return shorten(repr(value))
    except ValueError:
        return "an integer of thousands of digits"


def _words(value: object) -> str:
    text = show(value)
    return text if len(text) <= 40 else f"{text[:30]}...{text[-7:]}"


# -- source ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _from_source(source: str, entry_point: str | None) -> Tests:
    try:
        return _from_tree(source, _parsed(source), entry_point)
    except RecursionError:
        raise BadTestsError("nested too deeply") from None


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestsError(f"not Python: {error}") from None


def _from_tree(source: str, tree: ast.Module, entry_point: str | None) -> Tests:
    imported = as_of_program(tree, entry_point)
    if not asserts(tree):
        compares = any(isinstance(node, ast.Compare) for node in ast.walk(tree))
        raise BadTestsError("nothing is asserted" + (": a comparison alone tests nothing" if compares else ""))
    handed_over = {"raises", "assertRaises", "assertRaisesRegex", "check"}
    if call := call_of_root(tree, entry_point):
        source += f"\n\n{call}\n"
        tree.body += _parsed(source).body[-1:]
        handed_over.add(call.partition("(")[0])
    names = _Names(tree, imported | ({entry_point} if entry_point else set()), handed_over)
    try:
        calls = tuple(_taken_apart(tree, names))
    except _MoreThanCallsError:
        modules = names.needed & {*sys.stdlib_module_names, "pytest"}
        suite = make_suite(tree, names.called | names.needed - modules)
        if needed := (names.needed - modules) | {name for name in names.called if name[0].isupper()}:
            return Beside(source, tuple(sorted(needed)), suite)
        return Remote(source, tuple(sorted(names.called)), tuple(sorted(modules)), suite)
    if not calls:
        raise BadTestsError("nothing is asserted of the program")
    return Calls(calls)


class _Names:
    """The names that tests take from the program: `called` as functions, and `needed` in any other way."""

    def __init__(self, tree: ast.Module, theirs: set[str], handed_over: set[str]) -> None:
        bound = {name for node in ast.walk(tree) for name in _bound_by(node)}
        known = bound | set(dir(builtins)) - theirs | {"__file__", "__name__"}
        calls = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                calls.add(id(node.func))
                if last_name(node) in handed_over:
                    calls |= {id(argument) for argument in node.args}
        loads = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        free = [node for node in loads if node.id not in known]
        if not free:
            asserted = (node.test for node in ast.walk(tree) if isinstance(node, ast.Assert))
            free = [call.func for test in asserted for call in _sides(test) if isinstance(call.func, ast.Name)]
        self.called = {node.id for node in free if id(node) in calls}
        self.needed = {node.id for node in free if id(node) not in calls}


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name


def _sides(test: ast.expr) -> Iterator[ast.Call]:
    parts = [test.left, *test.comparators] if isinstance(test, ast.Compare) else [test]
    yield from (part for part in parts if isinstance(part, ast.Call))


class _MoreThanCallsError(Exception):
    """The tests do more than assertions about single calls."""


def _taken_apart(tree: ast.Module, names: _Names) -> Iterator[Call]:
    body = [*_statements(tree.body)]
    candidates = {name: name for name in names.called}
    if body and isinstance(body[0], ast.FunctionDef) and body[0].name == "check" and len(body) == 2:
        definition, called = body[0], body[1]
        parameters = [argument.arg for argument in definition.args.args]
        handed = called.value.args if isinstance(called, ast.Expr) and isinstance(called.value, ast.Call) else []
        if len(parameters) != 1 or len(handed) != 1 or not isinstance(handed[0], ast.Name) or definition.decorator_list:
            raise _MoreThanCallsError
        candidates[parameters[0]] = handed[0].id
        body = [*_statements(definition.body)]
    for statement in body:
        if not isinstance(statement, ast.Assert):
            raise _MoreThanCallsError
        yield _call(statement.test, candidates)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that do something; main guards and test functions are replaced by what is inside them."""
    tests = [part.name for part in body if isinstance(part, ast.FunctionDef) and part.name.startswith("test")]
    if len(set(tests)) < len(tests):
        raise _MoreThanCallsError
    for statement in body:
        match statement:
            case ast.If(ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]), inside, []):
                yield from _statements(inside)
            case ast.FunctionDef(name, ast.arguments([], [], None, [], [], None, []), inside, []) if name in tests:
                yield from _statements(inside)
            case _ if not _does_nothing(statement):
                yield statement


def _does_nothing(statement: ast.stmt) -> bool:
    """True for a constant, an assertion that always holds, what runs tests that run anyway, and the `METADATA` of
    HumanEval."""
    match statement:
        case ast.Expr(ast.Constant() | ast.Name()) | ast.Pass():
            return True
        case ast.Import([ast.alias("pytest" | "unittest", None)]):
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("pytest" | "unittest"), "main"))):
            return True
        case ast.Assert(test):
            return is_vacuous(test)
        case ast.Assign([ast.Name("METADATA")]):
            return True
    return False


def _call(test: ast.expr, candidates: dict[str, str]) -> Call:
    operator, expected, call = "true", None, test
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        operator, call = "false", test.operand
    elif isinstance(test, ast.Compare) and len(test.ops) == 1:
        call, other = test.left, test.comparators[0]
        if not isinstance(call, ast.Call):
            call, other = other, call
        operator, expected = _operator(test.ops[0], other), _constant(other)
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in candidates):
        raise _MoreThanCallsError
    args = tuple(_constant(argument) for argument in call.args)
    if not all(keyword.arg for keyword in call.keywords):
        raise _MoreThanCallsError
    kwargs = {str(keyword.arg): _constant(keyword.value) for keyword in call.keywords}
    function = candidates[call.func.id]
    words = function + ast.unparse(call).removeprefix(call.func.id)
    words = words if len(words) <= 80 else f"{words[:60]}...{words[-15:]}"
    return Call(function, args, kwargs, operator, expected, False, words)


def _operator(operator: ast.cmpop, other: ast.expr) -> str:
    if isinstance(operator, ast.Is) and isinstance(other, ast.Constant) and other.value in (None, True, False):
        return "=="
    if isinstance(operator, ast.Eq | ast.NotEq):
        return "==" if isinstance(operator, ast.Eq) else "!="
    raise _MoreThanCallsError


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise _MoreThanCallsError from None
