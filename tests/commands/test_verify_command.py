"""`rlsd verify` as a user types it: verdicts in order, summaries, continuing, refusals, and who is told what."""

import json
import os
import pty
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
from rlsd_cli.interrupts import Interrupted, Interrupts
from rlsd_verifiers import Job, Submission
from rlsd_verifiers.job import Row, begin

KEYS = ["id", "correct", "score", "outcome", "extracted", "answer", "verifier", "seconds", "reason"]
COMMAND = [sys.executable, "-m", "rlsd_cli.app", "verify"]
RIGHT = {"response": r"so \boxed{7}", "answer": "7"}
WRONG = {"response": r"so \boxed{8}", "answer": "7"}
BAD_REFERENCE = {"response": r"so \boxed{8}", "answer": "seven", "verifier": "numeric"}

SLOW = """
import time
def grade(submission):
    time.sleep(0.02)
    return submission.response == submission.answer
"""
LOADED = """
import sys
from rlsd_cli.app import main
try:
    main()
finally:
    print(*sys.modules, file=open("modules", "w"))
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return rows_in(self.out)


Verify = Callable[..., Done]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """`rlsd verify` in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("RLSD_TRACEBACK", "RLSD_PROGRESS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["rlsd", "verify", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return Done(int(caught.value.code or 0), *capsys.readouterr())

    return run


def rows_in(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def write(path: Path, *rows: dict[str, Any] | bytes) -> None:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))


def without_seconds(path: Path) -> list[str]:
    return [json.dumps(row | {"seconds": 0}) for row in rows_in(path.read_text())]


# -- rows ----------------------------------------------------------------------------------------------------------


