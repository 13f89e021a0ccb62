"""`rlsd data difficulty` as a user types it, with the embedded policy."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.data.sources import load_source
from rlsd_cli.evaluation.pass_rates import default_out
from tests.forked import Command

Rlsd = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ["p.jsonl", "quickstart", "--samples", "4", "rollout.batch_size=16"]
PROBLEMS, BATCH = 25, 4


def write_problems(folder: Path) -> None:
    """Problems with a field of their own, the last with an answer that no verdict can be reached on."""
    rows = [
        {"level": n % 3, "question": problem.question, "answer": problem.answer, "verifier": "exact"}
        for n, problem in enumerate(load_source(f"arithmetic:count={PROBLEMS}"))
    ]
    rows[-1] |= {"answer": "no number", "verifier": "numeric"}
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(folder: Path, environment: dict[str, str], *arguments: str) -> Command:
    return Command(["data", "difficulty", *SMALL, *arguments], folder, environment)


def wait_for_rows(path: Path, count: int) -> None:
    for _ in range(12_000):
        if path.is_file() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not reach {count} rows")


@pytest.mark.timeout(900)
def test_interrupted_killed_and_continued_it_ends_in_the_same_bytes(
    tmp_path: Path, environment: dict[str, str], rlsd: Rlsd
) -> None:
    write_problems(tmp_path)
    whole = start(tmp_path, environment, "--out", "whole.jsonl", "--json")
    out = tmp_path / "p.difficulty.jsonl"

    killed = start(tmp_path, environment)
    wait_for_rows(out, BATCH)
    killed.send_signal(signal.SIGSTOP)
    busy = rlsd("data", "difficulty", *SMALL)
    assert busy.returncode == 4
    assert "is being written by another process" in busy.stderr
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    done = out.read_bytes().count(b"\n")
    assert BATCH <= done < PROBLEMS
    with out.open("ab") as file:
        file.write(b'{"id": "torn')

    interrupted = start(tmp_path, environment)
    wait_for_rows(out, done + BATCH)
    interrupted.send_signal(signal.SIGINT)
    _, talk = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130, talk
    assert f"continuing at problem {done + 1} of {PROBLEMS}" in talk
    done = out.read_bytes().count(b"\n")
    assert f"interrupted after problem {done} of {PROBLEMS}\n\nhint: the same command continues\n" in talk
    assert done < PROBLEMS

    continued = rlsd("data", "difficulty", *SMALL, "--json")
    stdout, talk = whole.communicate(timeout=120)
    for code, said in ((continued.returncode, continued.stderr), (whole.returncode, talk)):
        assert code == 1, said
        assert f"1 of {PROBLEMS} problems reached no verdict, and have no pass rate" in said
        assert "of which 1 cannot be graded" in said
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert numbers(continued.stdout) == numbers(stdout)
    check_summary(numbers(stdout), out)
    check_complete(rlsd, out)


def numbers(stdout: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(stdout)
    return {name: value for name, value in summary.items() if name not in ("out", "seconds")}


def check_summary(summary: dict[str, Any], out: Path) -> None:
    *rows, last = [json.loads(line) for line in out.read_text().splitlines()]
    rates = [row["pass_rate"] for row in rows]
    assert [row["level"] for row in rows] == [n % 3 for n in range(PROBLEMS - 1)]
    assert [row["difficulty"]["solved"] / 4 for row in rows] == rates
    assert (last["pass_rate"], last["difficulty"]["no_verdict"]) == (None, 4)
    assert summary["mean"] == pytest.approx(sum(rates) / len(rates))
    assert 0.2 < summary["mean"] < 0.7
    assert summary["ci95"][0] < summary["mean"] < summary["ci95"][1]
    assert (summary["problems"], summary["n"]) == (PROBLEMS, len(rates))
    assert sum(summary["histogram"].values()) == len(rates)
    assert summary["never"] + summary["sometimes"] + summary["always"] == len(rates)
    assert summary["sometimes"] > PROBLEMS / 3
    assert [problem.pass_rate for problem in load_source(str(out))] == [*rates, None]


def check_complete(rlsd: Rlsd, out: Path) -> None:
    """A complete file says so, another command's is left alone, and training takes its bounds from it."""
    before = out.read_bytes()
    done = rlsd("data", "difficulty", *SMALL)
    assert done.returncode == 1
    assert "  without a pass rate\t1" in done.stdout
    assert f"p.difficulty.jsonl is complete: {PROBLEMS} problems; `--again` starts it over" in done.stderr
    assert done.stdout.startswith("p.jsonl\tquickstart\npass rate\t0.")
    other = rlsd("data", "difficulty", *SMALL, "seed=1")
    assert other.returncode == 4
    assert "does not belong to this command: in row 1, a setting" in other.stderr
    assert "hint: `--again` starts it over" in other.stderr
    assert out.read_bytes() == before
    unrated = rlsd("train", "data=p.jsonl", "curriculum.order=weighted")
    assert unrated.returncode == 2
    assert "hint: `rlsd data difficulty p.jsonl PRESET` measures them" in unrated.stderr
    bounds = [f"curriculum.{name}_pass_rate=0.99" for name in ("min", "max")]
    bounded = rlsd("train", f"data={out.name}", *bounds)
    assert bounded.stderr.startswith("curriculum: random, 1 of 2"), bounded.stderr
    assert "1 without a pass rate stay\n" in bounded.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gone.jsonl"], 2, "no task or file named `gone.jsonl`"),
        (["p.jsonl", "--out", "p.jsonl"], 2, "`--out p.jsonl` is p.jsonl itself"),
        (["p.jsonl", "--out", "p.csv"], 2, "name a file that ends in `.jsonl`"),
        (["p.jsonl", "steps=3"], 2, "`steps` (command line) changes nothing here"),
        (["p.jsonl", "evaluation.temperature=0"], 2, "all 8 answers to a problem are the same"),
        (["p.jsonl", "one", "two"], 2, "one model answers at a time, not 2: one, two"),
        (["p.jsonl", "nobody"], 3, "no run, checkpoint, preset or model named `nobody`"),
    ],
)
def test_what_cannot_be_is_said_and_writes_nothing(
    arguments: list[str], code: int, words: str, rlsd: Rlsd, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_text('{"question": "q", "answer": "1"}\n')
    done = rlsd("data", "difficulty", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


def test_the_file_is_named_after_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.b.jsonl.gz", "t.parquet"):
        (tmp_path / name).touch()
    names = {
        "sub/a.b.jsonl.gz": "a.b",
        "t.parquet": "t",
        "arithmetic": "arithmetic",
        "countdown:numbers=4": "countdown-numbers-4",
        "openai/gsm8k:main:split=train": "openai-gsm8k",
    }
    for source, name in names.items():
        assert default_out(source) == Path(f"{name}.difficulty.jsonl")
