"""`rlsd data prepare`: sources into clean problem files."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.commands.data.reading import reading_of, resolve_for, with_sandbox
from rlsd_cli.commands.interrupt import interruptible
from rlsd_cli.errors import EXIT_BUSY, EXIT_NO, RlsdError

if TYPE_CHECKING:
    from rlsd_cli.config.resolve import Resolved
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.cleaning.prepare import Lengths, Options
    from rlsd_cli.data.inputs import Input
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.data_checks.check_views import Reading

MAX_WARNINGS = 5
VIEW = ("model", "prompt.", "teacher.view", "teacher.template", "teacher.max_prompt_tokens", "rollout.max_new_tokens")
"""Keys that decide what a model reads, and how much room there is for it."""


def prepare(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... [PRESET] [KEY=VALUE]...",
            help="Files, folders of them, a hub name, names of `rlsd data list`; with a model, lengths are checked.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write; without it data/NAME.", metavar="DIR")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--map", help="A field of ours and its column, e.g. answer=gold.", metavar="F=C")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Evaluation problems to look for in train, besides the other splits.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of a hub data set.")] = None,
    revision: Annotated[str | None, typer.Option(help="The revision of a hub data set.")] = None,
    holdout: Annotated[float | None, typer.Option(help="Share of train that becomes test.jsonl, by hash.")] = None,
    shuffle: Annotated[int | None, typer.Option(help="Order train by a hash of content and this seed.")] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of 3-grams from which problems repeat.")] = 0.9,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Leave exact repeats in.")] = False,
    remove_overlap: Annotated[
        bool, typer.Option("--remove-overlap", help="Remove training problems that hold an evaluation problem.")
    ] = False,
    min_pass_rate: Annotated[float, typer.Option(help="Remove what a model solves less often.")] = 0.0,
    max_pass_rate: Annotated[float, typer.Option(help="Remove what a model solves more often.")] = 1.0,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not run the references through verifiers.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Replace the folder of another preparation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Make clean problem files of sources: read, deduplicate, compare with evaluation sets, account for every row."""
    from rlsd_cli.config.resolve import preset_names, split_arguments
    from rlsd_cli.data.cleaning.prepare import Options
    from rlsd_cli.data.inputs import find_inputs
    from rlsd_cli.data.sources import BENCHMARKS

    console.quiet = quiet
    named, _ = split_arguments(arguments)
    presets = {name for name in preset_names() if name not in BENCHMARKS}
    sources = [name for name in named if name not in presets and not name.endswith(".toml")]
    if not sources:
        hint = "`rlsd data prepare SOURCE`; `rlsd data list` shows what is built in"
        raise RlsdError("nothing to prepare", hint=hint)
    found = find_inputs([_with_options(source, split, revision) for source in sources], against or [])
    for path in found.skipped:
        console.talk(f"left alone: {path}, which is no problem file")
    options = Options(
        columns=_columns(columns or []),
        holdout=holdout,
        shuffle=shuffle,
        near=near,
        keep_duplicates=keep_duplicates,
        remove_overlap=remove_overlap,
        min_pass_rate=min_pass_rate,
        max_pass_rate=max_pass_rate,
    )
    _check_options(options, {given.split for given in found.inputs})
    folder = out or Path("data") / found.name
    resolved = resolve_for([argument for argument in arguments if argument not in sources])
    manifest, seconds = _prepare(found.inputs, options, folder, resolved, again=again)
    references = {} if no_check else _check_references(folder, manifest, resolved.config)
    _show(folder, manifest, references, seconds, as_json=as_json)
    if any(split["removed"].get("unreadable") for split in manifest["splits"].values()):
        raise typer.Exit(EXIT_NO)


def _prepare(
    inputs: "Sequence[Input]", options: "Options", folder: Path, resolved: "Resolved", *, again: bool
) -> tuple[dict[str, Any], float | None]:
    """The manifest of the folder, and how long it took to make; None where it was there already."""
    from rlsd_cli.config.schema import flatten
    from rlsd_cli.data.cleaning.folder import is_current, read_manifest
    from rlsd_cli.data.cleaning.prepare import prepare as run
    from rlsd_cli.data.cleaning.prepare import request

    reading, started = reading_of(resolved), time.perf_counter()
    values = flatten(resolved.config) if reading.tokenizer else {}
    wanted = request(inputs, options, {key: value for key, value in values.items() if key.startswith(VIEW)})
    if is_current(folder, wanted):
        console.talk(f"{folder} is up to date")
        return read_manifest(folder) or {}, None
    _check_folder(folder, [Path(given.source.text) for given in inputs if not given.source.name], again=again)
    measure = _measure(resolved.config, reading) if reading.tokenizer else None
    with (
        interruptible(lambda: "and nothing was written\n\nhint: the same command starts over"),
        console.Meter("rows read") as meter,
    ):
        manifest = run(inputs, options, folder, wanted, measure=measure, progress=meter.show)
    return manifest, time.perf_counter() - started


def _with_options(source: str, split: str | None, revision: str | None) -> str:
    """`--split` and `--revision` as they stand in a source's own text."""
    from rlsd_cli.data.sources import is_hub, parse_source

    given = [f"{key}={value}" for key, value in (("split", split), ("revision", revision)) if value is not None]
    if given and not is_hub(parse_source(source)):
        raise RlsdError(f"`{source}` is no data set of the hub: `--split` and `--revision` mean nothing for it")
    return ":".join([source, *given])


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    from rlsd_cli.data.row_fields import PROBLEM
    from rlsd_cli.errors import did_you_mean

    columns = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not equals or not column:
            raise RlsdError(f"`--map {pair}`: expected FIELD=COLUMN", hint="e.g. `--map answer=gold`")
        if field not in PROBLEM:
            hint = did_you_mean(field, PROBLEM) or f"fields: {', '.join(PROBLEM)}"
            raise RlsdError(f"`--map {pair}`: there is no field `{field}`", hint=hint)
        columns[field] = column
    return columns


