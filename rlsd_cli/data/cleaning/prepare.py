"""Sources into files of problems that are clean, with an account of every row that was left out.

1. read           the rows of a split stream into a spool; what cannot be read, or does not fit, goes
2. repeats        of one question the first row stays; a question whose references differ loses all its rows, for one
                  of them is wrong
3. contamination  training problems that hold an evaluation problem are listed, and go if that is asked for
4. near ones      of nearly one question, with the same numbers, signs and reference, the first of those left stays
5. write          what stays, in its order, to the file of its split; the manifest last

An evaluation split keeps every row that can be read: without it its scores would be those of another set. What would
have gone is noted. Equal sources and options give equal bytes, wherever and whenever.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np

from rlsd_cli import __version__
from rlsd_cli.data.cleaning.contamination import Target
from rlsd_cli.data.cleaning.fates import (
    CONTAMINATED,
    Fates,
    find_contamination,
    groups,
    held_out_targets,
    mark_near,
    mark_repeats,
)
from rlsd_cli.data.cleaning.folder import OVERLAP, REPORT, file_facts, staged, write_manifest
from rlsd_cli.data.cleaning.spool import Spool, question_of
from rlsd_cli.data.inputs import TEST, TRAIN, Input, describe
from rlsd_cli.data.jsons import json_line
from rlsd_cli.data.lengths import quantiles
from rlsd_cli.data.problems import Found, Problem, asked, is_held_out, short_hash, to_row
from rlsd_cli.data.sources import read_source
from rlsd_cli.errors import RlsdError

OVERLAP_COLUMNS = ("where", "suite", "id", "kind", "share", "problem", "held")


class Options(NamedTuple):
    """What is done to the rows; the manifest repeats it."""

    columns: Mapping[str, str] = MappingProxyType({})
    holdout: float | None = None
    shuffle: int | None = None
    near: float = 0.9
    keep_duplicates: bool = False
    remove_overlap: bool = False
    min_pass_rate: float = 0.0
    max_pass_rate: float = 1.0


class Lengths(NamedTuple):
    """Tokens of the student's view and of the teacher's, if there is one, and why they do not fit, if they do not."""

    student: int
    teacher: int | None
    fault: str | None = None


class Work(NamedTuple):
    """What all splits share: where they write, and the evaluation problems, to which a split may add what it holds out.

    `measure` is None where no model is known; `progress` is told of rows as they are read.
    """

    options: Options
    targets: list[Target]
    folder: Path
    report: IO[bytes]
    overlaps: IO[bytes]
    measure: Callable[[Problem], Lengths] | None
    progress: Callable[[int], None]


class Account:
    """What is known of a split or an evaluation set: a line in the report for each finding about a row, and counts."""

    def __init__(self, split: str, report: IO[bytes]) -> None:
        self.split = split
        self.rows = 0
        self.unrated = 0
        self.removed: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.overlaps: Counter[str] = Counter()
        self.other_columns: Counter[str] = Counter()
        self.tokens: dict[str, Counter[int]] = {"student": Counter(), "teacher": Counter()}
        self._report = report

    def say(self, where: str, reason: str, detail: str, *, removed: bool) -> None:
        (self.removed if removed else self.noted)[reason] += 1
        line = {"split": self.split, "where": where, "reason": reason, "removed": removed, "detail": detail}
        self._report.write(json_line(line))

    def summary(self) -> dict[str, Any]:
        """The counts; `unrated` are the problems that have no pass rate."""
        names = ("removed", "noted", "overlaps", "other_columns")
        counts = {name: dict(sorted(getattr(self, name).items())) for name in names}
        tokens = {view: quantiles(lengths) for view, lengths in self.tokens.items() if lengths}
        return {"rows": self.rows, "unrated": self.unrated, **counts, **({"tokens": tokens} if tokens else {})}


# -- the whole -----------------------------------------------------------------------------------------------------


def request(inputs: Sequence[Input], options: Options, view: Mapping[str, Any]) -> dict[str, Any]:
    """What a preparation is a function of: versions, sources with their content, options, and what lengths are of."""
    return {
        "rlsd": __version__,
        "rensa": version("rensa"),
        "sources": [describe(given) for given in inputs],
        "options": options._asdict() | {"columns": dict(options.columns)},
        "view": dict(view),
    }


def prepare(
    inputs: Sequence[Input],
    options: Options,
    folder: Path,
    wanted: Mapping[str, Any],
    *,
    measure: Callable[[Problem], Lengths] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the files of every split, `report.jsonl`, `overlap.tsv` and `manifest.json`, and return the manifest.

    The folder appears, or is replaced, when all is done.

    Raises:
        RlsdError: a source cannot be opened, a split or an evaluation set would hold no problem, or the disk is full.
    """
    splits: dict[str, list[Input]] = {}
    for given in inputs:
        if given.split:
            splits.setdefault(given.split, []).append(given)
    with staged(folder.resolve()) as draft, ExitStack() as stack:
        report = stack.enter_context((draft / REPORT).open("wb"))
        overlaps = stack.enter_context((draft / OVERLAP).open("wb"))
        overlaps.write(_tabs(OVERLAP_COLUMNS))
        against: dict[str, Account] = {}
        targets = [*_targets(inputs, options, report, against)] if TRAIN in splits else []
        work = Work(options, targets, draft, report, overlaps, measure, progress)
        accounts = {split: _prepare_split(split, given, work) for split, given in splits.items()}
        stack.close()
        manifest = {
            "request": dict(wanted),
            "evaluation_problems": dict(Counter(target.suite for target in targets)),
            "against": {suite: account.summary() for suite, account in against.items()},
            "splits": {split: account.summary() for split, account in accounts.items()},
            "files": {path.name: file_facts(path) for path in sorted(draft.iterdir())},
        }
        write_manifest(draft, manifest)
    return manifest


