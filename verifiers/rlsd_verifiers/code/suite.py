"""Tests that are a program: which parts of it are tests, and what counts as asserted.

Source is rewritten before it runs: it tells `__suite__`, an object of the harness that it runs under, what it asserts,
before and after. Assertions are: an `assert` that could fail, a call of something named `assert...`, a block that must
raise, an `if` whose other branch fails, and an exception that a `try` asks for.
"""

import ast
import base64
import importlib.util
import marshal
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from rlsd_verifiers.code.harness import FILE

COUNTER = "__suite__"
HARNESS, PYTEST = "rlsd_verifiers.code.harness", "rlsd_verifiers.code.pytest_rules"

_PROGRAM = frozenset(
    "answer answers candidate implementation main module my_module my_solution program response solution solutions "
    "submission your_code your_module your_solution".split()
)
"""Names under which tests import the program that they are for."""
_FAILURES = frozenset({"AssertionError", "Exception", "SystemExit"})
_EXITS = frozenset({"exit", "quit", "_exit"})
_FIXTURES = ("setup", "teardown")
_CANDIDATES = frozenset("candidate f fn func function method program solution".split())
"""What a parameter that stands for the program is called."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class BadTestsError(ValueError):
    """Tests that cannot be read; the message says where."""


class Suite(NamedTuple):
    """Tests that are ready to run.

    `code`: what they do, compiled. `tests`: names of functions and classes that are tests. `names`: all that they take
    from the program.
    """

    code: bytes
    tests: tuple[str, ...]
    names: tuple[str, ...]
    uses_pytest: bool

    def message(self, *, probed: bool = False) -> dict[str, Any]:
        """What a jail needs to run them; `probed`: with anything at all in place of the program."""
        given = marshal.dumps((self.code, self.tests, self.names if probed else None))
        modules = {HARNESS: _code_of(HARNESS)} | ({"pytest": _code_of(PYTEST)} if self.uses_pytest else {})
        return {"modules": modules, "runner": HARNESS, "suite": base64.b64encode(given).decode()}


@lru_cache
def _code_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    code = spec.loader.get_code(module) if spec and spec.loader else None  # type: ignore[attr-defined]
    return base64.b64encode(marshal.dumps(code)).decode()


# -- what is asserted --------------------------------------------------------------------------------------------------


def asserts(node: ast.AST) -> bool:
    """Whether something in it may fail by the tests' own will."""
    return any(
        (isinstance(part, ast.Assert) and not is_vacuous(part.test))
        or (isinstance(part, ast.stmt) and fails(part))
        or _is_assertion(part)
        for part in ast.walk(node)
    )


def is_vacuous(test: ast.expr) -> bool:
    """Whether an assertion holds whatever the program does: a constant, `(a test, "a message")`, `... or True`."""
    match test:
        case ast.BoolOp(op, values):
            return (all if isinstance(op, ast.And) else any)(map(is_vacuous, values))
        case ast.Constant(value):
            return bool(value)
        case ast.Tuple(parts) | ast.List(parts) | ast.Set(parts) | ast.Dict(parts) | ast.JoinedStr(parts):
            return bool(parts)
        case ast.Lambda() | ast.GeneratorExp():
            return True
    return not any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(test))


def fails(statement: ast.stmt) -> bool:
    """Whether it does nothing but fail: `assert False`, `raise AssertionError`, `self.fail()`, `sys.exit(1)`."""
    match statement:
        case ast.Assert(ast.Constant(value)):
            return not value
        case ast.Raise(ast.expr() as raised):
            return last_name(raised) in _FAILURES
        case ast.Expr(ast.Call(_, arguments) as call):
            name = last_name(call)
            is_fine = not arguments or (isinstance(arguments[0], ast.Constant) and not arguments[0].value)
            return name == "fail" or (name in _EXITS and not is_fine)
    return False


