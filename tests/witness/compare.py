"""Holds the working tree's numbers to those of a commit, bit for bit.

    python tests/witness/compare.py HEAD             all runs: about two minutes on two cores
    python tests/witness/compare.py main kl opsd     those whose name has one of these words
    python tests/witness/compare.py --write          write metrics.json, which the tests hold the runs to

Both trees run `rlsd train` in this Python environment, each with its own `runs.py`. Then every number of metrics.jsonl
but times and memory, every field of every rollout, the evaluations' summaries and the last checkpoint's weights are
compared. Exits with 1 when anything differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.witness.records import Difference, Place, Values, columns_of, difference, values_of  # noqa: E402
from tests.witness.runner import perform, table_of  # noqa: E402

RENAMED: Mapping[str, str] = {"metrics.dead_groups": "metrics.zero_variance_groups"}
"""Fields of records with a new name, `metrics.gap` or a whole `rollouts`: old to new. Their values are compared."""
GONE: Sequence[str] = ()
NEW: Sequence[str] = (
    *("metrics.left_out", "metrics.told_rollouts", "metrics.weights_digest"),
    *("rollouts.correct", "rollouts.drawn_under", "rollouts.extracted", "rollouts.format"),
    *("rollouts.group", "rollouts.left_out", "rollouts.old_logp", "rollouts.prompt_ids", "rollouts.readings"),
    *("rollouts.sampled_logp", "rollouts.sandbox", "rollouts.verdict_score", "rollouts.version", "rollouts.weak"),
    *("rollouts.values", "metrics.reward_parts", "rollouts.reward_parts"),
)
"""Fields that only the commit, or only this tree, has on purpose."""
KEPT = ROOT / "tests" / "witness" / "metrics.json"
SAME_ROUNDING = {"OMP_NUM_THREADS": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", help="what this tree is compared with")
    parser.add_argument("words", nargs="*", help="only runs whose name has one of these words")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs in DIR/before and DIR/after")
    parser.add_argument("--write", action="store_true", help="write metrics.json and stop")
    asked = parser.parse_args()
    if asked.write == bool(asked.commit):
        parser.error("give a commit to compare with, or --write")
    with tempfile.TemporaryDirectory(prefix="witness-") as scratch:
        folder = asked.keep or Path(scratch)
        if asked.write:
            return write(folder)
        with worktree(asked.commit, Path(scratch) / "tree") as before:
            return compare(before, folder, asked.words)


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit, while it lasts."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def write(folder: Path) -> int:
    table = table_of(ROOT)
    names = [name for name in table["ALONE"] if name not in table["COARSE"]]
    perform(ROOT, names, folder, SAME_ROUNDING)
    columns = {name: columns_of(folder / name / "latest") for name in names}
    runs = (
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(field)}: {json.dumps(values)}" for field, values in run.items())
        + "\n}"
        for name, run in columns.items()
    )
    KEPT.write_text("{\n" + ",\n".join(runs) + "\n}\n", encoding="utf-8")
    print(f"{len(names)} runs, {KEPT.stat().st_size:,} bytes in {KEPT.relative_to(ROOT)}")
    return 0


def compare(before: Path, folder: Path, words: Sequence[str]) -> int:
    """Run both trees at the same time, print a line a run, and return the exit code."""
    tables = [table_of(tree) for tree in (before, ROOT)]
    had, has = ([*table["ALONE"], *table["TOGETHER"]] for table in tables)
    names = [name for name in has if name in had and (not words or any(word in name for word in words))]
    for name in set(had) ^ set(has):
        print(f"{name:32} only in {'the commit' if name in had else 'this tree'}")
    if not names:
        print("no run has such a name")
        return 1
    for name in names:
        was, now = (set(table["arguments"]((table["ALONE"] | table["TOGETHER"])[name])) for table in tables)
        if was != now:
            print(
                f"{name:32} is asked for in other words: {' '.join(sorted(was - now))} -> {' '.join(sorted(now - was))}"
            )
    sides = (before, folder / "before"), (ROOT, folder / "after")
    with ThreadPoolExecutor(len(sides)) as pool:
        for done in [pool.submit(perform, tree, names, runs, SAME_ROUNDING) for tree, runs in sides]:
            done.result()
    alike = [_report(name, *(runs for _, runs in sides)) for name in names]
    print(f"{sum(alike)} of {len(names)} runs are alike, bit for bit")
    return 0 if all(alike) else 1


def _report(name: str, *sides: Path) -> bool:
    """Whether a run is the same on both sides, once it is said."""
    for side in sides:
        if not _is_done(side / name / "latest"):
            log = side / f"{name}.log"
            print(f"{name:32} did not finish {side.name}\n{log.read_text(encoding='utf-8')[-2000:]}")
            return False
    before, after = (values_of(side / name / "latest") for side in sides)
    found = difference(renamed(before), after)
    lines, alike = in_words(found)
    print(f"{name:32} " + "\n    ".join(lines))
    return alike


def _is_done(run: Path) -> bool:
    status = run / "status.json"
    return status.is_file() and json.loads(status.read_text(encoding="utf-8"))["status"] == "done"


def renamed(values: Values) -> Values:
    """The values of the commit under today's names."""
    return {Place(_new_name(place.field), place.where): value for place, value in values.items()}


def _new_name(field: str) -> str:
    return next((new + field[len(old) :] for old, new in RENAMED.items() if _is_part(field, old)), field)


def _is_part(field: str, of: str) -> bool:
    return field == of or field.startswith(of + ".")


def in_words(found: Difference) -> tuple[list[str], bool]:
    """What differs, in lines, and whether that is nothing but fields that may."""
    if count := found.fields.total():
        size, place = f"{found.largest:.2g} ({_at(found.largest_at)})", _at(found.first)
        lines = [f"{count:,} of {found.num_values:,} values differ, first {place}, at most by {size}"]
        lines += [f"{number:,} in {field}" for field, number in found.fields.items()]
    else:
        lines = [f"alike, {found.num_values:,} values"]
    unexpected = False
    for fields, known, whose in ((found.only_before, GONE, "the commit"), (found.only_after, NEW, "this tree")):
        for field in sorted(fields):
            expected = any(_is_part(field, part) for part in known)
            unexpected |= not expected
            if not expected:
                lines.append(f"{field}: only in {whose}")
    return lines, not count and not unexpected


def _at(place: Place | None) -> str:
    return f"{place.field}, {place.where}" if place else ""


if __name__ == "__main__":
    sys.exit(main())
