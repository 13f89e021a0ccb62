"""Sources into files of problems that are clean, with an account of every row that was left out.

1. read        the rows of a split stream into a spool; what cannot be read, or does not fit, goes
2. overlap     training problems that hold an evaluation problem are listed, and go if that is asked for
3. duplicates  of one question, and of nearly the same one with the same numbers and reference, the first row stays; a
               question whose references differ loses all its rows, for one of them is wrong
4. write       what stays, in its order, to the file of its split; the manifest last

An evaluation split keeps every row that can be read: without it its scores would be those of another set. What would
have gone is noted. Equal sources and options give equal bytes, wherever and whenever.
"""

import json
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsd_cli import __version__
from rlsd_cli.data.duplicates import Sketches
from rlsd_cli.data.inputs import TEST, TRAIN, Input, describe, sha256
from rlsd_cli.data.ngrams import Hashes, jaccard, ngrams, numbers, words
from rlsd_cli.data.overlap import OverlapIndex, Target
from rlsd_cli.data.problems import Found, Problem, content_hash, is_held_out, to_row
from rlsd_cli.data.sources import read_source
from rlsd_cli.data.spool import Spool, hash64, json_line, question_of
from rlsd_cli.errors import RlsdError
from rlsd_verifiers.notation import parse_number

SHINGLE = 3
BATCH = 2000
MANIFEST, REPORT, OVERLAP = "manifest.json", "report.jsonl", "overlap.tsv"
OVERLAP_COLUMNS = ("where", "suite", "id", "kind", "share", "problem", "held")


class Options(NamedTuple):
    """What is done to the rows; the manifest repeats it."""

    columns: Mapping[str, str] = MappingProxyType({})
    holdout: float | None = None
    shuffle: int | None = None
    near: float = 0.8
    keep_duplicates: bool = False
    remove_overlap: bool = False
    min_pass_rate: float = 0.0
    max_pass_rate: float = 1.0


class Lengths(NamedTuple):
    """Tokens of the student's and the teacher's view, and why they do not fit, if they do not."""

    student: int
    teacher: int
    fault: str | None = None


class Work(NamedTuple):
    """What all splits share. `measure` is None where no model is known; `progress` is told of rows as they are read."""

    options: Options
    targets: OverlapIndex
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
        self.tokens = array("l"), array("l")
        self._report = report

    def say(self, where: str, reason: str, detail: str, *, removed: bool) -> None:
        (self.removed if removed else self.noted)[reason] += 1
        line = {"split": self.split, "where": where, "reason": reason, "removed": removed, "detail": detail}
        self._report.write(json_line(line))

    def summary(self) -> dict[str, Any]:
        counts = {name: dict(sorted(getattr(self, name).items())) for name in ("removed", "noted", "overlaps")}
        found = {"rows": self.rows, **counts, "other_columns": dict(sorted(self.other_columns.items()))}
        student, teacher = self.tokens
        return found | ({"tokens": {"student": spread(student), "teacher": spread(teacher)}} if student else {})


def spread(lengths: Sequence[int]) -> dict[str, int]:
    """The median, the 99th percentile and the largest of some numbers."""
    middle, high = np.percentile(np.array(lengths), [50, 99], method="higher")
    return {"median": int(middle), "p99": int(high), "max": int(max(lengths))}


# -- the whole -----------------------------------------------------------------------------------------------------


def request(inputs: Sequence[Input], options: Options, view: Mapping[str, Any]) -> dict[str, Any]:
    """What a preparation is a function of: version, sources with their content, options, and what lengths are of."""
    settings = options._asdict() | {"columns": dict(options.columns)}
    return {
        "rlsd": __version__,
        "sources": [describe(given) for given in inputs],
        "options": settings,
        "view": dict(view),
    }


