r"""Verifiers beside math-verify: accuracy on labelled rows, hostile rows, speed, and faults.

    python benchmarks/verifiers/bench.py [--data DIR] [--legs accuracy,hostile,throughput,faults]

The labelled rows are not part of the repository: they are looked for in `../shared/verifier_data` beside it. Ours is
`Pool()` with the verifier `auto` and `Leniency()`; of math-verify both parsings and the comparison run at their
defaults, in a process of their own. A bare answer is put into `\boxed{}` for both, and for math-verify so is its
reference; a response goes in as it is. `--rows N` is a trial on N rows a file, of which nothing is written.
"""

import argparse
import inspect
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, SHARED, environment, write
from benchmarks.verifiers.faults import children, faults
from benchmarks.verifiers.peer import Peer, versions
from benchmarks.verifiers.rows import CHOICE, HOSTILE, MATHS, SLOW, Row, disagreement, missing, read
from benchmarks.verifiers.side import UNDECIDED
from benchmarks.verifiers.speed import throughput
from rlsd_cli.policy.meter import forget_peak, peak_bytes
from rlsd_cli.statistics.rates import wilson
from rlsd_verifiers import Job, Leniency, Outcome, Pool, Submission, Verdict

DATA = SHARED / "verifier_data"
REPEATS, MIX_ROWS = 5, 900
TOP_CLASSES = 20
MARKER = Path("/tmp/PWNED_MATH")
SLACK_SECONDS = 0.25
"""How late a verdict may be: a process has to be killed first."""

OURS, PEER = "rlsd", "math-verify"
OWN_OPTIONS = ", row's options"


class Counts(NamedTuple):
    """Labels against verdicts. A row without a verdict counts as not accepted."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    def rates(self) -> dict[str, list[float] | None]:
        """Accuracy, precision and recall, each with the bounds of its 95 % interval (Wilson)."""
        tp, fn, fp, tn = self
        shares = {"accuracy": (tp + tn, sum(self)), "precision": (tp, tp + fp), "recall": (tp, tp + fn)}
        return {name: [*wilson(part, whole)] if whole else None for name, (part, whole) in shares.items()}


def count(rows: Sequence[Row], accepted: Sequence[bool]) -> Counts:
    cells = Counter(zip((row.equal for row in rows), accepted, strict=True))
    return Counts(cells[True, True], cells[True, False], cells[False, True], cells[False, False])


class Graded(NamedTuple):
    """The rows of a file, and by side whether each was accepted."""

    rows: list[Row]
    accepted: dict[str, list[bool]]
    verdicts: list[Verdict]
    killed: int

    def counts(self, side: str) -> Counts:
        return count(self.rows, self.accepted[side])


def grade(rows: list[Row], pool: Pool, peer: Peer, verifier: str = "auto") -> Graded:
    """Both sides, and both again with the options of the rows that have any."""
    verdicts = list(pool.verify(Job(row.submission, verifier) for row in rows))
    choice = {"targets": ["choice"]} if verifier == "choice" else {}
    replies = [peer.grade(row.for_peer(choice)) for row in rows]
    accepted = {OURS: [bool(verdict.correct) for verdict in verdicts], PEER: [bool(reply.equal) for reply in replies]}
    if any(row.options for row in rows):
        accepted |= {side + OWN_OPTIONS: [*accepted[side]] for side in (OURS, PEER)}
        for place, row in enumerate(rows):
            if row.options:
                job = Job(row.submission, verifier, row.leniency)
                accepted[OURS + OWN_OPTIONS][place] = bool(pool.submit(job).result().correct)
                reply = peer.grade(row.for_peer(row.options))
                accepted[PEER + OWN_OPTIONS][place] = bool(reply.equal)
                replies.append(reply)
    return Graded(rows, accepted, verdicts, sum(reply.equal is None for reply in replies))


def accuracy(data: Path, limit: int | None) -> dict[str, Any]:
    """Each labelled file; totals over the files of mathematics; what we get wrong, by class."""
    with Pool() as pool, Peer() as peer:
        graded = {name: grade(read(data, name, limit), pool, peer) for name in MATHS}
        graded[CHOICE] = grade(read(data, CHOICE, limit), pool, peer, "choice")
    result: dict[str, Any] = {"files": {}, "totals": {}}
    print("\naccuracy, precision and recall with 95 % intervals")
    print("file\tside\tTP\tFN\tFP\tTN\taccuracy\tprecision\trecall")
    for name, found in graded.items():
        result["files"][name] = {side: record(found.counts(side)) for side in found.accepted}
        for side in found.accepted:
            print(f"{name}\t{side}\t{line(found.counts(side))}")
    result["totals"] = totals(graded)
    for name, found in graded.items():
        odd = Counter(str(v.outcome) for v in found.verdicts if v.correct is None or v.outcome is Outcome.TIMEOUT)
        result["files"][name] |= {"no_verdict_or_timeout": dict(odd), "math_verify_killed": found.killed}
        if odd or found.killed:
            print(f"{name}: {dict(odd)}; math-verify killed {found.killed} times")
    result["disagreements"] = disagreements(graded)
    return result


def record(counts: Counts) -> dict[str, Any]:
    return dict(zip(("TP", "FN", "FP", "TN"), counts, strict=True)) | counts.rates()


def line(counts: Counts) -> str:
    cells = [f"{share[0]:.3f} [{share[1]:.3f}, {share[2]:.3f}]" if share else "-" for share in counts.rates().values()]
    return "\t".join([*map(str, counts), *cells])


def totals(graded: dict[str, Graded]) -> dict[str, Any]:
    """Over the files of mathematics, at the defaults and with the rows' own options; our errors for each of theirs."""
    result: dict[str, Any] = {}
    for options in ("", OWN_OPTIONS):
        both = {}
        for side in (OURS, PEER):
            sides = {name: own if (own := side + options) in graded[name].accepted else side for name in MATHS}
            cells = zip(*(graded[name].counts(own) for name, own in sides.items()), strict=True)
            counts = Counts(*map(sum, cells))
            both[side] = counts
            print(f"total\t{side}{options}\t{line(counts)}")
            result[side + options] = record(counts)
        ours, peers = both[OURS], both[PEER]
        for name, cell in (("false positives", 2), ("false negatives", 1)):
            ratio = ours[cell] / peers[cell] if peers[cell] else None
            shown = "-" if ratio is None else f"{ratio:.2f}"
            print(f"{name}{options}: {OURS} {ours[cell]}, {PEER} {peers[cell]}, ratio {shown}")
            result[f"{name}{options}, ratio"] = ratio
    return result


