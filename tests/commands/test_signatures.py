"""A command is a signature: what does the work is one import away, in the package where it belongs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlsd_cli.commands

COMMANDS = sorted(Path(rlsd_cli.commands.__file__).parent.rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_imports_what_does_its_work_once(path: Path) -> None:
    for function in functions(path):
        imports = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert len(imports) <= 1, f"{function.name} imports {len(imports)} times"


def test_no_command_imports_another() -> None:
    imported = {
        (path.stem, node.module)
        for path in COMMANDS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlsd_cli.commands")
    }
    assert imported == {("__init__", "rlsd_cli.commands.data")}, "only the group of `rlsd data` joins commands"
