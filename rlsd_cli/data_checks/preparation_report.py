"""The summary of a preparation: a line for each file, and sentences."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.data.cleaning.folder import REPORT, problem_files

MAX_WARNINGS = 5
HEADER = ("file", "problems", "rows read", "removed", "noted", "references that accept themselves")


class Prepared(NamedTuple):
    """A folder of problem files.

    manifest: what was done, see `data.cleaning.prepare`
    references: what the check of each file came to; empty where none was checked
    seconds: how long it took; None for a folder that was there already
    """

    folder: Path
    manifest: Mapping[str, Any]
    references: Mapping[str, Mapping[str, Any]]
    seconds: float | None

    @property
    def is_complete(self) -> bool:
        """True where every row could be read."""
        return not any(split["removed"].get("unreadable") for split in self.manifest["splits"].values())

    @property
    def rows(self) -> int:
        return sum(split["rows"] for split in self.manifest["splits"].values())

    @property
    def rows_per_second(self) -> float | None:
        return self.rows / self.seconds if self.seconds else None

    def as_json(self) -> dict[str, Any]:
        files = {"splits": self.manifest["splits"], "files": self.manifest["files"]}
        rate = {"seconds": self.seconds, "rows_per_second": self.rows_per_second}
        return {"folder": str(self.folder), **files, "references": self.references, **rate}

    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        files = problem_files(self.manifest)
        return HEADER, [_line(self.folder, name, self.manifest, self.references) for name in files]

    def words(self) -> Iterator[str]:
        """The summary in sentences."""
        yield from _words(self.folder, self.manifest)
        for name, found in self.references.items():
            if found["faultless"] < found["rows"]:
                bad, file = found["rows"] - found["faultless"], self.folder / name
                yield f"warning: {bad:,} problems of {file} have a fault: `rlsd data check {file}`"
        if self.seconds and (rate := self.rows_per_second):
            yield f"{self.rows:,} rows in {self.seconds:.1f} s, {rate:,.0f} rows/s, checks not counted"


def _line(
    folder: Path, name: str, manifest: Mapping[str, Any], references: Mapping[str, Mapping[str, Any]]
) -> Sequence[object]:
    split, found = manifest["splits"].get(name.removesuffix(".jsonl")), references.get(name)
    rate: float | None = found["self_accepting_rate"] if found else None
    read = ("-", "-", "-") if split is None else (split["rows"], _counts(split["removed"]), _counts(split["noted"]))
    own = "-" if found is None or rate is None else f"{found['self_accepting']} ({100 * rate:.2f} %)"
    return folder / name, manifest["files"][name]["lines"], *read, own


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in counts.items()) or "0"


def _words(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    splits, evaluation = manifest["splits"], manifest["evaluation_problems"]
    for suite, account in manifest["against"].items():
        if unreadable := account["noted"].get("unreadable", 0):
            yield from _first_faults(folder, suite, unreadable)
    for name, split in splits.items():
        if unreadable := split["removed"].get("unreadable", 0):
            yield from _first_faults(folder, name, unreadable)
        options = manifest["request"]["options"]
        if split["unrated"] and (options["min_pass_rate"], options["max_pass_rate"]) != (0.0, 1.0):
            yield f"{name}: {split['unrated']:,} problems have no pass rate, and stay"
        if split["noted"].get("duplicate_id"):
            shared = split["noted"]["duplicate_id"]
            yield f"{name}: {shared} problems had the id of another; all have ids of their own now"
        if columns := split["other_columns"]:
            listed = ", ".join(f"`{column}` ({number:,} rows)" for column, number in columns.items())
            yield f"{name}: columns that are no fields of a problem are in `meta`: {listed}"
        for view, tokens in split.get("tokens", {}).items():
            spread = ", ".join(f"{word} {tokens[word]:,}" for word in ("median", "p99", "max"))
            yield f"{name}: tokens of the {view}'s view: {spread}"
    if "train" in splits and evaluation:
        overlaps, number = splits["train"]["overlaps"], sum(evaluation.values())
        kinds = ", ".join(f"{overlaps.get(kind, 0):,} {kind}" for kind in ("exact", "numbers", "near"))
        listed = f", listed in {folder / 'overlap.tsv'}" if overlaps else ""
        yield f"overlap of train with {number:,} evaluation problems, in pairs: {kinds}{listed}"
        if (gone := splits["train"]["removed"].get("overlap", 0)) > splits["train"]["rows"] / 2:
            yield f"warning: {gone:,} of {splits['train']['rows']:,} rows overlap: do they share their wording?"
    elif "train" in splits:
        yield "no overlap was looked for: there are no evaluation problems (`--against FILE`, or `--holdout SHARE`)"


def _first_faults(folder: Path, split: str, total: int) -> Iterator[str]:
    """The first rows of a split or an evaluation set that cannot be read."""
    shown, report = 0, folder / REPORT
    with report.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if (row["split"], row["reason"]) == (split, "unreadable"):
                yield f"warning: {row['where']}: {row['detail']}"
                shown += 1
                if shown == MAX_WARNINGS:
                    break
    if total > shown:
        yield f"warning: ... and {total - shown} more rows that cannot be read, all in {report}"