def _check_options(options: "Options", splits: set[str | None]) -> None:
    low, high = options.min_pass_rate, options.max_pass_rate
    faults = (
        (options.holdout is not None and not 0 < options.holdout < 1, "`--holdout` is a share between 0 and 1"),
        (options.holdout is not None and "test" in splits, "`--holdout` would be a second `test` split"),
        (options.holdout is not None and "train" not in splits, "`--holdout` takes from `train`, and there is none"),
        (not 0 < options.near <= 1, "`--near` is a similarity above 0 and at most 1"),
        (not 0 <= low <= high <= 1, f"`--min-pass-rate` {low:g} and `--max-pass-rate` {high:g} leave nothing"),
    )
    for is_fault, message in faults:
        if is_fault:
            raise RlsdError(message)


def _check_folder(folder: Path, files: Sequence[Path], *, again: bool) -> None:
    """Whether a preparation may be put there: nothing of somebody else's is lost by it."""
    from rlsd_cli.data.cleaning.folder import MANIFEST, others_in

    if folder.resolve() == Path.cwd() or any(folder.resolve() in file.resolve().parents for file in files):
        raise RlsdError(f"{folder} is where the sources are, or the working directory", hint="name another `--out`")
    if not folder.exists():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not (folder / MANIFEST).is_file():
        raise RlsdError(f"{folder} is there and holds no prepared problems", hint="name another folder with `--out`")
    if others := others_in(folder):
        named = ", ".join(path.name for path in others[:3])
        hint = f"move {named} away, or name another folder with `--out`"
        raise RlsdError(f"{folder} holds what is not of a preparation: {named}", hint=hint, exit_code=EXIT_BUSY)
    if not again:
        hint = "`--again` replaces it, another `--out` leaves it as it is"
        raise RlsdError(f"{folder} holds another preparation, or was changed", hint=hint, exit_code=EXIT_BUSY)


def _measure(config: "Config", reading: "Reading") -> "Callable[[Problem], Lengths]":
    from rlsd_cli.data.cleaning.prepare import Lengths
    from rlsd_cli.data_checks.check_views import view_flags

    def measure(problem: "Problem") -> Lengths:
        flags, tokens = view_flags(problem, config, reading)
        fault = next((flag.detail for flag in flags if flag.reason in ("too_long", "prompt_skipped")), None)
        return Lengths(tokens.student if tokens else 0, tokens.teacher if tokens else None, fault)

    return measure


def _check_references(folder: Path, manifest: Mapping[str, Any], config: "Config") -> dict[str, dict[str, Any]]:
    """How many references of each file accept themselves."""
    from rlsd_cli.data.cleaning.folder import problem_files
    from rlsd_cli.data.sources import parse_source, read_source
    from rlsd_cli.data_checks.check import Checking
    from rlsd_cli.data_checks.check_report import Report
    from rlsd_cli.data_checks.check_views import Reading
    from rlsd_cli.grading.jobs import open_pool

    found = {}
    state = f"while references were checked; {folder} is written\n\nhint: the same command checks them again"
    with interruptible(lambda: state), open_pool(config) as pool:
        for name in problem_files(manifest):
            report = Report()
            rows = with_sandbox(read_source(parse_source(str(folder / name))), config)
            with console.Meter(f"rows of {name} checked") as meter:
                for checked in Checking(rows, config, pool, Reading(False)):
                    if checked:
                        report.add(checked)
                        meter.show(report.rows)
            found[name] = report.summary()
    return found


# -- what is said --------------------------------------------------------------------------------------------------


def _show(
    folder: Path,
    manifest: Mapping[str, Any],
    references: Mapping[str, Mapping[str, Any]],
    seconds: float | None,
    *,
    as_json: bool,
) -> None:
    from rlsd_cli.data.cleaning.folder import problem_files

    splits = manifest["splits"]
    rows = sum(split["rows"] for split in splits.values())
    rate = rows / seconds if seconds else None
    if as_json:
        summary = {"folder": str(folder), "splits": splits, "files": manifest["files"], "references": references}
        console.data_json(summary | {"seconds": seconds, "rows_per_second": rate})
    else:
        header = ("file", "problems", "rows read", "removed", "noted", "references that accept themselves")
        files = problem_files(manifest)
        console.table(header, [_line(folder, name, manifest, references) for name in files])
    for line in _talk(folder, manifest):
        console.talk(line)
    for name, found in references.items():
        if found["faultless"] < found["rows"]:
            bad = found["rows"] - found["faultless"]
            console.warning(f"{bad:,} problems of {folder / name} have a fault: `rlsd data check {folder / name}`")
    if seconds and rate:
        console.talk(f"{rows:,} rows in {seconds:.1f} s, {rate:,.0f} rows/s, checks not counted")


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


def _talk(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
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
            yield f"warning: {gone:,} of {splits['train']['rows']:,} rows went as overlap: do they share their wording?"
    elif "train" in splits:
        yield "no overlap was looked for: there are no evaluation problems (`--against FILE`, or `--holdout SHARE`)"


def _first_faults(folder: Path, split: str, total: int) -> Iterator[str]:
    """The first rows of a split or an evaluation set that cannot be read."""
    from rlsd_cli.data.cleaning.folder import REPORT

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
