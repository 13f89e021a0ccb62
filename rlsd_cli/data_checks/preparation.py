"""Sources into a folder of clean problem files, with every reference run through its verifier."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli import console
from rlsd_cli.config.resolve import Resolved, preset_names, split_arguments
from rlsd_cli.config.schema import Config, flatten
from rlsd_cli.data.cleaning.folder import MANIFEST, is_current, others_in, problem_files, read_manifest
from rlsd_cli.data.cleaning.prepare import Lengths, Options, prepare, request
from rlsd_cli.data.inputs import Input, find_inputs
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.row_fields import PROBLEM
from rlsd_cli.data.sources import BENCHMARKS, is_hub, parse_source, read_source
from rlsd_cli.data_checks.check import Checking
from rlsd_cli.data_checks.check_report import Report
from rlsd_cli.data_checks.check_views import Reading, view_flags
from rlsd_cli.data_checks.preparation_report import Prepared
from rlsd_cli.data_checks.reading import reading_of, resolve_for, sandboxed
from rlsd_cli.errors import EXIT_BUSY, RlsdError, did_you_mean
from rlsd_cli.grading.jobs import open_pool

__all__ = ["Options", "Order", "columns_of", "prepare_sources"]

VIEW = ("model", "prompt.", "teacher.view", "teacher.template", "teacher.max_prompt_tokens", "rollout.max_new_tokens")
"""Keys that decide what a model reads, and how much room there is for it."""


class Order(NamedTuple):
    """What `rlsd data prepare` is asked for, besides what is done to rows.

    arguments: sources, presets and `key=value`
    against: evaluation problems to look for, besides the other splits
    split, revision: of a data set of the hub
    out: the folder; None: `data/NAME`
    """

    arguments: Sequence[str]
    against: Sequence[str] = ()
    split: str | None = None
    revision: str | None = None
    out: Path | None = None


def prepare_sources(order: Order, options: Options, *, check: bool, again: bool) -> Prepared:
    """Prepare sources, unless their folder is up to date; with `check`, run the references through their verifiers.

    Raises:
        RlsdError: a fault of a source, an option or the folder, which `again` replaces if it holds a preparation.
    """
    named, _ = split_arguments(order.arguments)
    presets = {name for name in preset_names() if name not in BENCHMARKS}
    sources = [name for name in named if name not in presets and not name.endswith(".toml")]
    if not sources:
        hint = "`rlsd data prepare SOURCE`; `rlsd data list` shows what is built in"
        raise RlsdError("nothing to prepare", hint=hint)
    found = find_inputs([_with_options(source, order.split, order.revision) for source in sources], order.against)
    for path in found.skipped:
        console.talk(f"skipped: {path} is no problem file")
    _check_options(options, {given.split for given in found.inputs})
    folder = order.out or Path("data") / found.name
    resolved = resolve_for([argument for argument in order.arguments if argument not in sources])
    manifest, seconds = _prepare(found.inputs, options, folder, resolved, again=again)
    references = _check_references(folder, manifest, resolved.config) if check else {}
    return Prepared(folder, manifest, references, seconds)


def _prepare(
    inputs: Sequence[Input], options: Options, folder: Path, resolved: Resolved, *, again: bool
) -> tuple[dict[str, Any], float | None]:
    """The manifest of the folder, and how long it took to make; None where it was there already."""
    reading, started = reading_of(resolved), time.perf_counter()
    values = flatten(resolved.config) if reading.tokenizer else {}
    wanted = request(inputs, options, {key: value for key, value in values.items() if key.startswith(VIEW)})
    if is_current(folder, wanted):
        console.talk(f"{folder} is up to date")
        return read_manifest(folder) or {}, None
    _check_folder(folder, [Path(given.source.text) for given in inputs if not given.source.name], again=again)
    measure = _measure(resolved.config, reading) if reading.tokenizer else None
    with (
        console.interruptible(lambda: "and nothing was written\n\nhint: the same command starts over"),
        console.Meter("rows read") as meter,
    ):
        manifest = prepare(inputs, options, folder, wanted, measure=measure, progress=meter.show)
    return manifest, time.perf_counter() - started


def _with_options(source: str, split: str | None, revision: str | None) -> str:
    """`--split` and `--revision` as they stand in a source's own text."""
    given = [f"{key}={value}" for key, value in (("split", split), ("revision", revision)) if value is not None]
    if given and not is_hub(parse_source(source)):
        raise RlsdError(f"`{source}` is no data set of the hub: `--split` and `--revision` mean nothing for it")
    return ":".join([source, *given])


def columns_of(pairs: Sequence[str]) -> dict[str, str]:
    """Read FIELD=COLUMN pairs: the columns that hold our fields."""
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


def _check_options(options: Options, splits: set[str | None]) -> None:
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
    """Refuse a folder that holds anything but a preparation, or sources, or another preparation without `again`."""
    if folder.resolve() == Path.cwd() or any(folder.resolve() in file.resolve().parents for file in files):
        raise RlsdError(f"{folder} is where the sources are, or the working directory", hint="name another `--out`")
    if not folder.exists():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not (folder / MANIFEST).is_file():
        raise RlsdError(f"{folder} exists and holds no prepared problems", hint="name another folder with `--out`")
    if others := others_in(folder):
        named = ", ".join(path.name for path in others[:3])
        hint = f"move {named} away, or name another folder with `--out`"
        raise RlsdError(f"{folder} holds files that no preparation wrote: {named}", hint=hint, exit_code=EXIT_BUSY)
    if not again:
        hint = "`--again` replaces it, another `--out` leaves it as it is"
        raise RlsdError(f"{folder} holds another preparation, or was changed", hint=hint, exit_code=EXIT_BUSY)


def _measure(config: Config, reading: Reading) -> Callable[[Problem], Lengths]:
    def measure(problem: Problem) -> Lengths:
        flags, tokens = view_flags(problem, config, reading)
        fault = next((flag.detail for flag in flags if flag.reason in ("too_long", "prompt_skipped")), None)
        return Lengths(tokens.student if tokens else 0, tokens.teacher if tokens else None, fault)

    return measure


def _check_references(folder: Path, manifest: Mapping[str, Any], config: Config) -> dict[str, dict[str, Any]]:
    """Check the files of a preparation: for each the summary of its report."""
    found = {}
    state = f"while references were checked; {folder} is written\n\nhint: the same command checks them again"
    with console.interruptible(lambda: state), open_pool(config) as pool:
        for name in problem_files(manifest):
            report = Report()
            rows = sandboxed(read_source(parse_source(str(folder / name))), config)
            with console.Meter(f"rows of {name} checked") as meter:
                for checked in Checking(rows, config, pool, Reading(False)):
                    if checked:
                        report.add(checked)
                        meter.show(report.rows)
            found[name] = report.summary()
    return found