def _is_assertion(node: ast.AST) -> bool:
    """A call that raises unless something holds: `self.assertEqual(f(1), 2)`, `pytest.raises(ValueError, f, 1)`."""
    if not isinstance(node, ast.Call):
        return False
    name = last_name(node)
    says_nothing = node.args and all(isinstance(argument, ast.Constant) for argument in node.args)
    return (name.lstrip("_").lower().startswith("assert") and not says_nothing) or name == "raises"


def last_name(node: ast.AST) -> str:
    """`assertEqual` of `self.assertEqual(1, 2)`, and of `self.assertEqual`."""
    match node:
        case ast.Call(function):
            return last_name(function)
        case ast.Attribute(_, name) | ast.Name(name):
            return name
    return ""


# -- what is a test ----------------------------------------------------------------------------------------------------


def call_of_root(tree: ast.Module, entry_point: str | None) -> str | None:
    """The call that tests leave to whoever runs them: of `check`, or of the one function that holds all assertions.

    A function with one parameter is called with the entry point. None where nothing is left.

    Raises:
        BadTestsError: something asserts, is no test by its name, and nothing calls it.
    """
    definitions = {part.name: part for part in in_module(tree.body) if isinstance(part, _DEFINITIONS)}
    references = {name: _loaded(part) & definitions.keys() - {name} for name, part in definitions.items()}
    called = set().union(*references.values()) | _loaded(
        *(part for part in tree.body if part.__class__ not in _DEFINITIONS)
    )
    reached = {name: _reached(name, references) for name in definitions}
    roots = [
        name
        for name, part in definitions.items()
        if name not in called
        and not is_test(part, definitions)
        and any(asserts(definitions[to]) for to in reached[name])
    ]
    if not roots:
        return None
    name = "check" if "check" in roots else roots[0]
    others = [definitions[other] for other in definitions.keys() - reached[name]]
    code = [part for part in tree.body if not isinstance(part, _DEFINITIONS)]
    is_lone = name == "check" or not any(map(asserts, [*others, *code]))
    root = definitions[name]
    if not is_lone or isinstance(root, ast.AsyncFunctionDef | ast.ClassDef) or len(required(root)) > 1:
        raise BadTestsError(f"`{name}` asserts, and nothing {'uses' if isinstance(root, ast.ClassDef) else 'calls'} it")
    if required(root) and not entry_point:
        raise BadTestsError(f"`{name}` is defined and not called, and no `entry_point` says with what")
    return f"{name}({entry_point if required(root) else ''})"


def is_test(definition: Definition, others: dict[str, Definition]) -> bool:
    """Whether those who run tests know it as one, or as what belongs to them, by its name, decorator or base."""
    if isinstance(definition, ast.ClassDef):
        return definition.name.startswith("Test") or any(
            base.endswith("TestCase") or (base in others and base != definition.name and is_test(others[base], {}))
            for base in map(last_name, definition.bases)
        )
    name = definition.name
    takes_the_program = len(needed := required(definition)) == 1 and needed[0] in _CANDIDATES - others.keys()
    return bool(definition.decorator_list) or (
        name.lower().startswith(_FIXTURES) or (name.startswith("test") and not takes_the_program)
    )


def required(function: Definition) -> list[str]:
    """The names of the arguments that it cannot be called without."""
    if isinstance(function, ast.ClassDef):
        return []
    given = [*function.args.posonlyargs, *function.args.args]
    given = given[: len(given) - len(function.args.defaults)]
    by_name = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return [argument.arg for argument in [*given, *(argument for argument, default in by_name if default is None)]]