def test_each_row_gets_one_in_order_with_the_contracts_keys_and_the_summary_stays_off_stdout(
    verify: Verify, tmp_path: Path
) -> None:
    answers = [
        RIGHT | {"id": "a"},
        WRONG,
        {"response": "", "answer": 7, "id": 3.5},
        {"response": r"\boxed{x+x}", "answer": "2x"},
        {"response": "The answer is (B).", "answer": "B"},
        {"response": "7.0", "answer": 7, "verifier": "numeric"},
    ]
    write(tmp_path / "a.jsonl", *answers)
    done = verify("a.jsonl")
    assert done.code == 0, done.err
    assert [list(row) for row in done.rows] == [KEYS] * 6
    assert [row["id"] for row in done.rows] == ["a", 2, 3.5, 4, 5, 6]
    assert [row["answer"] for row in done.rows] == ["7", "7", 7, "2x", "B", 7]
    assert [row["outcome"] for row in done.rows] == ["correct", "wrong", "no_answer", *["correct"] * 3]
    assert [row["correct"] for row in done.rows] == [True, False, False, True, True, True]
    assert [row["score"] for row in done.rows] == [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert [row["verifier"] for row in done.rows] == ["math", "math", "math", "math", "choice", "numeric"]
    assert all(row["seconds"] > 0 for row in done.rows)
    assert "correct              4       66.7%" in done.err
    assert verify("a.jsonl", "--quiet").err == ""
    assert [list(row) for row in verify("a.jsonl", "--json").rows] == [KEYS] * 6


def test_a_spoiled_file_gets_one_row_for_each_of_its_rows_and_never_a_traceback(verify: Verify, tmp_path: Path) -> None:
    spoiled: list[tuple[bytes | dict[str, Any], str, str | None]] = [
        (RIGHT, "correct", None),
        (b"\xef\xbb\xbf" + json.dumps(WRONG).encode() + b"\r", "wrong", None),
        (b'{"response": "1", "answer":', "invalid_row", "not JSON"),
        (b"\xff\xfe\x00", "invalid_row", "not UTF-8"),
        (b"[" * 100_000, "invalid_row", "nested too deeply"),
        (b"[]", "invalid_row", "expected an object"),
        (b'{"response": "1", "answer": NaN}', "invalid_row", "NaN"),
        ({"answer": "7"}, "invalid_row", "response: missing"),
        (RIGHT | {"response": None}, "invalid_row", "response: expected text, found null"),
        (RIGHT | {"response": 7}, "invalid_row", "response: expected text, found a number"),
        (RIGHT | {"answer": None}, "invalid_row", "answer: null"),
        (RIGHT | {"answer": [7]}, "invalid_row", "answer: expected text or a number"),
        (RIGHT | {"verifier": "maths"}, "invalid_row", "did you mean `math`?"),
        (RIGHT | {"verifier": "os:system"}, "invalid_row", "command line only"),
        (RIGHT | {"correct": "true"}, "invalid_row", "correct: expected true or false"),
        (b'{"response": "7", "answer": "8", "answer": "7"}', "correct", None),
        ({"response": "", "answer": "7"}, "no_answer", None),
        ({"response": "7", "answer": ""}, "bad_reference", None),
        ({"response": "7 " * 500_000, "answer": "7"}, "correct", None),
        ({"response": "\x00 \ud800 so 7", "answer": "7", "id": "\udfff"}, "correct", None),
        ({"response": "\u2028\x0b\x85 7", "answer": "7"}, "correct", None),
    ]
    write(tmp_path / "a.jsonl", *(row for row, _, _ in spoiled))
    done = verify("a.jsonl", "--out", "v.jsonl", "--json")
    assert done.code == 1
    assert "Traceback" not in done.err
    text = (tmp_path / "v.jsonl").read_text(encoding="ascii")
    rows = rows_in(text)
    assert [row["outcome"] for row in rows] == [outcome for _, outcome, _ in spoiled]
    for number, (row, (_, outcome, words)) in enumerate(zip(rows, spoiled, strict=True), start=1):
        if words:
            assert (row["correct"], row["score"], row["verifier"]) == (None, None, None)
            assert row["reason"].startswith(f"a.jsonl:{number}: ")
            assert words in row["reason"]
        assert (row["correct"] is None) == (outcome in ("invalid_row", "bad_reference"))
    assert done.err.count("warning: a.jsonl:") == 5
    assert "warning: ... and 8 more rows that cannot be read" in done.err
    assert "14 of 21 rows reached no verdict" in done.err
    assert json.loads(done.out)["outcomes"]["invalid_row"] == 13


def test_the_verifier_is_the_command_lines_else_the_rows_else_auto(verify: Verify, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"response": "7.0", "answer": "7", "verifier": "exact"}, RIGHT)
    assert [row["verifier"] for row in verify("a.jsonl").rows] == ["exact", "math"]
    for argument in (["--verifier", "numeric"], ["verifier=numeric"]):
        assert [row["verifier"] for row in verify("a.jsonl", *argument).rows] == ["numeric", "numeric"]
    assert [row["correct"] for row in verify("a.jsonl", "--verifier", "auto").rows] == [True, True]


def test_settings_of_the_verifiers_are_given_as_keys(verify: Verify, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"response": "it is 102", "answer": "100", "verifier": "numeric"})
    assert verify("a.jsonl").rows[0]["outcome"] == "wrong"
    assert verify("a.jsonl", "verification.relative_tolerance=0.05").rows[0]["outcome"] == "correct"
    assert verify("a.jsonl", "verification.last_number=false").rows[0]["outcome"] == "no_answer"


def test_a_verifier_of_ones_own_is_loaded_by_its_import_path(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "own_verifier.py").write_text("def half(submission): return 0.5\n")
    write(tmp_path / "a.jsonl", RIGHT)
    done = verify("a.jsonl", "--verifier", "own_verifier:half", "--timeout", "5", "--workers", "1")
    assert done.code == 0, done.err
    [row] = done.rows
    assert (row["verifier"], row["outcome"], row["score"]) == ("own_verifier:half", "wrong", 0.5)


# -- the summary ---------------------------------------------------------------------------------------------------


