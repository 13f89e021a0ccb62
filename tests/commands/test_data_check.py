"""`rlsd data check` as a user types it: what it says of a file, where it says it, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlsd_cli import console
from rlsd_cli.app import main

KEYS = [
    "file", "problems", "rows", "faultless", "share", "self_accepting", "self_accepting_rate", "reasons", "notes",
    "lengths", "seconds", "rows_per_second",
]  # fmt: skip
SOUND = {"id": "sound", "question": "What is 3 + 4?", "answer": "7"}
WORDS = {"id": "words", "question": "What is 4 + 4?", "answer": "eight", "verifier": "numeric"}
AGAIN = {"id": "again", "question": "What is  3 + 4?", "answer": "7"}


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def table(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


Check = Callable[..., Done]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """`rlsd data check` in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("RLSD_TRACEBACK", "RLSD_PROGRESS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["rlsd", "data", "check", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return Done(int(caught.value.code or 0), *capsys.readouterr())

    return run


def write(path: Path, *rows: dict[str, Any] | str) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def test_a_sound_file_has_an_empty_table_and_exits_with_0(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND)
    done = check("a.jsonl")
    assert done.code == 0
    assert done.table == [["reason", "kind", "problems", "share", "first", "the first one"]]
    lines = done.err.splitlines()
    assert lines[0] == "lengths are not checked: no model is named (`model=NAME`, or a preset)"
    assert lines[1:3] == ["1 of 1 problems have no fault (100.00 %)", "1 of 1 references accept themselves"]
    assert "hint" not in done.err


def test_faults_and_notes_are_counted_with_the_first_of_each(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND, WORDS, AGAIN, "{")
    done = check("a.jsonl")
    assert done.code == 1
    assert [row[:5] for row in done.table[1:]] == [
        ["unreadable", "fault", "1", "25.00 %", "a.jsonl:4"],
        ["bad_reference", "fault", "1", "25.00 %", "words"],
        ["repeated", "note", "1", "25.00 %", "again"],
    ]
    assert done.table[1][5].startswith("not JSON: ")
    assert "`eight` is not a number" in done.table[2][5]
    assert "2 of 4 rows have no fault (50.00 %)\n2 of 3 references accept themselves\n" in done.err
    assert done.err.endswith("\n\nhint: `rlsd data show a.jsonl 4` shows one\n")


@pytest.mark.parametrize(("threshold", "code"), [("0.67", 1), ("0.66", 0), ("0", 0), ("1", 1), ("1.5", 2)])
def test_the_threshold_is_the_share_of_rows_without_a_fault(
    threshold: str, code: int, check: Check, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", SOUND, WORDS, AGAIN)
    assert check("a.jsonl", "--threshold", threshold).code == code


def test_as_json_it_is_one_object_and_quiet_says_nothing_else(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND, WORDS, AGAIN)
    done = check("a.jsonl", "--json", "--quiet")
    assert (done.code, done.err) == (1, "")
    found = json.loads(done.out)
    assert list(found) == KEYS
    assert (found["file"], found["rows"], found["problems"], found["faultless"]) == ("a.jsonl", 3, 3, 2)
    assert (found["reasons"], found["notes"]) == ({"bad_reference": 1}, {"repeated": 1})
    assert (found["share"], found["self_accepting"], found["self_accepting_rate"]) == (2 / 3, 2, 2 / 3)
    assert found["lengths"] is None
    assert found["rows_per_second"] == pytest.approx(3 / found["seconds"])


def test_out_holds_every_flag_in_order(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND, WORDS | {"question": "3 +  4? The answer is eight."}, AGAIN, "{")
    done = check("a.jsonl", "--out", "flags.jsonl")
    assert done.code == 1
    flags = [json.loads(line) for line in (tmp_path / "flags.jsonl").read_text().splitlines()]
    assert [list(flag) for flag in flags] == [["where", "id", "reason", "kind", "detail"]] * 3
    assert [[*flag.values()][:4] for flag in flags] == [
        ["a.jsonl:2", "words", "bad_reference", "fault"],
        ["a.jsonl:3", "again", "repeated", "note"],
        ["a.jsonl:4", None, "unreadable", "fault"],
    ]
    assert all(flag["detail"] for flag in flags)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "flags.jsonl"]


def test_what_cannot_be_written_is_refused_and_the_source_is_safe(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND)
    before = (tmp_path / "a.jsonl").read_text()
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    kept = check("a.jsonl", "--out", "thesis.tex")
    assert (kept.code, "exists and holds no flags" in kept.err) == (4, True)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "years of work"
    for out, words in (("a.jsonl", "is a.jsonl itself"), ("-", "needs a file"), ("no/flags", "cannot write no/flags")):
        done = check("a.jsonl", "--out", out)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
    assert (tmp_path / "a.jsonl").read_text() == before


def test_what_is_no_file_of_problems_exits_with_2(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "empty.jsonl")
    write(tmp_path / "spoiled.jsonl", "{", "[]")
    write(tmp_path / "a.jsonl", SOUND)
    for arguments, words in (
        (["nowhere.jsonl"], "error: no task or file named `nowhere.jsonl`"),
        (["empty.jsonl"], "error: empty.jsonl holds no problems\n"),
        (["a.jsonl", "gsm8k-rlds"], "did you mean `gsm8k-rlsd`"),
        (["a.jsonl", "verifier=numerik"], "hint: did you mean `numeric`?"),
        (["a.jsonl", "teacher.veiw=answer"], "hint: did you mean `teacher.view`"),
        ([], "Missing argument"),
    ):
        done = check(*arguments)
        assert (done.code, done.out) == (2, ""), done.err
        assert words in done.err
    done = check("spoiled.jsonl")
    assert (done.code, done.table[1][:3]) == (2, ["unreadable", "fault", "2"])
    assert "error: spoiled.jsonl holds no problems: none of its 2 rows can be read" in done.err


def test_programs_that_cannot_be_run_safely_exit_with_3(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND, {"question": "Print 2", "tests": [{"output": "2"}], "solution": "print(2)"})
    done = check("a.jsonl", "sandbox.level=none")
    assert (done.code, done.out) == (3, "")
    assert "programs cannot be run safely here" in done.err


def test_lengths_are_known_where_a_preset_or_a_key_names_a_model(check: Check) -> None:
    done = check("arithmetic:count=40", "quickstart", "--json")
    assert done.code == 0, done.err
    lengths = json.loads(done.out)["lengths"]
    assert list(lengths) == ["student", "teacher"]
    assert lengths["student"]["median"] < lengths["student"]["max"] < lengths["teacher"]["max"] < 40
    assert "lengths are not checked" not in done.err
    assert "tokens of the student's view: median " in done.err
    assert "; the model has room for 256\n" in done.err
    done = check("arithmetic:count=40", "model=quickstart", "--json")
    assert (done.code, json.loads(done.out)["reasons"]) == (1, {"too_long": 40})
    done = check("arithmetic:count=40", "model=quikstart")
    assert (done.code, done.out) == (3, "")
    assert "did you mean `quickstart`" in done.err


def test_what_the_method_needs_is_a_fault_only_if_a_method_or_a_view_is_named(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SOUND)
    assert check("a.jsonl", "rollout.temperature=0.5").code == 0
    for argument in ("method=opsd", "method=sft", "teacher.view=solution"):
        done = check("a.jsonl", argument)
        assert (done.code, done.table[1][0]) == (1, "no_view"), argument
    assert check("a.jsonl", "method=rlvr").code == 0
    refused = check("a.jsonl", "method=rlvr", "teacher.view=solution")
    assert (refused.code, refused.out) == (2, "")
    assert "method `rlvr` does not read it" in refused.err


def test_progress_is_said_where_it_is_asked_for(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", *[WORDS | {"id": str(number)} for number in range(3)])
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    monkeypatch.setenv("RLSD_PROGRESS", "lines")
    assert "2 rows  " in (done := check("a.jsonl")).err
    assert "/s  2 with a fault\n" in done.err
    monkeypatch.setenv("RLSD_PROGRESS", "none")
    assert "with a fault\n" not in check("a.jsonl").err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    write(tmp_path / "a.jsonl", *[WORDS | {"id": str(number), "question": f"q {number}"} for number in range(60_000)])
    command = [sys.executable, "-m", "rlsd_cli.app", "data", "check", "a.jsonl", "--out", "flags.jsonl"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE)
    for _ in range(1500):
        if any(path.stat().st_size for path in tmp_path.glob(".flags.jsonl.*")):
            break
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == -number, talk
    assert "Traceback" not in talk
    assert "interrupted after row " in talk
    assert talk.endswith("; flags.jsonl is not written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
