"""Suites: tests that are a program, rewritten so that they count what they assert.

The rewritten source reports each assertion, before and after it, to `__suite__`, an object of the harness.
"""

import ast
import base64
import importlib.util
import marshal
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from rlsd_verifiers.code.assertions import FAILURES, asserts, fails, is_assertion, is_vacuous, last_name
from rlsd_verifiers.code.collection import DEFINITIONS, BadTestsError, in_module
from rlsd_verifiers.code.harness import FILE

COUNTER = "__suite__"
HARNESS, PYTEST = "rlsd_verifiers.code.harness", "rlsd_verifiers.code.pytest_rules"


class Suite(NamedTuple):
    """Tests that are ready to run.

    code: the tests, compiled and marshalled.
    tests: names of functions and classes that are tests.
    names: names that they take from the program.
    uses_pytest: whether they need the module `pytest`.
    """

    code: bytes
    tests: tuple[str, ...]
    names: tuple[str, ...]
    uses_pytest: bool

    def message(self, *, probed: bool = False) -> dict[str, Any]:
        """What a jail needs to run them; where `probed`, with other answers in place of the program's."""
        given = marshal.dumps((self.code, self.tests, self.names if probed else None))
        modules = {HARNESS: _code_of(HARNESS)} | ({"pytest": _code_of(PYTEST)} if self.uses_pytest else {})
        return {"modules": modules, "runner": HARNESS, "suite": base64.b64encode(given).decode()}


@lru_cache
def _code_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    code = spec.loader.get_code(module) if spec and spec.loader else None  # type: ignore[attr-defined]
    return base64.b64encode(marshal.dumps(code)).decode()


def make_suite(tree: ast.Module, names: Iterable[str]) -> Suite:
    """Rewrite a module of tests, in place, so that it counts what it asserts, and compile it.

    Raises:
        BadTestsError: it cannot be compiled.
    """
    definitions = [part for part in in_module(tree.body) if isinstance(part, DEFINITIONS)]
    functions = [part for part in definitions if part.name.startswith("test") and not isinstance(part, ast.ClassDef)]
    tests = [part.name for part in definitions if isinstance(part, ast.ClassDef) or part in functions]
    uses_pytest = any(isinstance(part, ast.Name) and part.id == "pytest" for part in ast.walk(tree)) or any(
        "pytest" in _imported(part) for part in ast.walk(tree)
    )
    _Counting({part.name for part in ast.walk(tree) if isinstance(part, DEFINITIONS) and not asserts(part)}).visit(tree)
    for function in functions:
        function.body.insert(0, ast.parse(f"{COUNTER}.ran.add({function.name!r})").body[0])
    ast.fix_missing_locations(tree)
    try:
        code = compile(tree, FILE, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestsError(f"not Python: {error}") from None
    return Suite(marshal.dumps(code), tuple(dict.fromkeys(tests)), tuple(sorted(names)), uses_pytest)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


class _Counting(ast.NodeTransformer):
    """`silent`: functions of the tests that are called like assertions, and never fail."""

    def __init__(self, silent: set[str]) -> None:
        self._silent = silent
        self._awaited: set[int] = set()

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        if fails(node):
            return [_tell("fail", node), node]
        is_counted = not is_vacuous(node.test)
        self.generic_visit(node)
        return [_tell("begin", node), node, _tell("end", node)] if is_counted else [node]

    def visit_Raise(self, node: ast.Raise) -> list[ast.stmt]:
        is_own = fails(node) and (id(node) in self._awaited or last_name(node.exc or node) == "AssertionError")
        self.generic_visit(node)
        return [_tell("fail", node), node] if is_own else [node]

    def visit_Expr(self, node: ast.Expr) -> list[ast.stmt]:
        is_own = fails(node) and last_name(node.value) == "fail"
        self.generic_visit(node)
        return [_tell("fail", node), node] if is_own else [node]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        is_counted = is_assertion(node) and last_name(node) not in self._silent
        is_counted = is_counted and (last_name(node) != "raises" or len(node.args) > 1)
        self.generic_visit(node)
        return _call("after", node, _call("begin", node), node) if is_counted else node

    def visit_With(self, node: ast.With) -> list[ast.stmt]:
        is_counted = any(is_assertion(item.context_expr) for item in node.items)
        for item in node.items:
            if is_assertion(item.context_expr):
                self.generic_visit(item.context_expr)
            else:
                item.context_expr = self.visit(item.context_expr)
        node.body = [after for before in node.body for after in _as_list(self.visit(before))]
        return [_tell("begin", node), node, _tell("end", node)] if is_counted else [node]

    def visit_If(self, node: ast.If) -> ast.stmt:
        fails_so, fails_else = any(map(fails, node.body)), any(map(fails, node.orelse))
        self.generic_visit(node)
        if fails_so:
            node.orelse.insert(0, _tell("hold", node))
        if fails_else:
            node.body.insert(0, _tell("hold", node))
        return node

    def visit_Try(self, node: ast.Try) -> ast.stmt:
        last = [part[-1] for part in (node.body, node.orelse) if part and fails(part[-1])]
        self._awaited |= set(map(id, last))
        judging = [_is_narrow(handler) or _judges(handler) for handler in node.handlers]
        self.generic_visit(node)
        if last or any(judging):
            node.body.insert(0, _tell("enter", node))
            for handler, judges in zip(node.handlers, judging, strict=True):
                handler.body.insert(0, _tell("caught", node, ast.Constant(bool(last)), ast.Constant(judges)))
        return node


def _as_list(node: Any) -> list[ast.stmt]:
    return node if isinstance(node, list) else [node]


def _is_narrow(handler: ast.ExceptHandler) -> bool:
    """True where it does not catch the failure of an assertion."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return not any(kind is None or last_name(kind) in {*FAILURES, "BaseException"} for kind in kinds)


def _judges(handler: ast.ExceptHandler) -> bool:
    return any(asserts(part) or isinstance(part, ast.Raise) for part in handler.body)


def _tell(word: str, node: ast.stmt, *arguments: ast.expr) -> ast.stmt:
    return ast.copy_location(ast.Expr(_call(word, node, *arguments)), node)


def _call(word: str, node: ast.stmt | ast.expr, *arguments: ast.expr) -> ast.Call:
    """A call of the counter with the line of a node."""
    function = ast.Attribute(ast.Name(COUNTER, ast.Load()), word, ast.Load())
    return ast.copy_location(ast.Call(function, [ast.Constant(node.lineno), *arguments], []), node)