def _targets(
    inputs: Sequence[Input], options: Options, report: IO[bytes], against: dict[str, Account]
) -> Iterator[Target]:
    """What no training problem should hold: the problems of evaluation splits and of `--against`.

    Columns have other names in the files that are prepared; what they are compared with has our own. Its rows are
    accounted for in `against`.
    """
    for given in inputs:
        if given.split == TRAIN:
            continue
        suite, num_problems = given.split or given.name, 0
        account = None if given.split else against.setdefault(suite, Account(suite, report))
        for found in read_source(given.source, options.columns if given.split else MappingProxyType({})):
            if account:
                account.rows += 1
            if found.problem:
                num_problems += 1
                question = asked(found.problem.question, found.problem.choices)
                yield Target(suite, found.problem.id, found.problem.fingerprint, question)
            elif account:
                account.say(found.where, "unreadable", found.fault or "", removed=False)
        if not num_problems:
            raise RlsdError(f"no row of {given.source.text} is a problem, so nothing could be compared with it")


def _prepare_split(split: str, inputs: Sequence[Input], work: Work) -> Account:
    account, options = Account(split, work.report), work.options
    training, generated = split == TRAIN, all(given.is_generated for given in inputs)
    with Spool(options.shuffle if training else None) as spool:
        for found in chain.from_iterable(_found(given, options) for given in inputs):
            _read(found, spool, account, work)
            work.progress(account.rows)
        fates = Fates.of(spool)
        mark_repeats(spool, fates)
        if training:
            work.targets.extend(held_out_targets(spool, fates, TEST))
            _list_contamination(spool, fates, account, work, generated=generated)
        if not generated:
            mark_near(spool, fates, options.near)
        _note_ids(spool, account)
        _write(spool, fates, account, work)
    return account


# -- 1: reading ----------------------------------------------------------------------------------------------------


def _found(given: Input, options: Options) -> Iterator[Found]:
    """The rows of a source, each with the place that is said: that in a folder, not the folder's own."""
    for found in read_source(given.source, options.columns):
        inside = found.where.startswith(given.source.text)
        yield found._replace(where=given.name + found.where.removeprefix(given.source.text)) if inside else found


def _read(found: Found, spool: Spool, account: Account, work: Work) -> None:
    """Take a good row into the spool, and say of another why it goes."""
    where, problem, rest, fault, note = found
    training, holdout = account.split == TRAIN, work.options.holdout
    account.rows += 1
    if problem is None:
        account.say(where, "unreadable", fault or "", removed=True)
        return
    if note:
        account.say(where, "odd", note, removed=False)
    account.unrated += problem.pass_rate is None
    if unfit := _unfit(problem, account, work):
        account.say(where, *unfit, removed=training)
        if training:
            return
    row, columns = _row(problem, rest, where)
    account.other_columns.update(columns)
    spool.add(problem, row, where, held=training and holdout is not None and is_held_out(problem, holdout))


