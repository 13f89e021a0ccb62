"""The rows of a file, one at a time: JSONL, JSON, CSV, TSV and Parquet; all but the last also compressed as `.gz`.

A row that cannot be read is a row with a fault, and reading goes on behind it where that is possible. Memory does not
grow with the file, except for a `.json` file whose rows lie inside an object.
"""

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from rlsd_cli.data.jsons import LENIENT, MAX_LINE_BYTES, decode_object, kind_of
from rlsd_cli.errors import EXIT_MACHINE, RlsdError

BLOCK = 2**18
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)
csv.field_size_limit(MAX_LINE_BYTES)


class RawRow(NamedTuple):
    """A row as it stands in the file, and where: `train.jsonl:17`, `rows.json: data[3]`, `t.parquet: row 5`.

    Without `fields` it could not be read, and `fault` says why. `note` is what was odd about a row that could.
    """

    where: str
    fields: dict[str, Any] | None
    fault: str | None = None
    note: str | None = None


def read_rows(path: Path) -> Iterator[RawRow]:
    """The rows of a file, by its suffix.

    Raises:
        RlsdError: the file cannot be opened, or its suffix is none of `SUFFIXES`.
    """
    if path.suffix == PARQUET:
        yield from _parquet(path)
        return
    read = TEXTS.get(suffix_of(path.name))
    if read is None:
        known = ", ".join([*SUFFIXES, *(f"{suffix}.gz" for suffix in TEXTS)])
        raise RlsdError(f"cannot read `{path}`: it is none of {known}", hint="one object with `question` a line")
    last = "its start"
    try:
        with _open(path) as file:
            head = file.read(4)
            if utf := next((name for name, mark in UTF_MARKS.items() if head.startswith(mark)), None):
                yield RawRow(f"{path}:1", None, f"{utf} text, not UTF-8: `iconv -f {utf} -t UTF-8` converts it")
                return
            file.seek(0)
            for row in read(file, path):
                yield row
                last = row.where.removeprefix(str(path)).strip(": ")
    except DAMAGED as error:
        yield RawRow(str(path), None, f"no gzip file, or one that is damaged behind {last}: {error}")
    except OSError as error:
        raise RlsdError(f"cannot read {path}: {error.strerror or error}") from error


def suffix_of(name: str) -> str:
    """What kind of file a name says it is: its suffix, less a `.gz`."""
    return Path(name.removesuffix(".gz")).suffix


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


UTF_MARKS = {"UTF-32": b"\xff\xfe\x00\x00", "UTF-16": b"\xff\xfe", "UTF-16BE": b"\xfe\xff"}


# -- lines of JSON -------------------------------------------------------------------------------------------------


def _jsonl(file: IO[bytes], path: Path) -> Iterator[RawRow]:
    for number, line in enumerate(_lines(file), start=1):
        if line is None or line.strip():
            yield _json_row(line and line.rstrip(b"\r\n"), f"{path}:{number}")