def in_module(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that are not inside a function or a class."""
    for statement in body:
        yield statement
        if not isinstance(statement, _DEFINITIONS):
            for part in ast.iter_child_nodes(statement):
                if isinstance(part, ast.stmt):
                    yield from in_module([part])
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    yield from in_module(part.body)


def _loaded(*nodes: ast.AST) -> set[str]:
    names = (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def _reached(name: str, references: dict[str, set[str]]) -> set[str]:
    reached, left = set(), {name}
    while left:
        reached |= left
        left = set().union(*(references[other] for other in left)) - reached
    return reached


def as_of_program(tree: ast.Module, entry_point: str | None) -> set[str]:
    """Take out, in place, what imports the program as a module: its names stand for themselves. Returns those names."""
    program = _OfProgram(entry_point)
    program.visit(tree)
    return program.names


class _OfProgram(ast.NodeTransformer):
    def __init__(self, entry_point: str | None) -> None:
        self._entry_point = entry_point
        self._modules: set[str] = set()
        self._renamed: dict[str, str] = {}
        self.names: set[str] = set()

    def _is_program(self, module: str, names: Collection[str | None] = ()) -> bool:
        if module.partition(".")[0] in sys.stdlib_module_names:
            return False
        return module.rpartition(".")[2] in _PROGRAM or self._entry_point in names

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        theirs = [alias for alias in node.names if "." not in alias.name and self._is_program(alias.name)]
        self._modules |= {alias.asname or alias.name for alias in theirs}
        left = [alias for alias in node.names if alias not in theirs]
        return ast.copy_location(ast.Import(left) if left else ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        names = {alias.name: alias.asname or alias.name for alias in node.names}
        if not (node.level or self._is_program(node.module or "", [*names])):
            return node
        self.names |= names.keys() - {"*"}
        self._renamed |= {known: name for name, known in names.items()}
        return ast.copy_location(ast.Pass(), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id in self._modules:
            self.names.add(node.attr)
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        node.id = self._renamed.get(node.id, node.id)
        return node


# -- what runs ---------------------------------------------------------------------------------------------------------


def make_suite(tree: ast.Module, names: Iterable[str]) -> Suite:
    """Rewrite a module of tests, in place, so that it counts what it asserts, and compile it.

    Raises:
        BadTestsError: it cannot be compiled.
    """
    definitions = [part for part in in_module(tree.body) if isinstance(part, _DEFINITIONS)]
    functions = [part for part in definitions if part.name.startswith("test") and not isinstance(part, ast.ClassDef)]
    tests = [part.name for part in definitions if isinstance(part, ast.ClassDef) or part in functions]
    uses_pytest = any(isinstance(part, ast.Name) and part.id == "pytest" for part in ast.walk(tree)) or any(
        "pytest" in _imported(part) for part in ast.walk(tree)
    )
    _Counting({part.name for part in ast.walk(tree) if isinstance(part, _DEFINITIONS) and not asserts(part)}).visit(
        tree
    )
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
        is_counted = _is_assertion(node) and last_name(node) not in self._silent
        is_counted = is_counted and (last_name(node) != "raises" or len(node.args) > 1)
        self.generic_visit(node)
        return _call("after", node, _call("begin", node), node) if is_counted else node

    def visit_With(self, node: ast.With) -> list[ast.stmt]:
        is_counted = any(_is_assertion(item.context_expr) for item in node.items)
        for item in node.items:
            if _is_assertion(item.context_expr):
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
    """Whether it lets the failure of an assertion pass."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return not any(kind is None or last_name(kind) in {*_FAILURES, "BaseException"} for kind in kinds)


def _judges(handler: ast.ExceptHandler) -> bool:
    return any(asserts(part) or isinstance(part, ast.Raise) for part in handler.body)


def _tell(word: str, node: ast.stmt, *arguments: ast.expr) -> ast.stmt:
    return ast.copy_location(ast.Expr(_call(word, node, *arguments)), node)


def _call(word: str, node: ast.stmt | ast.expr, *arguments: ast.expr) -> ast.Call:
    """A call of the counter with the line of a node."""
    function = ast.Attribute(ast.Name(COUNTER, ast.Load()), word, ast.Load())
    return ast.copy_location(ast.Call(function, [ast.Constant(node.lineno), *arguments], []), node)