def labelled(path: Path, missed: str = "missed") -> None:
    rows = (
        [RIGHT | {"correct": True}] * 6 + [WRONG | {"correct": True, "id": missed}] + [WRONG | {"correct": False}] * 9
    )
    write(path, *rows, RIGHT | {"correct": False}, BAD_REFERENCE | {"correct": True}, RIGHT)


def test_labels_make_the_summary_a_confusion_matrix(verify: Verify, tmp_path: Path) -> None:
    labelled(tmp_path / "a.jsonl")
    done = verify("a.jsonl", "--out", "v.jsonl")
    assert done.code == 1
    tables = [[line.split("\t") for line in table.split("\n")] for table in done.out.strip().split("\n\n")]
    assert tables[0][1:4] == [["correct", "8", "42.1%"], ["wrong", "10", "52.6%"], ["bad_reference", "1", "5.3%"]]
    assert tables[1] == [
        ["label", "says correct", "says wrong", "no answer", "unparseable", "over a limit", "no verdict"],
        ["is correct", "6", "1", "0", "0", "0", "1"],
        ["is wrong", "1", "9", "0", "0", "0", "0"],
    ]
    assert tables[2][1:3] == [["false accept", "10.0% [1.8, 40.4]"], ["false reject", "14.3% [2.6, 51.3]"]]
    assert tables[3][1:] == [
        ["false reject", "integer", "wrong", "1", "missed"],
        ["false accept", "integer", "correct", "1", "17"],
    ]


def test_the_summary_as_json_is_all_there_is_on_stdout(verify: Verify, tmp_path: Path) -> None:
    labelled(tmp_path / "a.jsonl")
    summary = json.loads(verify("a.jsonl", "--out", "v.jsonl", "--json").out)
    assert summary["file"] == "a.jsonl"
    assert (summary["rows"], summary["verdicts"], summary["correct"]) == (19, 18, 8)
    assert summary["outcomes"] == {"correct": 8, "wrong": 10, "bad_reference": 1}
    assert summary["labels"]["is_correct"] == {"correct": 6, "wrong": 1, "bad_reference": 1}
    assert (summary["labels"]["precision"], summary["labels"]["recall"]) == (6 / 7, 6 / 7)
    assert summary["rows_per_second"] == pytest.approx(19 / summary["seconds"])
    assert len(rows_in((tmp_path / "v.jsonl").read_text())) == 19


