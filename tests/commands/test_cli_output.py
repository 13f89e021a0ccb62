"""Where output goes and what it may hold: data on stdout, talk on stderr, nothing that a pipe or a log cannot take."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import config_keys, flatten, preset_names, presets_dir, resolve, split_arguments

HEAVY = {"torch", "transformers", "sympy", "numpy", "vllm", "pydantic"}
LOADED = """
import sys
from rlsd_cli.app import main
try:
    main()
finally:
    print(*sys.modules, file=open("modules", "w"))
"""
PROGRESS = """
import io
from rlsd_cli.console import Progress
metrics = dict.fromkeys("reward_mean no_answer_rate zero_variance_rate loss entropy lambda leakage_rate "
                        "response_tokens_mean grad_norm seconds".split(), 0.5) | {"step": 1}
progress = Progress(1, io.StringIO())
progress.step(metrics, 1)
progress.warning("kind", "something")
progress.close()
"""
DRY_RUNS = """
import contextlib, io, json, sys
from rlsd_cli.app import main
done = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, out, code = ["rlsd", *arguments], io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    done.append([code, out.getvalue()])
json.dump([done, [*sys.modules]], sys.stdout)
"""
TABLE = ["-m", "rlsd_cli.app", "presets", "list"]
READING = [
    ["--help"],
    ["train", "--help"],
    ["presets", "list"],
    ["presets", "show", "quickstart"],
    ["config", "show"],
    ["config", "keys"],
    ["models", "list"],
    ["train", "--dry-run"],
]


def loaded_by(arguments: list[str], folder: Path, environment: dict[str, str]) -> tuple[Any, set[str]]:
    """What a command did, and the top-level packages that were imported on the way."""
    command = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done, {name.split(".")[0] for name in (folder / "modules").read_text().split()}


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What a command writes when stdin, stdout and stderr are a pseudo-terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        written = bytearray()
        try:
            while block := os.read(ours, 1 << 16):
                written += block
        except OSError:  # Linux says EIO when the last writer has gone
            pass
    os.close(ours)
    return written.decode()


def test_help_loads_no_heavy_library(tmp_path: Path, environment: dict[str, str]) -> None:
    done, packages = loaded_by(["--help"], tmp_path, environment)
    assert done.returncode == 0
    assert "Exit codes:" in done.stdout
    assert not packages & HEAVY


def run_line(name: str) -> list[str]:
    """What the file of a preset says that `rlsd train` is given to run it."""
    line = (presets_dir() / f"{name}.toml").read_text(encoding="utf-8").splitlines()[2]
    rlsd, verb, *arguments = line.removeprefix("# Run:").split()
    assert (rlsd, verb in ("train", "eval")) == ("rlsd", True)
    return arguments[:1] if verb == "eval" else arguments  # `eval` has no dry run; its options are no keys


def test_the_run_line_of_each_preset_runs_that_preset_and_a_dry_run_of_it_needs_no_torch(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """All in one process: what one of them loads stays loaded."""
    lines = {name: run_line(name) for name in preset_names()}
    given = json.dumps([["train", *arguments, "--dry-run", "--json"] for arguments in lines.values()])
    command = [sys.executable, "-c", DRY_RUNS, given]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ended, modules = json.loads(done.stdout)
    for (name, arguments), (code, out) in zip(lines.items(), ended, strict=True):
        assert code == 0, (name, done.stderr)
        shown = {key: row["value"] for key, row in json.loads(out).items() if key != "memory"}
        assert shown == flatten(resolve([name], split_arguments(arguments)[1]).config), name
    assert {module.split(".")[0] for module in modules}.isdisjoint(HEAVY - {"pydantic"})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_piped_output_holds_no_escape_codes_and_no_boxes(arguments: list[str], rlsd: Any) -> None:
    done = rlsd(*arguments, FORCE_COLOR="1")
    assert done.returncode == 0
    assert done.stdout
    assert not [c for c in done.stdout + done.stderr if c == "\x1b" or "\u2500" <= c <= "\u259f"]


def test_a_piped_table_is_tab_separated_and_never_cut(rlsd: Any) -> None:
    header, *lines = rlsd("config", "keys", COLUMNS="20").stdout.splitlines()
    assert header.split("\t") == ["key", "type", "default", "meaning"]
    assert [line.split("\t") for line in lines] == [
        [key.name, key.kind, repr(key.default), key.description] for key in config_keys()
    ]


@pytest.mark.parametrize(
    "arguments",
    [["presets", "list"], ["config", "show"], ["config", "keys"], ["models", "list"], ["train", "--dry-run"]],
    ids=" ".join,
)
def test_json_is_all_there_is_on_stdout(arguments: list[str], rlsd: Any) -> None:
    assert json.loads(rlsd(*arguments, "--json").stdout)


def test_a_dry_run_talks_on_stderr_unless_told_to_be_quiet(rlsd: Any) -> None:
    spoken, quiet = rlsd("train", "--dry-run"), rlsd("train", "--dry-run", "--quiet")
    assert spoken.stdout == quiet.stdout
    assert "a step   16 problems x 8 responses = 128 rollouts of at most 56 tokens" in spoken.stderr
    assert quiet.stderr == ""


@pytest.mark.parametrize("arguments", [TABLE, ["-c", PROGRESS]], ids=["table", "progress"])
def test_no_color_on_a_terminal_means_no_escape_at_all(arguments: list[str], environment: dict[str, str]) -> None:
    assert "\x1b" in on_a_terminal(arguments, environment)
    plain = on_a_terminal(arguments, environment | {"NO_COLOR": "1"})
    assert "quickstart" in plain or "step     1  reward 0.500" in plain
    assert "\x1b" not in plain


@pytest.mark.parametrize(
    "arguments", [["-m", "rlsd_cli.app", "trian"], ["-m", "rlsd_cli.app", "train", "mix=1"]], ids=["usage", "key"]
)
def test_no_color_holds_for_errors_too(arguments: list[str], environment: dict[str, str]) -> None:
    written = on_a_terminal(arguments, environment | {"NO_COLOR": "1"})
    assert "rror: " in written
    assert "\x1b" not in written


@pytest.mark.parametrize(("arguments", "code"), [(["config", "keys"], 141), (["--help"], 1)], ids=["data", "help"])
def test_a_reader_that_goes_away_leaves_nothing_behind(
    arguments: list[str], code: int, environment: dict[str, str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rlsd_cli.app", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, b"")