def disagreements(graded: dict[str, Graded]) -> dict[str, int]:
    found = Counter(
        disagreement(row, verdict, Leniency())
        for name in MATHS
        for row, verdict in zip(graded[name].rows, graded[name].verdicts, strict=True)
        if bool(verdict.correct) != row.equal
    )
    print(
        f"\nwhere the label disagrees with us: {found.total()} rows, the {TOP_CLASSES} largest of {len(found)} classes"
    )
    for name, number in found.most_common(TOP_CLASSES):
        print(f"{number}\t{name}")
    return dict(found.most_common())


def hostile(data: Path, limit: int | None) -> dict[str, Any]:
    """Rows made to fool a verifier, one by one, and rows made to stop it, with the memory they take."""
    if MARKER.exists():
        raise SystemExit(f"remove {MARKER} first: a payload makes it if its code is run")
    rows, slow = read(data, HOSTILE, limit), read(data, SLOW, limit)
    with Pool(1) as pool:
        warm(pool)
        verdicts, walls = one_by_one(pool, rows)
    with Peer() as peer:
        replies = [peer.grade(row.for_peer()) for row in rows]
    with Pool(1) as pool, PeakMemory() as peak:
        warm(pool)
        slow_verdicts, slow_walls = one_by_one(pool, slow)
    code_ran = MARKER.exists()
    limit_seconds = pool_limits()["timeout_seconds"]
    result = {
        "hostile": as_expected(rows, [bool(v.correct) for v in verdicts]),
        "hostile_math_verify": as_expected(rows, [bool(reply.equal) for reply in replies])
        | {"killed": sum(reply.equal is None for reply in replies)},
        "slow_rows": len(slow),
        "slow_accepted": sum(bool(v.correct) for v in slow_verdicts),
        "slow_outcomes": dict(Counter(str(v.outcome) for v in slow_verdicts)),
        "limit_seconds": limit_seconds,
        "over_the_limit": sum(v.seconds > limit_seconds + SLACK_SECONDS for v in [*verdicts, *slow_verdicts]),
        "max_seconds": {"hostile": max(v.seconds for v in verdicts), "slow": max(v.seconds for v in slow_verdicts)},
        "max_wall_seconds_with_new_worker": {"hostile": max(walls), "slow": max(slow_walls)},
        "slow_peak_mb": {"a worker": peak.workers_mb, "the caller": peak.caller_mb},
        "code_ran": code_ran,
    }
    print("\nhostile: rows that end as they should")
    for side, found in ((OURS, result["hostile"]), (PEER, result["hostile_math_verify"])):
        low, high = found["interval"][1:]
        wrong = ", ".join(f"{name} {number}" for name, number in found["wrong"].items()) or "none"
        print(f"{side}\t{found['right']}/{found['rows']}\t[{low:.3f}, {high:.3f}]\twrong: {wrong}")
    print(f"code ran: {'YES' if code_ran else 'no'} ({MARKER})")
    print(f"slow: {len(slow)} rows, {result['slow_accepted']} accepted; {result['slow_outcomes']}")
    print(f"over the limit of {limit_seconds:g} s: {result['over_the_limit']}; longest: {result['max_seconds']}")
    print(f"wall seconds, start of a new worker included: {result['max_wall_seconds_with_new_worker']}")
    print(f"peak memory in MB: {result['slow_peak_mb']}")
    return result


