"""`rlsd data show`: one problem as the student, the teacher and the verifier read it."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_NO


def show(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="Problems: a file, a task or a benchmark.", show_default=False)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID] [PRESET|FILE] [KEY=VALUE]...",
            help="An id, the beginning of one, or the number of a row; else the first row.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show one problem: its fields, both views as the model reads them, and what its verifier makes of it."""
    from rlsd_cli.data_checks.shown import show_problem

    shown = show_problem(source, arguments or [])
    if shown.record is None:
        if as_json:
            console.data_json({"where": shown.where, "fault": shown.fault})
        else:
            console.data(console.printable(f"{shown.where}: {shown.fault}"))
        raise typer.Exit(EXIT_NO)
    if as_json:
        console.data_json(shown.as_json())
    else:
        for line in _lines(shown.record):
            console.data(line)


def _lines(record: dict[str, Any]) -> Iterator[str]:
    """The record for people: short values beside their names, long ones below them."""
    yield console.printable(f"{record['where']}   {record['id']}")
    for title, values in (("fields", record["fields"]), ("also in the row", record["rest"])):
        if values:
            yield from ("", title)
            for name, value in values.items():
                yield from _entry(name, value)
    for view in ("student", "teacher"):
        text, tokens, fault = record[view].values()
        yield from ("", f"what the {view} reads" + (f", {tokens:,} tokens" if tokens is not None else ""))
        yield from _indented(text if fault is None else fault)
    yield from ("", "verifier")
    verifier = record["verifier"]
    if "steps" not in verifier:
        yield from _entry("name", verifier["name"])
        yield from _entry("tried", "nothing was submitted to it")
    for step, words in verifier.get("steps", {}).items():
        yield from _entry("name" if step == "verifier" else step, words)
    if "steps" in verifier:
        yield from _entry("accepts itself", f"{_yes(verifier['accepts_itself'])}   {verifier['reason']}")
        for each in verifier["tried"]:
            yield from _entry("rejects", f"{_yes(each['outcome'] != 'correct')}   {each['answer']}   {each['reason']}")
    if record["flags"]:
        yield from ("", "check says")
        for flag in record["flags"]:
            yield from _entry(flag["reason"], f"{flag['kind']}   {flag['detail']}", width=20)


def _yes(value: bool | None) -> str:
    return "not tried" if value is None else "yes" if value else "no"


def _entry(name: str, value: Any, width: int = 16) -> Iterator[str]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if "\n" in text.strip():
        yield f"  {console.printable(name)}"
        yield from _indented(text, 4)
    else:
        yield f"  {console.printable(name):<{width - 2}}  {console.printable(text)}"


def _indented(text: str, by: int = 2) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"{' ' * by}{console.printable(line)}".rstrip()
