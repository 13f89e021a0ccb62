"""Sources into files of problems that are clean, with an account of every row that was left out.

1. read        the rows of a split stream into a spool; what cannot be read, or does not fit, goes
2. repeats     of one question the first row stays; a question whose references differ loses all its rows, for one of
               them is wrong
3. overlap     training problems that hold an evaluation problem are listed, and go if that is asked for
4. near ones   of nearly one question, with the same numbers, signs and reference, the first of those left stays
5. write       what stays, in its order, to the file of its split; the manifest last

Every step looks only at rows that are still there, so a row never goes for the sake of one that goes too. An evaluation
split keeps every row that can be read: without it its scores would be those of another set. What would have gone is
noted. Equal sources and options give equal bytes, wherever and whenever.
"""

import glob
import json
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsd_cli import __version__
from rlsd_cli.data.duplicates import Sketches
from rlsd_cli.data.inputs import TEST, TRAIN, Input, describe, sha256
from rlsd_cli.data.jsons import json_line
from rlsd_cli.data.lengths import quantiles
from rlsd_cli.data.ngrams import Hashes, jaccard, ngrams, words
from rlsd_cli.data.overlap import OverlapIndex, Target
from rlsd_cli.data.problems import Found, Problem, asked, content_hash, is_held_out, short_hash, to_row
from rlsd_cli.data.sources import read_source
from rlsd_cli.data.spool import Spool, question_of, tests_text
from rlsd_cli.errors import EXIT_BUSY, EXIT_MACHINE, RlsdError
from rlsd_verifiers import Policy, Submission
from rlsd_verifiers.maths.quick import grade_math_quickly

SHINGLE = 3
BATCH, BATCH_CHARS = 2000, 2**24
MANIFEST, REPORT, OVERLAP = "manifest.json", "report.jsonl", "overlap.tsv"
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
    """What all splits share. `measure` is None where no model is known; `progress` is told of rows as they are read."""

    options: Options
    targets: list[Target]
    folder: Path
    report: IO[bytes]
    overlaps: IO[bytes]
    measure: Callable[[Problem], Lengths] | None
    progress: Callable[[int], None]


class Account:
    """What is known of a split: a line in the report for each thing found about a row, and counts."""

    def __init__(self, split: str, report: IO[bytes]) -> None:
        self.split = split
        self.rows = 0
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
        counts = {name: dict(sorted(getattr(self, name).items())) for name in ("removed", "noted", "overlaps")}
        tokens = {view: quantiles(lengths) for view, lengths in self.tokens.items() if lengths}
        columns = dict(sorted(self.other_columns.items()))
        return {"rows": self.rows, **counts, "other_columns": columns, **({"tokens": tokens} if tokens else {})}


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


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


