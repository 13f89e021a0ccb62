"""`rlsd data prepare`: what it finds, how fast, in how much memory.

    python benchmarks/data/bench.py [DATA] [--rows 100000 1000000]

1. GSM8K from its raw files: counts, repeats, overlap, references that accept themselves, equal bytes when done twice
2. planted  50 of its test problems among its training problems, as they are, with other numbers, other spacing or both,
            inside another text: how many are found, and as what; and what is found that was not planted
3. scale    synthetic word problems, one in a hundred a repeat: rows a second and the largest memory, alone, with
            evaluation problems to look for, and (up to 100,000 rows) with references run through their verifiers

DATA is a folder with `gsm8k/train.jsonl` and `gsm8k/test.jsonl`; without it the first two are left out.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.common import write
from benchmarks.data.rows import write_rows
from rlsd_cli.data.problems import Problem, read_problems

NUM_PLANTED = 50
MAX_CHECKED = 100_000


def prepare(*arguments: str, folder: Path) -> dict[str, Any]:
    """One run in a process of its own: its summary, its seconds and its largest memory."""
    command = [sys.executable, "-c", CHILD, "data", "prepare", *arguments, "--out", str(folder), "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    summary: dict[str, Any] = json.loads(done.stdout)
    peak = int(done.stderr.rsplit("peak ", 1)[1])
    return summary | {"wall_seconds": time.perf_counter() - started, "peak_mb": peak / 2**20}


CHILD = """
import sys
from rlsd_cli.app import main
from rlsd_cli.policy.meter import peak_bytes
try:
    main()
finally:
    print("peak", peak_bytes(), file=sys.stderr)
"""


def gsm8k(data: Path, scratch: Path) -> dict[str, Any]:
    first = prepare(str(data / "gsm8k"), folder=scratch / "first")
    prepare(str(data / "gsm8k"), "--no-check", folder=scratch / "second")
    names = sorted(path.name for path in (scratch / "first").iterdir())
    same = all((scratch / "first" / n).read_bytes() == (scratch / "second" / n).read_bytes() for n in names)
    for split in ("train", "test"):
        found, references = first["splits"][split], first["references"][f"{split}.jsonl"]
        print(
            f"GSM8K {split}\t{found['rows']} rows\t{first['files'][f'{split}.jsonl']['lines']} problems\t"
            f"removed {found['removed'] or 0}\tnoted {found['noted'] or 0}\toverlap {found['overlaps'] or 0}\t"
            f"accept themselves {references['self_accepting']} ({100 * references['self_accepting_rate']:.2f} %)"
        )
    print(f"GSM8K twice\t{'equal' if same else 'DIFFERENT'} bytes\t{first['rows_per_second']:.0f} rows/s")
    return first | {"equal_bytes": same}


# -- planted -------------------------------------------------------------------------------------------------------


def planted(data: Path, scratch: Path) -> dict[str, Any]:
    """Ten test problems in each of five disguises, at random places of the training file."""
    random = Random(0)
    train, test = (read_problems(data / "gsm8k" / f"{split}.jsonl") for split in ("train", "test"))
    chosen = random.sample(test, NUM_PLANTED)
    disguises = [*DISGUISES] * (NUM_PLANTED // len(DISGUISES))
    texts = [DISGUISES[name](problem, random) for name, problem in zip(disguises, chosen, strict=True)]
    rows = [(problem.question, problem.answer, None) for problem in train]
    rows += [(text, "1", index) for index, text in enumerate(texts)]
    random.shuffle(rows)
    folder = scratch / "planted"
    folder.mkdir()
    lines = [json.dumps({"question": question, "answer": answer}) + "\n" for question, answer, _ in rows]
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    held = [json.dumps({"id": each.id, "question": each.question, "answer": each.answer}) + "\n" for each in test]
    (folder / "test.jsonl").write_text("".join(held), encoding="utf-8")
    prepare(str(folder), "--no-check", folder=scratch / "planted-out")
    listed = (scratch / "planted-out/overlap.tsv").read_text(encoding="utf-8").splitlines()[1:]
    found: dict[str, Counter[str]] = {name: Counter() for name in DISGUISES}
    alarms = []
    for line in listed:
        where, _, held_id, kind, share, *_ = line.split("\t")
        index = rows[int(where.split(":")[1]) - 1][2]
        if index is not None and chosen[index].id == held_id:
            found[disguises[index]][kind] += 1
        else:
            alarms.append({"where": where, "held": held_id, "kind": kind, "share": float(share)})
    for name, kinds in found.items():
        print(f"planted, {name}\t{kinds.total()} of {NUM_PLANTED // len(DISGUISES)} found\t{dict(kinds)}")
    print(f"not planted\t{len(alarms)} pairs of GSM8K's own, shares {sorted(alarm['share'] for alarm in alarms)}")
    return {"found": {name: dict(kinds) for name, kinds in found.items()}, "not_planted": alarms}


def _numbers(problem: Problem, random: Random) -> str:
    return re.sub(r"\d+", lambda _: str(random.randint(2, 999)), problem.question)


def _spacing(problem: Problem, random: Random) -> str:
    return "".join(c if c != " " else random.choice((" ", "  ", "\n", "\t")) for c in problem.question)


DISGUISES = {
    "as it is": lambda problem, _: problem.question,
    "other numbers": _numbers,
    "other spacing": _spacing,
    "both": lambda problem, random: _numbers(problem._replace(question=_spacing(problem, random)), random),
    "inside a text": lambda problem, random: f"Read this first. {_numbers(problem, random)} Answer in one word.",
}


# -- scale ---------------------------------------------------------------------------------------------------------


def scale(count: int, data: Path | None, scratch: Path) -> list[dict[str, Any]]:
    source = scratch / f"rows-{count}.jsonl"
    write_rows(source, count)
    legs = {"alone": ["--no-check"]}
    if count <= MAX_CHECKED:
        legs["with references checked"] = []
    if data:
        legs["against GSM8K test"] = ["--no-check", "--against", str(data / "gsm8k/test.jsonl")]
    found = []
    for number, (leg, options) in enumerate(legs.items()):
        done = prepare(str(source), *options, folder=scratch / f"scale-{count}-{number}")
        removed = done["splits"]["train"]["removed"]
        print(
            f"{count:,} rows, {leg}\t{count / done['wall_seconds']:.0f} rows/s\t{done['wall_seconds']:.0f} s\t"
            f"peak {done['peak_mb']:.0f} MB\tremoved {removed}"
        )
        figures = {name: done[name] for name in ("wall_seconds", "peak_mb", "rows_per_second")}
        found.append({"rows": count, "leg": leg, "bytes": source.stat().st_size, "removed": removed, **figures})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    data = arguments.data if (arguments.data / "gsm8k/train.jsonl").is_file() else None
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if data:
            results["gsm8k"] = gsm8k(data, scratch)
            results["planted"] = planted(data, scratch)
        results["scale"] = [row for count in arguments.rows for row in scale(count, data, scratch)]
    write("data", results)


if __name__ == "__main__":
    main()
