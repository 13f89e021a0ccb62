"""Runs the table of a source tree with that tree's code, through the command line as it is used.

Those of one process each share a Python process, which this file is when it is executed:
`runner.py TREE FOLDER < commands`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from runpy import run_path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLE = Path("tests", "witness", "runs.py")


def table_of(tree: Path) -> dict[str, Any]:
    """The tree's own `runs.py`, so that keys may be renamed; ours for a tree that is older."""
    return run_path(str(tree / TABLE if (tree / TABLE).is_file() else HERE / "runs.py"))


def perform(tree: Path, names: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run these runs of a tree; each is then a run directory in `folder/NAME/latest`, with `folder/NAME.log`."""
    tree, folder = tree.resolve(), folder.resolve()
    table = table_of(tree)
    folder.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join([str(tree), str(tree / "verifiers")])
    environment = os.environ | {"PYTHONPATH": paths, "GLOO_SOCKET_IFNAME": "lo"} | (variables or {})
    alone = {name: table["arguments"](table["ALONE"][name]) for name in names if name in table["ALONE"]}
    command = [sys.executable, __file__, str(tree), str(folder)]
    subprocess.run(command, input=json.dumps(alone), text=True, cwd=folder, env=environment, check=True)
    team = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "rlsd_cli"]
    for name in (name for name in names if name in table["TOGETHER"]):
        command = [sys.executable, *team, "--root", str(folder / name), "train"]
        command += table["arguments"](table["TOGETHER"][name])
        with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
            subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False)


def _perform_here(tree: Path, folder: Path, commands: Mapping[str, Sequence[str]]) -> None:
    """One `rlsd train` after the other; one that fails leaves no finished run, and its log says why."""
    import rlsd_verifiers
    from rlsd_cli import app

    for module in (app, rlsd_verifiers):
        if not Path(str(module.__file__)).is_relative_to(tree):
            raise ImportError(f"{module.__file__} is not of {tree}")
    for name, arguments in commands.items():
        sys.argv = ["rlsd", "--root", str(folder / name), "train", *arguments]
        log = (folder / f"{name}.log").open("w", encoding="utf-8")
        with log, redirect_stdout(log), redirect_stderr(log), suppress(SystemExit):
            app.main()


if __name__ == "__main__":
    _perform_here(Path(sys.argv[1]), Path(sys.argv[2]), json.load(sys.stdin))
