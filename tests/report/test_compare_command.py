"""`rlsd compare` and `rlsd runs` on real runs."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.forked import rlsd

HELD_OUT = "arithmetic:count=400-held-out"


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return rlsd(*arguments, cwd=folder, environment={**os.environ, "COLUMNS": "120"})


def objects(folder: Path, *arguments: str) -> dict[str, Any]:
    done = run(folder, *arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def names(folder: Path, mode: str) -> list[str]:
    return sorted(path.name for path in (folder / "runs").glob(f"quickstart-{mode}-*"))


def test_a_run_and_itself_differ_by_nothing_and_swapped_sides_change_the_sign(trained: Path) -> None:
    one, other = names(trained, "rlvr")[0], names(trained, "rlsd")[1]
    (same,) = objects(trained, "compare", one, one)["comparisons"]
    assert all((line["difference"], line["p"]) == (0.0, 1.0) for line in same["metrics"])
    assert same["gained"] == same["lost"] == []
    (forth,) = objects(trained, "compare", one, other)["comparisons"]
    (back,) = objects(trained, "compare", other, one)["comparisons"]
    assert forth["unit"] == "problems"
    for there, here in zip(forth["metrics"], back["metrics"], strict=True):
        assert there["difference"] == pytest.approx(-here["difference"])
        assert there["ci95"] == pytest.approx([-here["ci95"][1], -here["ci95"][0]])
        assert there["p"] == pytest.approx(here["p"])
    assert forth["gained"] == [flip | {"first": flip["second"], "second": flip["first"]} for flip in back["lost"]]


def test_seeds_of_one_config_are_one_side_and_the_unit(trained: Path) -> None:
    found = objects(trained, "compare", "quickstart-rlvr-*", "quickstart-rlsd-*")
    (compared,) = found["comparisons"]
    assert compared["unit"] == "seeds"
    assert (compared["first"]["seeds"], compared["second"]["seeds"]) == ([0, 1], [0, 1])
    accuracy = compared["metrics"][0]
    assert accuracy["metric"] == "mean@1"
    assert accuracy["decoding"] == "greedy"
    for side, mode in (("first", "rlvr"), ("second", "rlsd")):
        statuses = [json.loads((trained / "runs" / name / "status.json").read_text()) for name in names(trained, mode)]
        assert accuracy[side]["points"] == pytest.approx([each["final"]["accuracy"] for each in statuses])
    assert "seeds" in run(trained, "compare", "quickstart-rlvr-*", "quickstart-rlsd-*").stderr


def test_gates_are_for_scripts(trained: Path) -> None:
    sides = ["quickstart-rlvr-*", "quickstart-rlsd-*"]
    assert run(trained, "compare", *sides, "--gate", "mean@1 > 0.9").returncode == 1
    assert run(trained, "compare", *sides, "--gate", "mean@1 > -99").returncode == 0
    assert run(trained, "compare", *sides, "--gate", "mean@1 >").returncode == 2
    refused = run(trained, "compare", *sides, "--gate", "mean@9 > 0")
    assert refused.returncode == 2
    assert f"{HELD_OUT}:mean@1" in refused.stderr


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (["quickstart-rlvr-*"], "mean"),
        (["quickstart-rlvr", "latest"], "no run, checkpoint or evaluated model named `quickstart-rlvr`"),
        (["nothing-*", "latest"], "no run under runs matches `nothing-*`"),
        (["latest", "latest", "--step", "7"], "hint: there are those after 0, 1, 2"),
        (["latest", "latest", "--suite", "math500"], "no suite that begins with math500"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_way_out(sides: list[str], words: str, trained: Path) -> None:
    done = run(trained, "compare", *sides)
    assert words in done.stdout + done.stderr
    assert done.returncode == (0 if words == "mean" else 2), "two seeds alone are two policies"


def test_other_references_are_other_problems(trained: Path, tmp_path: Path) -> None:
    one, other = names(trained, "rlvr")
    shutil.copytree(trained / "runs", tmp_path / "runs", symlinks=True)
    samples = tmp_path / "runs" / other / "evals" / HELD_OUT / "000002" / "samples.jsonl"
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    rows[3]["answer"] = "another"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(tmp_path, "compare", one, other)
    assert done.returncode == 2
    assert "these are not the same problems" in done.stderr
    samples.write_text("".join(json.dumps(row | {"score": None}) + "\n" for row in rows[:3] + rows[4:]))
    assert run(tmp_path, "compare", one, other).returncode == 2
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows[:3] + rows[4:]))
    (found,) = objects(tmp_path, "compare", one, other)["comparisons"]
    assert found["left_out"] == {HELD_OUT: 1}


def test_runs_are_listed_shown_and_followed(trained: Path) -> None:
    done = run(trained, "runs", "list", "--json")
    found = json.loads(done.stdout)
    assert [(each["status"], each["step"], each["steps"]) for each in found] == [("done", 2, 2)] * 4
    shown = objects(trained, "runs", "show", "latest")
    assert ["steps", "200", "2"] in shown["differences"]
    assert [each["step"] for each in shown["evaluations"]] == [0, 1, 2]
    lines = run(trained, "runs", "tail", "latest", "-n", "1", "--follow").stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("step     2  reward")
    assert run(trained, "runs", "show", "quickstart-rlvx").returncode == 2


def test_a_run_whose_process_is_gone_is_said_to_have_stopped(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs", symlinks=True)
    status = tmp_path / "runs" / names(trained, "rlvr")[0] / "status.json"
    values = json.loads(status.read_text())
    child = subprocess.Popen(["true"])
    child.wait()
    status.write_text(json.dumps(values | {"status": "running", "pid": child.pid}))
    done = run(tmp_path, "runs", "list", "--json")
    assert sorted(each["status"] for each in json.loads(done.stdout)) == ["done", "done", "done", "stopped"]
