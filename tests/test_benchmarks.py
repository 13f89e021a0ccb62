"""Benchmarks are run by hand, for minutes; what can go stale in between is held here."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.common import ROOT

FOLDER = ROOT / "benchmarks"
FILES = sorted(FOLDER.rglob("*.py"))
OURS = ("benchmarks", "rlsd_cli", "rlsd_sandbox", "rlsd_verifiers")


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Modules of ours and the names taken from each, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_a_benchmark_imports_only_what_there_is(file: Path) -> None:
    missing = [f"{module}.{name}" for module, name in imported(file) if not hasattr(import_module(module), name)]
    assert not missing


def test_the_table_of_the_docs_has_every_question_with_a_folder_and_no_other() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = page.split("| name | question |")[1].split("\n\n")[0]
    folders = sorted(path.parent.name for path in FOLDER.glob("*/bench.py"))
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == folders
