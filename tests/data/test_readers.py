"""Rows out of files of every kind, and what is said of those that cannot be read."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.data import jsons, readers
from rlsd_cli.data.problems import problem_of
from rlsd_cli.data.readers import RawRow, read_rows
from rlsd_cli.errors import RlsdError

LOST = "; nothing behind it was read"
ROWS: list[dict[str, Any]] = [
    {"question": "caf\u00e9\n1 + 1?", "answer": "2", "choices": ["2", "3"]},
    {"question": '"quoted", with commas', "answer": "0.10"},
]


def fields_of(path: Path) -> list[dict[str, Any] | None]:
    return [row.fields for row in read_rows(path)]


def faults_of(path: Path) -> list[tuple[str, str]]:
    """Where in the file, and what; without the file's own path."""
    rows = [row for row in read_rows(path) if row.fault is not None]
    return [(row.where.removeprefix(str(path)), row.fault or "") for row in rows]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def as_csv(rows: Sequence[dict[str, Any]], delimiter: str = ",") -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        return '"' + text.replace('"', '""') + '"'

    names = [*rows[0]]
    return "\r\n".join(
        delimiter.join(map(cell, line)) for line in [names, *([row.get(n) for n in names] for row in rows)]
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".csv.gz", ".json.gz", ".parquet"])
def test_every_kind_of_file_holds_the_same_rows(tmp_path: Path, suffix: str) -> None:
    kind = Path("x" + suffix.removesuffix(".gz")).suffix
    texts = {
        ".jsonl": "\n".join(map(json.dumps, ROWS)),
        ".json": json.dumps(ROWS, indent=2),
        ".csv": as_csv(ROWS),
        ".tsv": as_csv(ROWS, "\t"),
    }
    path = tmp_path / f"rows{suffix}"
    if kind == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(ROWS), path)
    else:
        data = texts[kind].encode()
        write(path, gzip.compress(data) if suffix.endswith(".gz") else data)
    assert [problem_of(row or {}) for row in fields_of(path)] == [problem_of(row) for row in ROWS]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        " [ ] ",
        "",
    ],
)
def test_no_rows_are_no_rows(tmp_path: Path, text: str) -> None:
    assert fields_of(write(tmp_path / "rows.json", text)) == []


def test_a_json_file_may_hold_lines_or_an_object_around_the_rows_or_one_row(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, ROWS))
    assert fields_of(write(tmp_path / "lines.json", lines)) == ROWS
    inside = {"version": 1, "tags": ["a"], "data": ROWS}
    assert fields_of(write(tmp_path / "inside.json", json.dumps(inside, indent=1))) == ROWS
    assert [row.where for row in read_rows(tmp_path / "inside.json")] == [
        f"{tmp_path / 'inside.json'}: data[{index}]" for index in range(2)
    ]
    assert fields_of(write(tmp_path / "one.json", json.dumps(ROWS[0], indent=1))) == ROWS[:1]
    two = {"train": ROWS, "test": ROWS}
    assert faults_of(write(tmp_path / "two.json", json.dumps(two))) == [
        ("", "expected an array of objects, found several arrays of objects: train, test")
    ]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_an_array_reads_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(readers, "BLOCK", block)
    rows = [{"question": f'caf\u00e9 \\ " ] , {number}', "n": number} for number in range(20)]
    path = write(tmp_path / "rows.json", json.dumps(rows, indent=3, ensure_ascii=False))
    assert fields_of(path) == rows
    assert [row.where for row in read_rows(path)][:3] == [f"{path}:{line}" for line in (2, 6, 10)]


def test_behind_an_item_that_is_not_json_an_array_ends_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.json", '[{"a": 1},\n 3,\n {"a": 2},\n {"a" 3},\n {"a": 4}]')
    assert fields_of(path) == [{"a": 1}, None, {"a": 2}, None]
    assert faults_of(path) == [
        (":2", "item 1: expected an object, found a number"),
        (":4", f"item 3 is not JSON: Expecting ':' delimiter at line 4, character 6 of the item{LOST}"),
    ]
    for cut, words in (("[", "is not JSON"), ('[{"a": 1}', "the file ends"), ('[{"a": 1} {', "found `{`")):
        assert words in faults_of(write(path, cut))[-1][1]
    assert faults_of(write(path, '[{"a": 1},]'))[0][1].startswith("item 1 is not JSON")


def test_behind_the_end_of_an_array_nothing_is_dropped_in_silence(tmp_path: Path) -> None:
    for text, where in (('[{"a": 1}]\n[{"a": 2}]', ":2"), ('[] {"a": 1}', ":1"), ('[{"a": 1}]]', ":1")):
        assert faults_of(write(tmp_path / "rows.json", text)) == [
            (where, "there is more behind the end of the array, which was not read")
        ]
    assert fields_of(write(tmp_path / "rows.json", '[{"a": 1}] \n ')) == [{"a": 1}]