def is_current(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a folder holds the result of this request, unchanged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"].items()
        return manifest["request"] == wanted and all(_facts(folder / name) == facts for name, facts in files)
    except (OSError, ValueError, KeyError):
        return False


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
        RlsdError: a source cannot be opened, or a split holds no problem.
    """
    splits: dict[str, list[Input]] = {}
    for given in inputs:
        if given.split:
            splits.setdefault(given.split, []).append(given)
    with _staged(folder) as draft, ExitStack() as stack:
        work = Work(
            options,
            OverlapIndex(_targets(inputs, options)),
            draft,
            stack.enter_context((draft / REPORT).open("wb")),
            stack.enter_context((draft / OVERLAP).open("wb")),
            measure,
            progress,
        )
        work.overlaps.write(_tabs(OVERLAP_COLUMNS))
        accounts = {split: _prepare_split(split, given, work) for split, given in splits.items()}
        stack.close()
        files = {path.name: _facts(path) for path in sorted(draft.iterdir())}
        manifest = {
            "request": dict(wanted),
            "evaluation_problems": dict(Counter(target.suite for target in work.targets.targets)),
            "splits": {split: account.summary() for split, account in accounts.items()},
            "files": files,
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is wanted, which becomes that one if nothing goes wrong."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.parent / f".{folder.name}.{os.getpid()}"
        draft.mkdir()
    except OSError as error:
        raise RlsdError(f"cannot write {folder}: {error.strerror}") from error
    try:
        yield draft
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _targets(inputs: Sequence[Input], options: Options) -> Iterator[Target]:
    """What no training problem should hold: the problems of evaluation splits, and what of `train` is held out."""
    for source, split in inputs:
        if split == TRAIN and not options.holdout:
            continue
        path = Path(source.text)
        suite = split or (path.name if path.is_file() else source.text)
        for found in read_source(source, options.columns):
            if found.problem and (split != TRAIN or is_held_out(found.problem, options.holdout or 0.0)):
                yield Target(TEST if split == TRAIN else suite, found.problem)


# -- a split -------------------------------------------------------------------------------------------------------


def _prepare_split(split: str, inputs: Sequence[Input], work: Work) -> Account:
    account = Account(split, work.report)
    found = chain.from_iterable(_found(given, work.options) for given in inputs)
    with Spool(work.options.shuffle if split == TRAIN else None) as spool, Sketches() as sketches:
        overlapping: list[int] = []
        while batch := [*islice(found, BATCH)]:
            overlapping += _read(batch, spool, sketches, account, work)
            work.progress(account.rows)
        if not len(spool):
            raise RlsdError(f"no row of {', '.join(given.source.text for given in inputs)} is a problem")
        fates = _duplicates(spool, sketches, work.options.near)
        _note_ids(spool, account)
        _write(spool, fates, frozenset(overlapping), account, work)
    return account


# -- 1 and 2: reading ----------------------------------------------------------------------------------------------


def _found(given: Input, options: Options) -> Iterator[Found]:
    """The rows of a source. Of a file, its name is said and not its folder."""
    path = Path(given.source.text)
    folder = f"{path.parent}/" if path.is_file() else ""
    for found in read_source(given.source, options.columns):
        yield found._replace(where=found.where.removeprefix(folder))


def _read(batch: Sequence[Found], spool: Spool, sketches: Sketches, account: Account, work: Work) -> list[int]:
    """Take the good rows of a batch into the spool; the indices there of those that hold an evaluation problem."""
    training, start, problems = account.split == TRAIN, len(spool), []
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
        account.other_columns.update(name for name in rest if name not in KEPT)
        spool.add(problem, _row(problem, rest, where))
        problems.append(problem)
    keys = [hash64(" ".join(numbers(problem.question))) for problem in problems]
    grams = ngrams([words(problem.question) for problem in problems], SHINGLE)
    sketches.add(grams, spool.references[start:] ^ np.array(keys, dtype=np.uint64))
    if not training:
        return []
    searched = [
        index for index, problem in enumerate(problems) if not is_held_out(problem, work.options.holdout or 0.0)
    ]
    overlaps = work.targets.find([problems[index] for index in searched])
    for overlap in overlaps:
        index = searched[overlap.place]
        account.overlaps[overlap.kind] += 1
        where, held = spool.row(start + index)["source"], overlap.target.problem
        cells = where, overlap.target.suite, held.id, overlap.kind, f"{overlap.share:.3f}", problems[index].question
        work.overlaps.write(_tabs((*cells, held.question)))
    return [*dict.fromkeys(start + searched[overlap.place] for overlap in overlaps)]


def _unfit(problem: Problem, account: Account, work: Work) -> tuple[str, str] | None:
    """Why a problem cannot or should not be trained on, as a reason and a detail."""
    low, high = work.options.min_pass_rate, work.options.max_pass_rate
    if problem.pass_rate is not None and not low <= problem.pass_rate <= high:
        reason = "too_hard" if problem.pass_rate < low else "too_easy"
        return reason, f"pass rate {problem.pass_rate:g} is not within {low:g}..{high:g}"
    if work.measure is None:
        return None
    lengths = work.measure(problem)
    for column, length in zip(account.tokens, (lengths.student, lengths.teacher), strict=True):
        column.append(length)
    return ("too_long", lengths.fault) if lengths.fault else None


KEPT = ("meta", "source", "source_id")
"""What a prepared row has besides the fields of a problem."""


def _row(problem: Problem, rest: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A problem as it is written: its id a hash of its content; the id it came with and what else it had beside it."""
    name = content_hash(question_of(problem))
    own = {"source_id": problem.id} if problem.id not in (name, problem.fingerprint) else {}
    meta = rest.get("meta")
    others = {key: value for key, value in rest.items() if key not in KEPT}
    inner = (meta if isinstance(meta, dict) else {"meta": meta} if meta else {}) | others
    known = {key: rest[key] for key in ("source", "source_id") if key in rest}
    return to_row(problem._replace(id=name)) | {"source": where} | own | known | ({"meta": inner} if inner else {})


# -- 3: duplicates -------------------------------------------------------------------------------------------------

STAYS, DUPLICATE, CONFLICT, NEAR_DUPLICATE = range(4)
REASONS = ("", "duplicate", "conflict", "near_duplicate")


class Fates(NamedTuple):
    """What becomes of every row, as an index into `REASONS`; the row it repeats or contradicts, and how similar."""

    reasons: NDArray[np.uint8]
    others: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def gone(self, index: int, spool: Spool) -> tuple[str, str]:
        """The reason and the detail for a row that does not stay."""
        other = spool.row(int(self.others[index]))["source"]
        near = f"similarity {self.similarities[index]:.3f} to " if self.reasons[index] == NEAR_DUPLICATE else "see "
        return REASONS[self.reasons[index]], near + other


def _duplicates(spool: Spool, sketches: Sketches, near: float) -> Fates:
    """The rows that repeat or contradict another."""
    fates = Fates(
        np.zeros(len(spool), dtype=np.uint8),
        np.full(len(spool), -1, dtype=np.int64),
        np.ones(len(spool), dtype=np.float32),
    )
    reasons, others, similarities = fates
    for same in groups(spool.questions):
        reason = DUPLICATE if _agree(same, spool) else CONFLICT
        reasons[same], others[same] = reason, same[0]
        if reason == DUPLICATE:
            reasons[same[0]], others[same[0]] = STAYS, -1
        else:
            others[same[0]] = same[1]

    @lru_cache(maxsize=2**14)
    def grams(index: int) -> Hashes:
        return ngrams([words(spool.row(index)["question"])], SHINGLE).values

    for later, candidates in sketches.candidates():
        for first in candidates:
            stays = int(others[first]) if reasons[first] in (DUPLICATE, NEAR_DUPLICATE) else first
            if reasons[later] != STAYS or reasons[stays] != STAYS:
                continue
            similarity = jaccard(grams(later), grams(stays))
            if similarity >= near:
                reasons[later], others[later], similarities[later] = NEAR_DUPLICATE, stays, similarity
    return fates


def groups(values: Hashes) -> Iterator[NDArray[np.int64]]:
    """The indices of equal values, in rising order, for every value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(values[order]) != 0))[: len(order)])
    ends = np.append(starts[1:], len(order))
    for place in np.flatnonzero(ends - starts > 1):
        yield order[starts[place] : ends[place]]


def _agree(same: NDArray[np.int64], spool: Spool) -> bool:
    """Whether the references of rows with one question are the same, as texts or as numbers."""
    if len(np.unique(spool.references[same])) == 1:
        return True
    first, *rest = (spool.row(index) for index in same.tolist())
    value = parse_number(first.get("answer", ""))
    return value is not None and all(
        row.get("tests") == first.get("tests") and parse_number(row.get("answer", "")) == value for row in rest
    )


def _note_ids(spool: Spool, account: Account) -> None:
    """Note ids that problems with other questions have too. They get ids of their own."""
    own = np.flatnonzero(spool.own_ids)
    for same in groups(spool.own_ids[own]):
        for index in own[same[1:]].tolist():
            if spool.questions[index] != spool.questions[own[same[0]]]:
                row, first = spool.row(index), spool.row(int(own[same[0]]))
                detail = f"field `id`: `{row['source_id']}` is that of another problem, {first['source']}"
                account.say(row["source"], "duplicate_id", detail, removed=False)


# -- 4: writing ----------------------------------------------------------------------------------------------------


def _write(
    spool: Spool,
    fates: Fates,
    overlapping: frozenset[int],
    account: Account,
    work: Work,
) -> None:
    options, training = work.options, account.split == TRAIN
    with ExitStack() as stack:
        names = [account.split, *([TEST] if training and options.holdout else [])]
        files = {name: stack.enter_context((work.folder / f"{name}.jsonl").open("wb")) for name in names}
        for index in map(int, spool.order()):
            line = spool.line(index)
            gone = None
            if fates.reasons[index] not in (STAYS, DUPLICATE if options.keep_duplicates else STAYS):
                gone = fates.gone(index, spool)
            elif index in overlapping and options.remove_overlap:
                gone = "overlap", f"see {OVERLAP}"
            if gone:
                account.say(json.loads(line)["source"], *gone, removed=training)
            if not (gone and training):
                held = training and options.holdout and is_held_out_row(line, options.holdout)
                files[TEST if held else account.split].write(line)


def is_held_out_row(line: bytes, share: float) -> bool:
    """`is_held_out` of a line that was written: a function of its question."""
    return int(content_hash(json.loads(line)["question"]), 16) < share * 16**12


def _tabs(cells: Iterable[str]) -> bytes:
    return "\t".join(" ".join(cell.split()) for cell in cells).encode() + b"\n"


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
        file.seek(0)
        return {"lines": lines, "bytes": file.seek(0, 2), "sha256": sha256(path)}
