"""Data, verifier and model that change under a run: said of a finished one, and no way to continue another."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.policy import catalog
from tests import forked

PACKAGED = Path(catalog.__file__).parent / "quickstart"
ARGUMENTS = [
    *("train", "model=m", "data=d.jsonl", "verifier=own:grade", "steps=1", "prompts_per_step=2"),
    *("samples_per_prompt=2", "evaluation.problems=4", "--json"),
]
Trained = tuple[Path, dict[str, Any]]
"""A folder to work in, and what `train --json` printed there."""


def train(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return forked.rlsd(*ARGUMENTS, *more, cwd=folder)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("once")
    shutil.copytree(PACKAGED, folder / "m", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(40)]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.py").write_text("def grade(submission):\n    return submission.answer in submission.response\n")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture
def trained(once: Trained, tmp_path: Path) -> Trained:
    """A copy, to be changed."""
    return shutil.copytree(once[0], tmp_path / "work"), once[1]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def change_weights(folder: Path) -> None:
    path = folder / "m" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_finished_run_whose_inputs_are_the_same_says_nothing_and_loads_neither_torch_nor_transformers(
    trained: Trained,
) -> None:
    folder, summary = trained
    append(folder / "d.jsonl", "\n")  # other bytes, the same problems
    program = f"""
import sys
from rlsd_cli.app import main
sys.argv = ["rlsd", *{ARGUMENTS!r}]
try:
    main()
except SystemExit as ended:
    print(*sys.modules, file=open("modules", "w"))
    raise
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == summary
    assert "warning" not in done.stderr
    assert not {"torch", "transformers", "own"} & set((folder / "modules").read_text().split())


def test_what_changed_under_a_finished_run_is_said_with_what_it_was_and_is(trained: Trained) -> None:
    folder, summary = trained
    append(folder / "d.jsonl", "".join(json.dumps({"question": f"{n}+2=", "answer": "7"}) + "\n" for n in range(9)))
    append(folder / "own.py", "# another\n")
    change_weights(folder)
    done = train(folder)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    changed = found.pop("changed")
    assert found == summary
    assert [(change["key"], Path(change["where"]).name) for change in changed] == [
        ("data", "d.jsonl"),
        ("verifier", "own.py"),
        ("model", "m"),
    ]
    assert all(change["was"] != change["now"] for change in changed)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: since this run began, ")]
    assert len(warnings) == 3
    for change, line in zip(changed, warnings, strict=True):
        assert f"{change['key']} `{change['where']}` has changed: {change['was']} then, {change['now']} now" in line
    assert "`--again` makes another attempt" in done.stderr
    counts = [sum(int(word) for word in changed[0][when].split() if word.isdigit()) for when in ("was", "now")]
    assert counts == [40, 49], "problems then and now"


def test_what_is_gone_or_cannot_be_read_any_more_is_said_and_no_error(trained: Trained) -> None:
    folder, summary = trained
    append(folder / "d.jsonl", "no JSON\n")
    shutil.rmtree(folder / "m")
    done = train(folder)
    assert done.returncode == 0
    data, model = json.loads(done.stdout)["changed"]
    assert "not readable" in data["now"]
    assert "d.jsonl:41: not JSON" in data["now"]
    assert (model["key"], model["now"]) == ("model", None)
    (folder / "d.jsonl").unlink()
    assert "data `d.jsonl` is not there any more" in train(folder).stderr
    (folder / "d.jsonl").symlink_to("/proc/self/mem")  # whose first byte cannot be read
    done = train(folder)
    assert (done.returncode, json.loads(done.stdout)["changed"]) == (0, None)
    assert "cannot tell what has changed since this run began: cannot read d.jsonl: " in done.stderr
    (folder / summary["run"] / "inputs.json").unlink()
    done = train(folder)
    assert (json.loads(done.stdout), done.returncode) == (summary, 0), "a run that kept no record"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: append(folder / "own.py", "# another\n"), "own.py` has changed: sha256 "),
        (change_weights, "model `m` has changed: sha256 "),
    ],
)
def test_a_run_is_not_continued_with_another_verifier_or_model(
    trained: Trained, change: Callable[[Path], None], words: str
) -> None:
    folder, summary = trained
    path = folder / summary["run"] / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "interrupted"}))
    change(folder)
    done = train(folder)
    assert done.returncode == 4, done.stderr
    assert words in done.stderr
    assert "`--again`" in done.stderr
    assert json.loads(path.read_text())["status"] == "interrupted"