def is_current(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a folder holds the result of this request, unchanged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"].items()
        return manifest["request"] == wanted and all(_facts(folder / name) == facts for name, facts in files)
    except UNREADABLE:
        return False


def others_in(folder: Path) -> list[Path]:
    """What lies in the folder of a preparation and is not of it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        own = {MANIFEST, *manifest["files"]}
    except UNREADABLE:
        own = set()
    return sorted(path for path in folder.iterdir() if path.name not in own)


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
    with _staged(folder.resolve()) as draft, ExitStack() as stack:
        report = stack.enter_context((draft / REPORT).open("wb"))
        overlaps = stack.enter_context((draft / OVERLAP).open("wb"))
        overlaps.write(_tabs(OVERLAP_COLUMNS))
        targets = [*_targets(inputs, options, report)] if TRAIN in splits else []
        work = Work(options, targets, draft, report, overlaps, measure, progress)
        accounts = {split: _prepare_split(split, given, work) for split, given in splits.items()}
        stack.close()
        manifest = {
            "request": dict(wanted),
            "evaluation_problems": dict(Counter(target.suite for target in targets)),
            "splits": {split: account.summary() for split, account in accounts.items()},
            "files": {path.name: _facts(path) for path in sorted(draft.iterdir())},
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (draft / MANIFEST).write_bytes(text.encode(errors="backslashreplace"))
    return manifest


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is wanted, which takes its place if nothing goes wrong."""
    draft, old = (folder.parent / f".{folder.name}.{os.getpid()}{suffix}" for suffix in ("", ".old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft.mkdir()
        before = _stamp(folder)
        try:
            yield draft
            if _stamp(folder) != before:
                raise RlsdError(f"{folder} was written by another process meanwhile", exit_code=EXIT_BUSY)
            if folder.exists():
                folder.rename(old)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise RlsdError(f"cannot write {folder}: {error.strerror or error}", exit_code=EXIT_MACHINE) from error


def _stamp(folder: Path) -> int | None:
    """When the manifest of a folder was written; None without one."""
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _sweep(folder: Path) -> None:
    """Remove what processes left beside a folder that were killed while they worked on it."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        owner = path.name.removeprefix(f".{folder.name}.").removesuffix(".old")
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(path, ignore_errors=True)


def _targets(inputs: Sequence[Input], options: Options, report: IO[bytes]) -> Iterator[Target]:
    """What no training problem should hold: the problems of evaluation splits and of `--against`.

    Columns have other names in the files that are prepared; what they are compared with has our own.
    """
    for given in inputs:
        if given.split == TRAIN:
            continue
        suite, num_problems = given.split or given.name, 0
        account = Account(suite, report)
        for found in read_source(given.source, options.columns if given.split else MappingProxyType({})):
            if found.problem:
                num_problems += 1
                question = asked(found.problem.question, found.problem.choices)
                yield Target(suite, found.problem.id, found.problem.fingerprint, question)
            elif not given.split:
                account.say(found.where, "unreadable", found.fault or "", removed=False)
        if not num_problems:
            raise RlsdError(f"no row of {given.source.text} is a problem, so nothing could be compared with it")


# -- a split -------------------------------------------------------------------------------------------------------

STAYS, DUPLICATE, CONFLICT, HOLDS, NEAR = range(5)
REASONS = ("", "duplicate", "conflict", "overlap", "near_duplicate")


class Fates(NamedTuple):
    """What becomes of every row, as an index into `REASONS`; the row it repeats or contradicts, and how similar."""

    reasons: NDArray[np.uint8]
    others: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def set(self, rows: Any, reason: int, other: Any = -1, similarity: float = 1.0) -> None:
        self.reasons[rows], self.others[rows], self.similarities[rows] = reason, other, similarity

    def gone(self, index: int, spool: Spool, *, keep_duplicates: bool) -> tuple[str, str] | None:
        """The reason and the detail for a row that goes. A repeat that may stay shares the fate of the first."""
        reason, other = int(self.reasons[index]), int(self.others[index])
        if reason == DUPLICATE and keep_duplicates:
            return self.gone(other, spool, keep_duplicates=True)
        if reason == STAYS:
            return None
        near = f"similarity {self.similarities[index]:.3f} to " if reason == NEAR else "see "
        return REASONS[reason], near + (OVERLAP if reason == HOLDS else spool.where(other))


def _prepare_split(split: str, inputs: Sequence[Input], work: Work) -> Account:
    account, options = Account(split, work.report), work.options
    training, generated = split == TRAIN, all(given.is_generated for given in inputs)
    with Spool(options.shuffle if training else None) as spool:
        for batch in _batches(chain.from_iterable(_found(given, options) for given in inputs)):
            _read(batch, spool, account, work)
            work.progress(account.rows)
        size = len(spool)
        fates = Fates(np.zeros(size, np.uint8), np.zeros(size, np.int64), np.zeros(size, np.float32))
        _mark_repeats(spool, fates)
        if training:
            _mark_overlaps(spool, fates, account, work, generated=generated)
        if not generated:
            _mark_near(spool, fates, options.near)
        _note_ids(spool, account)
        _write(spool, fates, account, work)
    return account


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Some rows at a time: a bounded number, of a bounded size."""
    batch: list[Found] = []
    chars = 0
    for each in found:
        batch.append(each)
        chars += len(each.problem.question) if each.problem else 0
        if len(batch) == BATCH or chars > BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


# -- 1: reading ----------------------------------------------------------------------------------------------------


def _found(given: Input, options: Options) -> Iterator[Found]:
    """The rows of a source, each with the place that is said: that in a folder, not the folder's own."""
    for found in read_source(given.source, options.columns):
        inside = found.where.startswith(given.source.text)
        yield found._replace(where=given.name + found.where.removeprefix(given.source.text)) if inside else found


def _read(batch: Sequence[Found], spool: Spool, account: Account, work: Work) -> None:
    """Take the good rows of a batch into the spool."""
    training, holdout = account.split == TRAIN, work.options.holdout
    for where, problem, rest, fault, note in batch:
        account.rows += 1
        if problem is None:
            account.say(where, "unreadable", fault or "", removed=True)
            continue
        if note:
            account.say(where, "odd", note, removed=False)
        if unfit := _unfit(problem, account, work):
            account.say(where, *unfit, removed=training)
            if training:
                continue
        held = training and holdout is not None and is_held_out(problem, holdout)
        row, columns = _row(problem, rest, where)
        account.other_columns.update(columns)
        spool.add(problem, row, where, held=held)


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


# -- 2: repeats ----------------------------------------------------------------------------------------------------


def _mark_repeats(spool: Spool, fates: Fates) -> None:
    """Mark all rows but the first of a question, or all of a question whose references differ."""
    for same in groups(spool.hashes("questions")):
        if _agree(same, spool):
            fates.set(same[1:], DUPLICATE, same[0])
        else:
            fates.set(same, CONFLICT, same[0])
            fates.set(same[0], CONFLICT, same[1])


def groups(values: Hashes) -> Iterator[NDArray[np.int64]]:
    """The indices of equal values, in rising order, for every value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(values[order]) != 0))[: len(order)])
    ends = np.append(starts[1:], len(order))
    for place in np.flatnonzero(ends - starts > 1):
        yield order[starts[place] : ends[place]]


def _agree(same: NDArray[np.int64], spool: Spool) -> bool:
    """Whether rows with one question have one reference: the same text up to case, or one that equals it."""
    _, firsts = np.unique(spool.hashes("references")[same], return_index=True)
    first, *rest = (spool.row(index) for index in same[np.sort(firsts)].tolist())
    tests = tests_text(first.get("tests"))
    return all(tests_text(row.get("tests")) == tests and _are_equal(row, first) for row in rest)


def _are_equal(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    answer, reference = (" ".join(each.get("answer", "").split()) for each in (row, other))
    if answer.casefold() == reference.casefold():
        return True
    verdict = grade_math_quickly(Submission(rf"\boxed{{{answer}}}", reference), Policy())
    return verdict is not None and verdict.correct is True


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


# -- 3 and 4: overlap and near repeats -----------------------------------------------------------------------------


def _left(spool: Spool, fates: Fates, chosen: NDArray[np.bool_]) -> Iterator[tuple[list[int], list[str]]]:
    """The chosen rows that still stay, some at a time, with what they ask."""
    indices: list[int] = []
    questions: list[str] = []
    chars = 0
    for index in np.flatnonzero(chosen & (fates.reasons == STAYS)).tolist():
        indices.append(index)
        row = spool.row(index)
        questions.append(asked(row["question"], row.get("choices")))
        chars += len(questions[-1])
        if len(indices) == BATCH or chars > BATCH_CHARS:
            yield indices, questions
            indices, questions, chars = [], [], 0
    if indices:
        yield indices, questions


def _mark_overlaps(spool: Spool, fates: Fates, account: Account, work: Work, *, generated: bool) -> None:
    """List the training rows that hold an evaluation problem, and mark them if they are to go.

    Problems of a generated task differ in little more than their numbers, so there only the same question counts.
    """
    for indices, questions in _left(spool, fates, spool.held):
        for row, question in zip(indices, questions, strict=True):
            work.targets.append(Target(TEST, spool.row(row)["id"], content_hash(question), question))
    if not work.targets:
        return
    index = OverlapIndex(work.targets)
    for indices, questions in _left(spool, fates, ~spool.held):
        for overlap in index.find(questions):
            row, target = indices[overlap.place], overlap.target
            if generated and overlap.kind != "exact":
                continue
            account.overlaps[overlap.kind] += 1
            cells = spool.where(row), target.suite, target.id, overlap.kind, f"{overlap.share:.3f}"
            work.overlaps.write(_tabs((*cells, questions[overlap.place], target.question)))
            if work.options.remove_overlap:
                fates.set(row, HOLDS)


def _mark_near(spool: Spool, fates: Fates, near: float) -> None:
    """Mark rows whose question is nearly that of an earlier row of the same kind."""
    rows = array("q")
    with Sketches() as sketches:
        for indices, questions in _left(spool, fates, np.ones(len(spool), dtype=np.bool_)):
            kinds = spool.hashes("kinds")[indices]
            sketches.add(ngrams([words(question) for question in questions], SHINGLE), kinds)
            rows.extend(indices)

        @lru_cache(maxsize=256)
        def grams(index: int) -> Hashes:
            row = spool.row(index)
            return ngrams([words(asked(row["question"], row.get("choices")))], SHINGLE).values

        kinds = spool.hashes("kinds")
        for place, candidates in sketches.candidates():
            later = rows[place]
            for first in (rows[candidate] for candidate in candidates):
                leader = int(fates.others[first]) if fates.reasons[first] == NEAR else first
                if fates.reasons[later] == NEAR or kinds[later] != kinds[leader]:
                    continue
                similarity = jaccard(grams(later), grams(leader))
                if similarity >= near:
                    fates.set(later, NEAR, leader, similarity)


# -- 5: writing ----------------------------------------------------------------------------------------------------


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
    """The first thing that was found about a row."""
    work.report.flush()
    with (work.folder / REPORT).open(encoding="utf-8") as file:
        line = file.readline()
    return "{where}: {detail}".format(**json.loads(line)) if line else None


def _tabs(cells: Iterable[str]) -> bytes:
    return "\t".join(" ".join(cell.split()) for cell in cells).encode(errors="backslashreplace") + b"\n"


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    return {"lines": lines, "bytes": path.stat().st_size, "sha256": sha256(path)}
