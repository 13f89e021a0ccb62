"""Collection of tests: which parts of a module are tests, what calls them, and what they take from the program."""

import ast
import sys
from collections.abc import Collection, Iterable, Iterator

from rlsd_verifiers.code.assertions import asserts, last_name

_PROGRAM = frozenset(
    "answer answers candidate implementation main module my_module my_solution program response solution solutions "
    "submission your_code your_module your_solution".split()
)
"""Names under which tests import the program that they are for."""
_FIXTURES = ("setup", "teardown")
_CANDIDATES = frozenset("candidate f fn func function method program solution".split())
"""Names of a parameter that stands for the program."""
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class BadTestsError(ValueError):
    """Tests that cannot be read; the message says where."""


def call_of_root(tree: ast.Module, entry_point: str | None) -> str | None:
    """The call that the tests leave to the test runner: of `check`, or of the one function that holds all assertions.

    A function with one parameter is called with the entry point. None where nothing is left.

    Raises:
        BadTestsError: something asserts, is no test by its name, and nothing calls it.
    """
    definitions = {part.name: part for part in in_module(tree.body) if isinstance(part, DEFINITIONS)}
    references = {name: _loaded(part) & definitions.keys() - {name} for name, part in definitions.items()}
    called = set().union(*references.values()) | _loaded(
        *(part for part in tree.body if part.__class__ not in DEFINITIONS)
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
    code = [part for part in tree.body if not isinstance(part, DEFINITIONS)]
    is_lone = name == "check" or not any(map(asserts, [*others, *code]))
    root = definitions[name]
    if not is_lone or isinstance(root, ast.AsyncFunctionDef | ast.ClassDef) or len(required(root)) > 1:
        raise BadTestsError(f"`{name}` asserts, and nothing {'uses' if isinstance(root, ast.ClassDef) else 'calls'} it")
    if required(root) and not entry_point:
        raise BadTestsError(f"`{name}` is never called, and there is no `entry_point` to call it with")
    return f"{name}({entry_point if required(root) else ''})"


def is_test(definition: Definition, others: dict[str, Definition]) -> bool:
    """True where a test runner knows it by its name, decorator or base: a test, a fixture, a setup or a teardown."""
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
    """The names of the arguments that have no default."""
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
        if not isinstance(statement, DEFINITIONS):
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
    """Remove, in place, what imports the program as a module, and return the names that are taken from it."""
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
