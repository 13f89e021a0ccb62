"""Problems before any training: each reference through its own verifier, each view as it will be read.

Rows are checked in order, and a bounded number at a time: of those before only a hash of each id and of each question
is kept.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.choices import stem
from rlsd_cli.data.problems import Found, Problem, hash64
from rlsd_cli.data_checks.check_views import FAULTS, NOTES, Flag, Reading, Tokens, view_flags
from rlsd_cli.data_checks.perturb import Change, changes
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import (
    NUM_TRIED,
    as_answer,
    check_name,
    is_unsolved,
    job,
    stop_on_sandbox_error,
    try_out,
    verifier_of,
)
from rlsd_verifiers import Outcome, Pool, Verdict, extract
from rlsd_verifiers.stream import IDLE_SECONDS, Pending, Stream
from rlsd_verifiers.verdict import shorten

MAX_WAITING = 512
MAX_WAITING_CHARS = 2**25
"""Rows that are under way, and characters of all their problems."""

MARKS = frozenset({"boxed", "boxes", "answer tag", "hash marker", "final hash", "answer is", "answer line"})
"""Rules of `extract` that find an answer which somebody marked as one."""


class Tried(NamedTuple):
    """A response that should be rejected, and its verdict."""

    change: Change
    verdict: Verdict


class Checked(NamedTuple):
    """A row with all that was found. `own` is the verdict on its reference, where that was submitted."""

    found: Found
    flags: list[Flag]
    verifier: str | None = None
    own: Verdict | None = None
    tried: tuple[Tried, ...] = ()
    tokens: Tokens | None = None

    @property
    def is_faultless(self) -> bool:
        return not any(flag.is_fault for flag in self.flags)


class _Row(NamedTuple):
    """A row that is being checked, with the verdicts it waits for."""

    found: Found
    flags: list[Flag]
    tokens: Tokens | None = None
    verifier: str | None = None
    changes: tuple[Change, ...] = ()
    own: Future[Verdict] | None = None
    changed: Future[Verdict] | None = None
    solution: Future[Verdict] | None = None
    question: Future[Verdict] | None = None

    @property
    def futures(self) -> list[Future[Verdict]]:
        return [future for future in (self.own, self.changed, self.solution, self.question) if future]

    @property
    def size(self) -> int:
        problem = self.found.problem
        return 0 if problem is None else sum(len(str(part)) for part in problem if part is not None)


class Checking:
    """Rows of a source with what was found, in order.

    Iterating gives None at intervals while verdicts are awaited, so that the caller can update a display. Nothing is
    submitted to a verifier of the user's, which may expect another form.

    Raises:
        RlsdError: the config's verifier does not exist or does not load, or the sandbox failed.
    """

    def __init__(self, found: Iterable[Found], config: Config, pool: Pool, reading: Reading) -> None:
        self.found = found
        self.config = config
        self.pool = pool
        self.reading = reading
        self._questions: set[int] = set()
        self._owners: dict[int, int] = {}

    def __iter__(self) -> Iterator[Checked | None]:
        begun = (self._begin(found) for found in self.found)
        pending = (Pending(row, row.futures, row.size) for row in begun)
        for row in Stream(pending, MAX_WAITING, MAX_WAITING_CHARS, IDLE_SECONDS):
            yield self._end(row) if row else None

    # -- one row ---------------------------------------------------------------------------------------------------

    def _begin(self, found: Found) -> _Row:
        problem = found.problem
        if problem is None:
            return _Row(found, [Flag("unreadable", found.fault or "")])
        flags = [Flag("odd_row", found.note)] if found.note else []
        flags += self._seen(problem)
        views, tokens = view_flags(problem, self.config, self.reading)
        flags += views
        verifier = verifier_of(problem, self.config)
        row = _Row(found, flags, tokens, verifier)
        try:
            check_name(problem, self.config)
        except RlsdError as error:
            if problem.verifier is None:
                raise
            flags.append(Flag("bad_reference", error.message))
            return row
        return row if ":" in verifier else self._submit(problem, row._replace(changes=changes(problem, verifier)))

    def _submit(self, problem: Problem, row: _Row) -> _Row:
        solution, question = (
            self._grade(problem, text, guess=False) if text and row.verifier != "code" and marks_answer(text) else None
            for text in (problem.solution, stem(problem))
        )
        changed = self._grade(problem, row.changes[0].response) if row.changes else None
        own = self._grade(problem, as_answer(problem, self.config))
        return row._replace(own=own, changed=changed, solution=solution, question=question)

    def _grade(self, problem: Problem, response: str, *, guess: bool = True) -> Future[Verdict]:
        task = job(problem, response, self.config)
        return self.pool.submit(task if guess else task._replace(leniency=task.leniency._replace(last_number=False)))

    def _end(self, row: _Row) -> Checked:
        verdicts = [future.result() for future in row.futures]
        stop_on_sandbox_error(verdicts)
        problem, flags = row.found.problem, row.flags
        if problem is None or row.own is None:
            return Checked(row.found, flags, row.verifier, tokens=row.tokens)
        own = row.own.result()
        tried: tuple[Tried, ...] = ()
        if own.outcome in (Outcome.BAD_REFERENCE, Outcome.INVALID_ROW):
            flags.append(Flag("bad_reference", own.reason))
        else:
            tried = tuple(self._tried(problem, row))
            flags += self._own_flags(problem, own, tried)
            flags += self._marked_flags(problem, row)
        return Checked(row.found, sorted(flags, key=_rank), row.verifier, own, tried, row.tokens)

    def _tried(self, problem: Problem, row: _Row) -> Iterator[Tried]:
        """The changed references up to the first that is rejected. The later ones are not needed often."""
        future = row.changed
        for change in row.changes:
            verdict = (future or self._grade(problem, change.response)).result()
            stop_on_sandbox_error([verdict])
            yield Tried(change, verdict)
            if not verdict.correct:
                return
            future = None

    def _own_flags(self, problem: Problem, own: Verdict, tried: tuple[Tried, ...]) -> Iterator[Flag]:
        if is_unsolved(problem, own, self.config):
            yield Flag("unsolved", "there is no solution to run the tests on")
        elif not own.correct:
            yield Flag("rejects_itself", own.reason)
        if tried and all(each.verdict.correct for each in tried):
            yield Flag(
                "accepts_perturbed", f"the verifier also accepts {' and '.join(each.change.words for each in tried)}"
            )

    def _marked_flags(self, problem: Problem, row: _Row) -> Iterator[Flag]:
        """Compare the answers that the worked solution and the question mark with the reference.

        A solution may mark a chain such as `28 days / 7 = 4 weeks`; then the last of its links is the answer.
        """
        if row.solution and (verdict := row.solution.result()).outcome is Outcome.WRONG:
            _, chain, last = (verdict.extracted or "").rpartition("=")
            if not (chain and self._grade(problem, rf"\boxed{{{last}}}").result().correct):
                yield Flag("solution_disagrees", verdict.reason)
        if row.question and row.question.result().correct:
            yield Flag("leaks", f"the question states the answer: {row.question.result().reason}")

    def _seen(self, problem: Problem) -> Iterator[Flag]:
        question, name = int(problem.fingerprint, 16), hash64(problem.id)
        if self._owners.setdefault(name, question) != question:
            yield Flag("duplicate_id", f"`{shorten(problem.id)}` is also the id of an earlier question")
        if question in self._questions:
            yield Flag("repeated", "the question repeats that of an earlier row")
        self._questions.add(question)


def tried_out(rows: Iterable[Found], config: Config, pool: Pool) -> Iterator[Found]:
    """Pass rows on, and try a verifier of the user's on the first of them, as before a run.

    Raises:
        RlsdError: it reaches no verdict on any.
    """
    first: list[Problem] = []
    for row in rows:
        if row.problem and not row.problem.verifier and len(first) < NUM_TRIED:
            first.append(row.problem)
            if len(first) == NUM_TRIED:
                try_out(first, config, pool)
        yield row
    if len(first) < NUM_TRIED:
        try_out(first, config, pool)


def _rank(flag: Flag) -> int:
    return [*FAULTS, *NOTES].index(flag.reason)


def marks_answer(text: str) -> bool:
    """True where a text marks an answer, e.g. with a box."""
    found = extract(text, last_number=False)
    return found is not None and found.rule in MARKS
