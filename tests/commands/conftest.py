import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Rlsd = Callable[..., "subprocess.CompletedProcess[str]"]

HIDDEN = ("RLSD_", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS")
PLAIN = {"COLUMNS": "100", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "TERM": "xterm-256color"}


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)} | PLAIN


@pytest.fixture
def rlsd(tmp_path: Path, environment: dict[str, str]) -> Rlsd:
    """`rlsd` with these arguments, in an empty folder, its output captured."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rlsd_cli.app", *arguments]
        variables = environment | variables
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)

    return run