def as_expected(rows: Sequence[Row], accepted: Sequence[bool]) -> dict[str, Any]:
    wrong = Counter(
        f"{row.category}, {'not accepted' if row.equal else 'accepted'}"
        for row, found in zip(rows, accepted, strict=True)
        if row.equal != found
    )
    right = len(rows) - wrong.total()
    return {
        "rows": len(rows),
        "right": right,
        "interval": [*wilson(right, len(rows))],
        "wrong": dict(wrong.most_common()),
    }


def warm(pool: Pool) -> None:
    """Start the worker."""
    pool.submit(Job(Submission(*UNDECIDED))).result()


def one_by_one(pool: Pool, rows: Iterable[Row]) -> tuple[list[Verdict], list[float]]:
    verdicts, walls = [], []
    for row in rows:
        started = time.perf_counter()
        verdicts.append(pool.submit(Job(row.submission)).result())
        walls.append(time.perf_counter() - started)
    return verdicts, walls


def pool_limits() -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(Pool).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


class PeakMemory:
    """The largest resident size of a worker, and of this process, meanwhile. Linux only."""

    def __enter__(self) -> "PeakMemory":
        self.workers_mb = self.caller_mb = 0.0
        forget_peak()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.caller_mb = self._peak()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.workers_mb = max([self.workers_mb, *(self._peak(pid) for pid in children())])

    @staticmethod
    def _peak(pid: int | str = "self") -> float:
        """MiB; 0 of a worker that has ended since."""
        return (peak_bytes(process=pid) or 0) / 2**20


def previous(about: dict[str, Any]) -> dict[str, Any]:
    """The legs of the last result, for those that are not run now, if it was made here and with the same settings."""
    path = RESULTS / "verifiers.json"
    last = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = all(last.get(name) == value for name, value in (about | {"environment": environment()}).items())
    return last["legs"] if same else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help=f"the labelled rows ({DATA})")
    parser.add_argument("--legs", default="accuracy,hostile,throughput,faults", help="which ones, with commas")
    parser.add_argument("--rows", type=int, help="a trial on so many rows a file")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"rounds of the throughput leg ({REPEATS})")
    given = parser.parse_args()
    legs = {
        "accuracy": lambda: accuracy(given.data, given.rows),
        "hostile": lambda: hostile(given.data, given.rows),
        "throughput": lambda: throughput(given.data, given.rows or MIX_ROWS, given.repeats),
        "faults": faults,
    }
    chosen = given.legs.split(",")
    if unknown := [name for name in chosen if name not in legs]:
        parser.error(f"no leg {', '.join(unknown)}; there are {', '.join(legs)}")
    if chosen != ["faults"] and (absent := missing(given.data)):
        print(f"no labelled rows (--data), nothing measured: {given.data} lacks {', '.join(absent)} (.jsonl)")
        return
    done = {name: legs[name]() for name in chosen}
    if given.rows:
        print("a trial: nothing written")
        return
    about = {"peer": versions(), "pool": pool_limits(), "leniency": Leniency()._asdict()}
    write("verifiers", about | {"legs": previous(about) | done})


if __name__ == "__main__":
    main()