def _unfit(problem: Problem, account: Account, work: Work) -> tuple[str, str] | None:
    """Why a problem cannot or should not be trained on, as a reason and a detail."""
    low, high = work.options.min_pass_rate, work.options.max_pass_rate
    if problem.pass_rate is not None and not low <= problem.pass_rate <= high:
        reason = "too_hard" if problem.pass_rate < low else "too_easy"
        return reason, f"pass rate {problem.pass_rate:g} is not within {low:g}..{high:g}"
    if work.measure is None:
        return None
    lengths = work.measure(problem)
    account.tokens["student"][lengths.student] += 1
    if lengths.teacher is not None:
        account.tokens["teacher"][lengths.teacher] += 1
    return ("too_long", lengths.fault) if lengths.fault else None


def _row(problem: Problem, rest: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """A problem as it is written, and the columns of it that are no fields.

    Its id is a hash of its content; beside it are its place and the id it came with, or those that it had already if it
    comes out of a prepared file, and whatever else it had.
    """
    name = short_hash(question_of(problem))
    origin = {"source": where} | ({"source_id": problem.id} if problem.id not in (name, problem.fingerprint) else {})
    others = dict(rest)
    if problem.id == name and isinstance(rest.get("source"), str):
        origin = {key: others.pop(key) for key in ("source", "source_id") if key in others}
    meta = others.pop("meta", None)
    inner = meta if isinstance(meta, dict) else {} if meta is None else {"meta": meta}
    whole = {**inner, **others}
    return to_row(problem._replace(id=name)) | origin | ({"meta": whole} if whole else {}), [*others]


# -- 3: contamination ----------------------------------------------------------------------------------------------


def _list_contamination(spool: Spool, fates: Fates, account: Account, work: Work, *, generated: bool) -> None:
    """List the training rows that hold an evaluation problem, and mark them if they are to go.

    Problems of a generated task differ in little more than their numbers, so there only the same question counts.
    """
    for row, question, found in find_contamination(spool, fates, work.targets):
        if generated and found.kind != "exact":
            continue
        account.overlaps[found.kind] += 1
        target = found.target
        cells = spool.where(row), target.suite, target.id, found.kind, f"{found.share:.3f}"
        work.overlaps.write(_tabs((*cells, question, target.question)))
        if work.options.remove_overlap:
            fates.set(row, CONTAMINATED)


# -- 5: writing ----------------------------------------------------------------------------------------------------


def _note_ids(spool: Spool, account: Account) -> None:
    """Note ids that problems with other questions have too. They get ids of their own."""
    questions, own_ids = spool.hashes("questions"), spool.hashes("own_ids")
    own = np.flatnonzero(own_ids)
    for same in groups(own_ids[own]):
        first = int(own[same[0]])
        for index in own[same[1:]].tolist():
            if questions[index] != questions[first]:
                detail = (
                    f"field `id`: `{spool.row(index)['source_id']}` is that of another problem, {spool.where(first)}"
                )
                account.say(spool.where(index), "duplicate_id", detail, removed=False)


def _write(spool: Spool, fates: Fates, account: Account, work: Work) -> None:
    """Write the rows that stay to the files of their splits, and say why the others go.

    Raises:
        RlsdError: nothing stays.
    """
    training, held = account.split == TRAIN, spool.held
    names = [account.split, *([TEST] if training and work.options.holdout else [])]
    written: Counter[str] = Counter()
    with ExitStack() as stack:
        files = {name: stack.enter_context((work.folder / f"{name}.jsonl").open("wb")) for name in names}
        for index in map(int, spool.order()):
            gone = fates.gone(index, spool, keep_duplicates=work.options.keep_duplicates)
            if gone:
                account.say(spool.where(index), *gone, removed=training)
            if not (gone and training):
                name = TEST if held[index] else account.split
                files[name].write(spool.line(index))
                written[name] += 1
    for name in names:
        if not written[name]:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in account.removed.items())
            raise RlsdError(
                f"no problem is left for {name}, of {account.rows:,} rows" + (f": {reasons}" if reasons else ""),
                hint=_first_line(work),
            )


def _first_line(work: Work) -> str | None:
    """The first thing that was found about a row, and what helps against the commonest."""
    work.report.flush()
    with (work.folder / REPORT).open(encoding="utf-8") as file:
        line = file.readline()
    if not line:
        return None
    return "{where}: {detail}\n`--map FIELD=COLUMN` takes columns of other names".format(**json.loads(line))


def _tabs(cells: Iterable[str]) -> bytes:
    return "\t".join(" ".join(cell.split()) for cell in cells).encode(errors="backslashreplace") + b"\n"