def test_an_array_may_be_one_long_line_and_a_number_may_lie_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK", 4)
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 64)
    rows = [{"question": f"q{number}", "x": None} for number in range(9)]
    assert fields_of(write(tmp_path / "rows.json", json.dumps(rows))) == rows
    assert fields_of(write(tmp_path / "rows.json", '[1234567, {"a": NaN}, 12e3, {"a": 2}]'))[1::2] != [None, None]
    assert fields_of(tmp_path / "rows.json")[3] == {"a": 2}


def test_lines_in_a_json_file_are_judged_one_by_one_and_a_problem_is_not_its_tests(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.json", '{"a": \n{"a": 2}\n{"a": 3}\n')
    assert fields_of(path) == [None, {"a": 2}, {"a": 3}]
    one = {"question": "q", "tests": [{"input": "1", "output": "2"}]}
    assert fields_of(write(path, json.dumps(one, indent=1))) == [one]


def test_a_line_is_judged_by_itself(tmp_path: Path) -> None:
    good, latin = b'{"a": 1}', '{"a": "caf\u00e9"}'.encode("latin-1")
    bom = b"\xef\xbb\xbf"
    path = write(tmp_path / "rows.jsonl", b"\n".join([bom + good, b"", good[:-1], latin, b"[1]", b'{"a": NaN}', good]))
    rows = [*read_rows(path)]
    assert [row.fields for row in rows] == [{"a": 1}, None, None, None, None, {"a": 1}]
    assert rows[0].note == "starts with a byte order mark, which is left out"
    assert faults_of(path) == [
        (":3", "not JSON: Expecting ',' delimiter at column 8"),
        (":4", "not UTF-8 text: invalid continuation byte at byte 11"),
        (":5", "expected an object, found a list"),
        (":6", "not JSON that can be read: NaN is not JSON"),
    ]


def test_a_line_that_would_fill_the_memory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (readers, jsons):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 16)
    path = write(tmp_path / "rows.jsonl", b'{"a": 1}\n' + b"x" * 100 + b'\n{"a": 2}\n' + b"y" * 40)
    assert fields_of(path) == [{"a": 1}, None, {"a": 2}, None]
    assert [where for where, _ in faults_of(path)] == [":2", ":4"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_unicode_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding.endswith("be") else b""
    path = write(tmp_path / "rows.jsonl", mark + '{"a": 1}'.encode(encoding))
    ((where, fault),) = faults_of(path)
    assert where == ":1"
    assert "text, not UTF-8: `iconv -f UTF-" in fault


def test_a_table_names_the_line_and_the_column(tmp_path: Path) -> None:
    good = b'question,answer\r\n"two\nlines",1\r\n\r\n'
    bad = b'b,2,3\r\nc\r\n"caf\xe9",4\r\nd,\r\n"e"x,5\r\nf,6\r\n"never closed,7\r\nmore'
    path = write(tmp_path / "rows.csv", good + bad)
    assert [row for row in fields_of(path) if row] == [
        {"question": "two\nlines", "answer": "1"},
        {"question": "d", "answer": None},
        {"question": "f", "answer": "6"},
    ]
    assert faults_of(path) == [
        (":5", "3 cells under a header of 2"),
        (":6", "1 cells under a header of 2"),
        (":7", "field `question` is not UTF-8 text"),
        (":9", "not CSV: ',' expected after '\"'"),
        (":11", "not CSV: unexpected end of data; a quote is not closed, and nothing behind it was read"),
    ]
    assert faults_of(write(path, "a,b,a\n1,2,3\n")) == [(":1", "the header names column `a` twice")]


def test_good_rows_before_the_damage_of_a_compressed_file_are_kept(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f'{{"a": {number * 7919}}}\n' for number in range(5000)).encode())
    path = write(tmp_path / "rows.jsonl.gz", packed[: len(packed) // 2])
    rows = [*read_rows(path)]
    assert len(rows) > 1000
    assert all(row.fields is not None for row in rows[:-1])
    assert rows[-1].where == str(path)
    assert f"damaged behind {len(rows) - 1}: " in (rows[-1].fault or "")


def test_a_truncated_parquet_file_is_a_row_with_a_fault(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(arrow.Table.from_pylist(ROWS), path)
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:10], b"no table", b""):
        ((where, fault),) = faults_of(write(path, damaged))
        assert where == ": row 0"
        assert fault.startswith("no Parquet file, or a damaged one: ")


def test_a_file_that_cannot_be_opened_and_one_of_another_kind_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RlsdError, match="No such file"):
        [*read_rows(tmp_path / "missing.jsonl")]
    with pytest.raises(RlsdError, match=r"it is none of \.jsonl, \.json, \.csv, \.tsv, \.parquet, \.jsonl\.gz"):
        [*read_rows(write(tmp_path / "rows.txt", "{}"))]


def test_reading_is_lazy(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "rows.jsonl", '{"a": 1}\n' * 3))
    assert next(rows) == RawRow(f"{tmp_path / 'rows.jsonl'}:1", {"a": 1})
