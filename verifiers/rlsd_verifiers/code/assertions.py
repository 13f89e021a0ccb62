"""What counts as an assertion in the source of tests.

Assertions are: an `assert` that could fail, a call of something named `assert...`, a block that must raise, an `if`
whose other branch fails, and an exception that a `try` asks for.
"""

import ast

FAILURES = frozenset({"AssertionError", "Exception", "SystemExit"})
_EXITS = frozenset({"exit", "quit", "_exit"})


def asserts(node: ast.AST) -> bool:
    """True where there is an assertion in it."""
    return any(
        (isinstance(part, ast.Assert) and not is_vacuous(part.test))
        or (isinstance(part, ast.stmt) and fails(part))
        or is_assertion(part)
        for part in ast.walk(node)
    )


def is_vacuous(test: ast.expr) -> bool:
    """True where an assertion holds whatever the program does: a constant, `(a test, "a message")`, `... or True`."""
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
    """True for a statement that only fails: `assert False`, `raise AssertionError`, `self.fail()`, `sys.exit(1)`."""
    match statement:
        case ast.Assert(ast.Constant(value)):
            return not value
        case ast.Raise(ast.expr() as raised):
            return last_name(raised) in FAILURES
        case ast.Expr(ast.Call(_, arguments) as call):
            name = last_name(call)
            is_fine = not arguments or (isinstance(arguments[0], ast.Constant) and not arguments[0].value)
            return name == "fail" or (name in _EXITS and not is_fine)
    return False


def is_assertion(node: ast.AST) -> bool:
    """True for a call that asserts: `self.assertEqual(f(1), 2)`, `pytest.raises(ValueError, f, 1)`."""
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