def _json_row(line: bytes | None, where: str) -> RawRow:
    note = "starts with a byte order mark, which is left out" if line and line.startswith(b"\xef\xbb\xbf") else None
    try:
        return RawRow(where, decode_object(line), note=note)
    except ValueError as error:
        return RawRow(where, None, str(error))


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    r"""Lines, split at `\n` only; None for one longer than `MAX_LINE_BYTES`."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield None


# -- JSON documents ------------------------------------------------------------------------------------------------


def _json(file: IO[bytes], path: Path) -> Iterator[RawRow]:
    """An array of objects; lines of JSON; or one object that holds an array of objects."""
    head = file.read(BLOCK).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    if head.startswith(b"["):
        yield from _array(file, path)
        return
    filled = [line for line in islice(_lines(file), 100) if line is None or line.strip()]
    file.seek(0)
    if len(filled) > 1 and all(line is None or line.lstrip().startswith(b"{") for line in filled[:2]):
        yield from _jsonl(file, path)
    elif filled:
        yield from _inside_object(file, path)


def _inside_object(file: IO[bytes], path: Path) -> Iterator[RawRow]:
    try:
        whole = LENIENT.decode(file.read().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        yield RawRow(f"{path}:{error.lineno}", None, f"not JSON: {error.msg} at column {error.colno}")
        return
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        yield RawRow(str(path), None, f"not JSON that can be read: {error}")
        return
    lists = {key: value for key, value in whole.items() if isinstance(value, list)} if isinstance(whole, dict) else {}
    rows = {key: value for key, value in lists.items() if value and all(isinstance(row, dict) for row in value)}
    if len(rows) == 1 and "question" not in whole:
        ((key, items),) = rows.items()
        yield from (RawRow(f"{path}: {key}[{index}]", item) for index, item in enumerate(items))
    elif isinstance(whole, dict) and (not rows or "question" in whole):
        yield RawRow(f"{path}:1", whole)
    else:
        found = f"several arrays of objects: {', '.join(rows)}" if rows else kind_of(whole)
        yield RawRow(str(path), None, f"expected an array of objects, found {found}")


def _array(file: IO[bytes], path: Path) -> Iterator[RawRow]:
    """The items of an array. Behind one that is not JSON nothing can be found again."""
    text, index = _Text(file), 0
    try:
        text.take_mark()
        while (mark := text.peek()) != "]" or index:
            where = f"{path}:{text.line}"
            try:
                item = text.take_item()
            except json.JSONDecodeError as error:
                at = f"line {text.line + error.lineno - 1}, character {error.pos + 1} of the item"
                yield RawRow(where, None, f"item {index} is not JSON: {error.msg} at {at}; nothing behind it was read")
                return
            fault = None if isinstance(item, dict) else f"item {index}: expected an object, found {kind_of(item)}"
            yield RawRow(where, item if fault is None else None, fault)
            if (mark := text.take_mark()) == "]":
                break
            if mark != ",":
                found = f"found `{mark}`" if mark else "the file ends"
                yield RawRow(f"{path}:{text.line}", None, f"expected `,` or `]` behind item {index}, {found}")
                return
            index += 1
        else:
            text.take_mark()
        if text.peek():
            yield RawRow(f"{path}:{text.line}", None, "there is more behind the end of the array, which was not read")
    except UnicodeDecodeError as error:
        yield RawRow(f"{path}:{text.line}", None, f"not UTF-8 text from about here on: {error.reason}")
    except (ValueError, RecursionError) as error:
        yield RawRow(f"{path}:{text.line}", None, f"not JSON that can be read: {error}; nothing behind it was read")


class _Text:
    """The text of a file with the place that has been read up to; `line` is its number. Only what is ahead is kept."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = io.TextIOWrapper(file, encoding="utf-8-sig")
        self._buffer = ""
        self._place = 0
        self.line = 1

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while not (match := _FILLED.search(self._buffer, self._place)):
            self._move(len(self._buffer))
            if not self._read():
                return ""
        self._move(match.start())
        return match[0]

    def take_mark(self) -> str:
        mark = self.peek()
        self._move(self._place + len(mark))
        return mark

    def take_item(self) -> Any:
        """The JSON value that begins here. Raises JSONDecodeError, with a place relative to here."""
        self.peek()
        while True:
            try:
                item, end = LENIENT.raw_decode(self._buffer, self._place)
            except json.JSONDecodeError as error:
                ahead, at = self._buffer[self._place :], error.pos - self._place
                if len(ahead) > MAX_LINE_BYTES or not self._read():
                    raise json.JSONDecodeError(error.msg, ahead, at) from None
            else:
                if end == len(self._buffer) and not isinstance(item, dict | list | str) and self._read():
                    continue  # a number may go on in the next block
                self._move(end)
                return item

    def _move(self, place: int) -> None:
        self.line += self._buffer.count("\n", self._place, place)
        self._place = place

    def _read(self) -> bool:
        """More text behind what is there, at least as much again; whether there was any."""
        ahead = self._buffer[self._place :]
        block = self._file.read(max(BLOCK, len(ahead)))
        self._buffer, self._place = ahead + block, 0
        return bool(block)


_FILLED = re.compile(r"\S")


# -- tables --------------------------------------------------------------------------------------------------------


def _csv(file: IO[bytes], path: Path) -> Iterator[RawRow]:
    return _table(file, path, ",")


def _tsv(file: IO[bytes], path: Path) -> Iterator[RawRow]:
    return _table(file, path, "\t")


def _table(file: IO[bytes], path: Path, delimiter: str) -> Iterator[RawRow]:
    """Rows under a header, all text. An empty cell is absent."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begun = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lost = "; a quote is not closed, and nothing behind it was read" if "end of data" in str(error) else ""
            yield RawRow(f"{path}:{begun}", None, f"not {path.suffix[1:].upper()}: {error}{lost}")
            continue
        if not any(cells):
            continue
        if header is None:
            header = [name.strip() for name in cells]
            if len(set(header)) < len(header):
                twice = next(name for name in header if header.count(name) > 1)
                yield RawRow(f"{path}:{begun}", None, f"the header names column `{twice}` twice")
                return
            continue
        yield _table_row(header, cells, f"{path}:{begun}")


def _table_row(header: list[str], cells: list[str], where: str) -> RawRow:
    if len(cells) != len(header):
        return RawRow(where, None, f"{len(cells)} cells under a header of {len(header)}")
    for name, cell in zip(header, cells, strict=True):
        if _ESCAPED.search(cell):
            return RawRow(where, None, f"field `{name}` is not UTF-8 text")
    return RawRow(where, {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=True)})


_ESCAPED = re.compile("[\udc80-\udcff]")


def _parquet(path: Path) -> Iterator[RawRow]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        hint = "`pip install 'rlsd[data]'`"
        raise RlsdError(f"{path}: Parquet files need `pyarrow`", hint=hint, exit_code=EXIT_MACHINE) from error
    if not path.is_file():
        raise RlsdError(f"cannot read {path}: no such file")
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for fields in batch.to_pylist():
                    yield RawRow(f"{path}: row {number}", {name: _known(value) for name, value in fields.items()})
                    number += 1
    except pyarrow.ArrowInvalid as error:
        yield RawRow(f"{path}: row {number}", None, f"no Parquet file, or a damaged one: {str(error).split('. ')[0]}")
    except OSError as error:
        yield RawRow(f"{path}: row {number}", None, f"cannot be read: {error}")


def _known(value: Any) -> Any:
    """A value of a data frame: there a NaN stands for none."""
    return None if isinstance(value, float) and math.isnan(value) else value


PARQUET = ".parquet"
TEXTS: Mapping[str, Callable[[IO[bytes], Path], Iterator[RawRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
}
SUFFIXES = (*TEXTS, PARQUET)