def test_an_empty_file_is_done_at_once_and_said_to_be_empty(verify: Verify, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", b"", b" ")
    done = verify("a.jsonl")
    assert (done.code, done.out) == (0, "")
    assert "warning: a.jsonl holds no rows" in done.err


# -- continuing ----------------------------------------------------------------------------------------------------


def slow_rows(folder: Path, count: int = 45) -> None:
    (folder / "slow_verifier.py").write_text(SLOW)
    rows = [{"id": n, "response": str(n % 3), "answer": "1", "correct": n % 3 == 1} for n in range(count)]
    write(folder / "a.jsonl", *rows[:20], b"bad", *rows[20:])


def wait_for_lines(path: Path, count: int) -> None:
    for _ in range(600):
        if path.is_file() and path.read_text().count("\n") >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} did not reach {count} lines")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_rows_and_the_same_command_ends_in_the_same_bytes(
    number: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    slow_rows(tmp_path)
    command = [*COMMAND, "a.jsonl", "--verifier", "slow_verifier:grade", "--workers", "2", "--out"]
    settings: dict[str, Any] = {"cwd": tmp_path, "env": environment, "text": True}
    process = subprocess.Popen([*command, "v.jsonl"], **settings, stderr=subprocess.PIPE)
    wait_for_lines(tmp_path / "v.jsonl", 5)
    os.kill(process.pid, number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == -number, talk
    assert "Traceback" not in talk
    assert talk.endswith("\n\nhint: the same command continues\n")
    begun = (tmp_path / "v.jsonl").read_text()
    done = len(rows_in(begun))
    assert 5 <= done < 46
    assert begun.endswith("\n")
    assert f"interrupted after row {done}\n" in talk

    (tmp_path / "v.jsonl").write_text(begun + '{"id": 44, "corr')
    again = subprocess.run([*command, "v.jsonl", "--json"], **settings, capture_output=True)
    assert again.returncode == 1, again.stderr
    assert f"continuing at row {done + 1}\n" in again.stderr
    whole = subprocess.run([*command, "whole.jsonl", "--json"], **settings, capture_output=True)
    assert whole.returncode == 1, whole.stderr
    assert (tmp_path / "v.jsonl").read_text().startswith(begun)
    assert without_seconds(tmp_path / "v.jsonl") == without_seconds(tmp_path / "whole.jsonl")
    summaries = [json.loads(run.stdout) for run in (again, whole)]
    for summary in summaries:
        assert summary.pop("seconds") > 0
        assert summary.pop("rows_per_second") > 0
    assert summaries[0] == summaries[1]


def test_what_is_finished_when_a_signal_comes_is_written_too(
    verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(_: Interrupts) -> None:
        time.sleep(1)  # the workers go on meanwhile
        raise Interrupted(signal.SIGTERM)

    slow_rows(tmp_path, 4)
    monkeypatch.setattr(Interrupts, "release", late)
    done = verify("a.jsonl", "--verifier", "slow_verifier:grade", "--timeout", "10", "--workers", "1")
    assert done.code == 143
    assert len(done.rows) == 5
    assert "interrupted after row 5\n\nhint: with `--out FILE` it could continue" in done.err


def test_a_finished_file_says_so_and_shows_its_summary_again(verify: Verify, tmp_path: Path) -> None:
    labelled(tmp_path / "a.jsonl")
    first = verify("a.jsonl", "--out", "v.jsonl", "--json")
    written = (tmp_path / "v.jsonl").read_bytes()
    again = verify("a.jsonl", "--out", "v.jsonl", "--json")
    assert (first.code, again.code) == (1, 1)
    assert "v.jsonl is complete: 19 rows; `--again` starts it over" in again.err
    differing = {"seconds": 0, "rows_per_second": 0}
    assert json.loads(again.out) | differing == json.loads(first.out) | differing
    assert json.loads(again.out)["rows_per_second"] is None
    assert (tmp_path / "v.jsonl").read_bytes() == written


def test_rows_that_were_added_are_graded_and_the_others_left(verify: Verify, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", RIGHT)
    verify("a.jsonl", "--out", "v.jsonl")
    first = (tmp_path / "v.jsonl").read_text()
    write(tmp_path / "a.jsonl", RIGHT, WRONG)
    done = verify("a.jsonl", "--out", "v.jsonl")
    assert done.code == 0
    assert "continuing at row 2" in done.err
    assert (tmp_path / "v.jsonl").read_text().startswith(first)
    assert [row["correct"] for row in rows_in((tmp_path / "v.jsonl").read_text())] == [True, False]


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [
        ([RIGHT | {"id": "other"}, WRONG], []),
        ([RIGHT | {"answer": "9"}, WRONG], []),
        ([WRONG, WRONG], []),
        ([RIGHT], []),
        ([RIGHT, WRONG], ["--verifier", "exact"]),
        ([RIGHT, {"response": "so 7", "answer": "7"}], []),
    ],
    ids=["id", "answer", "response", "fewer rows", "verifier", "extracted"],
)
def test_verdicts_on_something_else_are_left_alone_until_told_to_start_over(
    rows: list[dict[str, Any]], arguments: list[str], verify: Verify, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", RIGHT, WRONG)
    verify("a.jsonl", "--out", "v.jsonl")
    before = (tmp_path / "v.jsonl").read_bytes()
    write(tmp_path / "a.jsonl", *rows)
    done = verify("a.jsonl", "--out", "v.jsonl", *arguments)
    assert (done.code, done.out) == (4, "")
    assert "v.jsonl does not belong to this command" in done.err
    assert "hint: `--again` starts it over" in done.err
    assert (tmp_path / "v.jsonl").read_bytes() == before
    assert verify("a.jsonl", "--out", "v.jsonl", "--again", *arguments).code == 0
    assert len(rows_in((tmp_path / "v.jsonl").read_text())) == len(rows)


def test_two_processes_do_not_write_one_file(tmp_path: Path, environment: dict[str, str]) -> None:
    slow_rows(tmp_path, 400)
    command = [*COMMAND, "a.jsonl", "--verifier", "slow_verifier:grade", "--workers", "1", "--out", "v.jsonl"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    wait_for_lines(tmp_path / "v.jsonl", 1)
    other = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    process.kill()
    process.communicate(timeout=60)
    assert other.returncode == 4
    assert "error: v.jsonl is being written by another process" in other.stderr


# -- refusals ------------------------------------------------------------------------------------------------------

PAIR = ["--answer", "7", "--response", "7"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "error: nothing to verify"),
        (["a.jsonl", "b.jsonl"], "one file is verified at a time, not 2"),
        (["a.jsonl", *PAIR], "error: both a FILE and a pair"),
        (["--answer", "7"], "hint: add `--response TEXT`"),
        (["--response", "7"], "hint: add `--answer GOLD`"),
        (["a.jsonl", "--explain"], "hint: `rlsd verify --answer GOLD --response TEXT --explain`"),
        ([*PAIR, "--out", "v.jsonl"], "`--out` and `--again` need a FILE"),
        (["a.jsonl", "--again"], "`--again` starts the file of `--out` over, and there is none"),
        (["missing.jsonl"], "cannot read missing.jsonl: No such file or directory"),
        (["."], "cannot read .: it is a directory"),
        (["a.jsonl", "--out", "."], "cannot write .: Is a directory"),
        (["a.jsonl", "--out", "no/such/v.jsonl"], "cannot write no/such/v.jsonl: No such file"),
        (["a.jsonl", "--out", "./a.jsonl"], "error: `--out a.jsonl` is a.jsonl itself"),
        (["missing.jsonl", "--verifier", "numerik"], "hint: did you mean `numeric`?"),
        (["missing.jsonl", "--verifier", "codes"], "error: no verifier named `codes`\n\nhint: did you mean `code`?"),
        (["missing.jsonl", "verifier=numerik"], "hint: did you mean `numeric`?"),
        (["missing.jsonl", "--verifier", "no_such_module:grade"], "no module named `no_such_module`"),
        (["missing.jsonl", "--verifier", "json:loadz"], "did you mean `load`"),
        (["missing.jsonl", "--verifier", "broken_verifier:grade"], "ZeroDivisionError"),
        (["a.jsonl", "--timeout", "0"], "`verification.timeout_seconds` = 0.0 (command line): input should be greater"),
        (["a.jsonl", "--workers", "0"], "`verification.workers` = 0 (command line): input should be greater"),
        (["a.jsonl", "optim.lr=1"], "`optim.lr` (command line) changes nothing here"),
        (
            ["a.jsonl", "timeout_seconds=1"],
            "hint: did you mean `sandbox.timeout_seconds` or `verification.timeout_seconds`?",
        ),
        (["a.jsonl", "--expalin"], "--explain"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_with_a_way_out(
    arguments: list[str], words: str, verify: Verify, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", RIGHT)
    (tmp_path / "broken_verifier.py").write_text("1 / 0\n")
    done = verify(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "a.jsonl").read_text() == json.dumps(RIGHT) + "\n"
    assert not (tmp_path / "v.jsonl").exists()


def test_progress_asked_for_in_a_way_that_does_not_exist_is_refused(
    verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jsonl", RIGHT)
    monkeypatch.setenv("RLSD_PROGRESS", "bogus")
    done = verify("a.jsonl", "--out", "v.jsonl")
    assert (done.code, done.out) == (2, "")
    assert "RLSD_PROGRESS=bogus: expected auto, bar, lines or none" in done.err


# -- one pair ------------------------------------------------------------------------------------------------------


def test_a_pair_is_one_line_and_its_explanation_the_lines_below_it(verify: Verify) -> None:
    pair = ["--answer", r"\frac{1}{2}", "--response", r"so \boxed{0.5}"]
    line, *explanation = verify(*pair, "--explain").out.splitlines()
    assert verify(*pair).out.startswith("correct   extracted 0.5   `0.5` (boxed) equals the reference")
    assert line.endswith(" ms")
    titles = [each.split()[0] for each in explanation]
    assert titles == ["verifier", "reference", "extracted", "compared", "leniency", "limits"]
    assert explanation[0].split()[1:4] == ["math", "chosen", "by"]
    assert explanation[1].endswith(r"\frac{1}{2}   read as divide(1, 2)")
    assert explanation[2].endswith("0.5   read as 1/2")
    assert "last_number=True" in explanation[4]
    numeric = verify("--answer", "1/2", "--response", "0.5", "--verifier", "numeric", "--explain").out
    assert "numeric   asked for" in numeric
    nothing = verify("--answer", "Paris", "--response", "", "--explain").out
    assert "reference  Paris   not read: `Paris` is a word, not a formula" in nothing
    assert "extracted  nothing\n" in nothing


def test_a_pair_as_json_is_its_row_and_the_explanation_is_talk(verify: Verify) -> None:
    done = verify("--answer", "-5", "--response", "-5", "--json", "--explain")
    [row] = done.rows
    assert list(row) == KEYS
    assert (row["correct"], row["answer"], row["verifier"]) == (True, "-5", "math")
    assert "verifier   math" in done.err


@pytest.mark.parametrize(
    ("answer", "response", "code", "outcome"),
    [("7", "8", 0, "wrong"), ("7", "", 0, "no_answer"), ("", "7", 1, "bad_reference")],
)
def test_a_pair_that_reaches_no_verdict_exits_with_1(
    answer: str, response: str, code: int, outcome: str, verify: Verify
) -> None:
    done = verify("--answer", answer, "--response", response)
    assert done.code == code
    assert done.out.startswith(outcome)


def test_a_response_can_come_from_stdin_and_cannot_reach_the_terminal(rlsd: Any) -> None:
    command = [*COMMAND, "--verifier", "exact", "--answer", "7", "--response", "-", "--explain"]
    done = subprocess.run(command, input=b"\\boxed{\x1b[31m\xff\x007\n8}", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"wrong   extracted \\x1b[31m\\udcff\\x007\\n8   ")
    assert b"\x1b" not in done.stdout
    answer = rlsd("verify", "--answer", "é \ud7ff", "--response", "é", PYTHONIOENCODING="ascii")
    assert answer.returncode == 0, answer.stderr


# -- the process ---------------------------------------------------------------------------------------------------


def test_a_conversation_over_pipes_gets_each_verdict_before_the_next_row(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "slow_verifier.py").write_text(SLOW)
    command = [*COMMAND, "-", "--verifier", "slow_verifier:grade", "--workers", "1"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) as process:
        for number in range(4):
            process.stdin.write(json.dumps({"response": "1", "answer": number}) + "\n")
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            assert (row["id"], row["correct"]) == (number + 1, number == 1)
        out, err = process.communicate("bad", timeout=60)
    assert process.returncode == 1
    assert json.loads(out)["reason"].startswith("stdin:5: not JSON")
    assert "5 rows" not in out
    assert err.startswith("warning: stdin:5: not JSON")


def test_the_command_loads_no_heavy_library_even_where_a_worker_does(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    hard = {"response": r"\boxed{\sqrt{2+\sqrt{3}}}", "answer": r"\frac{\sqrt{6}+\sqrt{2}}{2}"}
    assert begin(Job(Submission(**hard), "math")).__class__ is Row, "this one should need a worker"
    write(tmp_path / "a.jsonl", RIGHT, hard)
    command = [sys.executable, "-c", LOADED, "verify", "a.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert [row["correct"] for row in rows_in(done.stdout)] == [True, True], done.stdout
    packages = {name.split(".")[0] for name in (tmp_path / "modules").read_text().split()}
    assert packages.isdisjoint({"torch", "transformers", "sympy", "numpy", "math_verify", "vllm"})


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / "a.jsonl", *[RIGHT] * 5000)
    with subprocess.Popen(
        [*COMMAND, "a.jsonl"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b'{"id": 1, ')
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr
        assert process.stderr.read() == b""


def on_a_terminal(command: list[str], stdout: int | None = None, **settings: Any) -> str:
    """What a command writes to the pseudo-terminal that its stderr is, and its stdout unless told otherwise."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs if stdout is None else stdout, stderr=theirs, **settings):
        os.close(theirs)
        written = bytearray()
        try:
            while block := os.read(ours, 1 << 16):
                written += block
        except OSError:  # Linux says EIO when the last writer has gone
            pass
    os.close(ours)
    return written.decode()


def test_a_terminal_shows_how_far_it_is_and_a_file_or_no_color_does_not(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    slow_rows(tmp_path, 30)
    command = [*COMMAND, "a.jsonl", "--verifier", "slow_verifier:grade", "--workers", "1"]
    shown = on_a_terminal([*command, "--out", "v.jsonl"], cwd=tmp_path, env=environment)
    assert "rows/s" in shown
    assert " correct  " in shown
    assert "\x1b[?25l" in shown
    assert "warning: a.jsonl:21: not JSON" in shown
    assert "Traceback" not in shown
    plain = on_a_terminal([*command, "--out", "w.jsonl"], cwd=tmp_path, env=environment | {"NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert "w.jsonl" not in plain
    labelled(tmp_path / "b.jsonl", missed="[bold]x")
    table = on_a_terminal([*COMMAND, "b.jsonl", "--out", "x.jsonl"], cwd=tmp_path, env=environment)
    assert "[bold]x" in table
    rows = on_a_terminal(command, cwd=tmp_path, env=environment)
    assert "\x1b[?25l" not in rows
    assert rows.count('{"id": ') == 31


def test_rows_go_where_stdout_goes_while_a_terminal_shows_how_far_it_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    slow_rows(tmp_path, 30)
    command = [*COMMAND, "a.jsonl", "--verifier", "slow_verifier:grade", "--workers", "1"]
    with (tmp_path / "v.jsonl").open("w") as file:
        shown = on_a_terminal(command, file.fileno(), cwd=tmp_path, env=environment)
    assert "\x1b[?25l" in shown
    assert '"id"' not in shown
    assert len(rows_in((tmp_path / "v.jsonl").read_text())) == 31


def test_what_a_row_holds_cannot_command_the_terminal(verify: Verify, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", RIGHT | {"verifier": "\x1b[2J\udfff"}, WRONG | {"id": "\x1b]0;x", "correct": True})
    done = verify("a.jsonl")
    assert done.code == 1
    assert "no verifier named `\\x1b[2J\\udfff`" in done.err
    assert "\\x1b]0;x" in done.err
    assert "\x1b" not in done.out + done.err


def test_a_stream_that_is_closed_is_no_fault_of_ours(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / "a.jsonl", RIGHT, WRONG)
    settings: dict[str, Any] = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    for redirection, code, words in (
        (">&-", 3, "error: stdout is closed\n"),
        ("<&-", 0, "a.jsonl "),
        ("2>&-", 0, ""),
    ):
        done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} a.jsonl {redirection}"], **settings)
        assert done.returncode == code, redirection
        assert done.stderr.startswith(words)
        assert done.stdout.count("\n") == (0 if redirection == ">&-" else 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_and_not_a_fault_of_ours(rlsd: Any, tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / "a.jsonl", RIGHT)
    done = rlsd("verify", "a.jsonl", "--out", "/dev/full")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: cannot write /dev/full: No space left on device\n\nhint: the same command")
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, "a.jsonl"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (3, "error: cannot write to stdout: No space left on device\n")


def test_verdicts_can_be_thrown_away_for_the_summary(rlsd: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", RIGHT)
    done = rlsd("verify", "a.jsonl", "--out", os.devnull, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["correct"] == 1
