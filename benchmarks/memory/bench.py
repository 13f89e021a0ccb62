"""The memory that `rlsd train` announces against the memory that it takes.

    python benchmarks/memory/bench.py --cases mid mid-8bit

Each case is a run of two steps in a fresh process, through the command line: real prompts, rollouts, verdicts and
updates. Every response that ends gets a score from its hash, so that every group has something to learn from; random
models end one after about `LENGTH` tokens, and there are enough of them to fill a micro-batch. The peak is the kernel's
count of the process's resident memory (on a GPU torch's count of its own); the estimate is what the run wrote down
before it began. Estimates may be up to 15 % off.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, write

TOLERANCE = 0.15
WORDS = 24
LENGTH = 64
EVERY_RUN: Mapping[str, Any] = {
    "steps": 2,
    "prompts_per_step": 4,
    "samples_per_prompt": 8,
    "rollout.max_new_tokens": 128,
    "rollout.dtype": "float32",
    "dtype": "float32",
    "prompt.template": "{question}",
    "optim.tokens_per_microbatch": 1024,
    "evaluation.problems": 4,
    "evaluation.every": 0,
    "checkpoint.every": 0,
    "verification.workers": 1,
    "verifier": "benchmarks.memory.bench:score",
    "method": "rlvr",
}


class Case(NamedTuple):
    """A model, a shape of `training/work.py` or a name of the catalogue, and what differs from `EVERY_RUN`."""

    model: str
    settings: Mapping[str, Any] = {}


LARGE = {"prompts_per_step": 8, "optim.tokens_per_microbatch": 2048}
TAUGHT = {"teacher.template": "{prompt} {reference}"}
SMALL = {"prompts_per_step": 2, "rollout.max_new_tokens": 32}
CASES = {
    "embedded": Case("tiny-untrained", LARGE | {"rollout.max_new_tokens": 256}),
    "tiny": Case("tiny"),
    "tiny-2048": Case("tiny", LARGE),
    "tiny-opsd": Case("tiny", TAUGHT | {"method": "opsd"}),
    "mid": Case("mid"),
    "mid-2048": Case("mid", LARGE),
    "mid-padded": Case("mid", {"attention": "padded"}),
    "mid-bfloat16": Case("mid", {"dtype": "bfloat16", "rollout.dtype": "bfloat16"}),
    "mid-8bit": Case("mid", {"optim.state": "8bit"}),
    "mid-recompute": Case("mid", LARGE | {"optim.recompute": 1.0}),
    "mid-opsd": Case("mid", TAUGHT | {"method": "opsd"}),
    "smollm2": Case("smollm2"),
    "smollm2-half": Case("smollm2", {"optim.recompute": 0.5}),
    "smollm2-one-batch": Case("smollm2", SMALL),
    "smollm2-bfloat16-sampler": Case("smollm2", SMALL | {"rollout.dtype": "bfloat16"}),
    "smollm2-adapter": Case("smollm2", SMALL | {"adapter.rank": 16}),
    "smollm2-rlsd-kl": Case(
        "smollm2", TAUGHT | {"method": "rlsd", "loss.kl_coef": 0.01, "optim.tokens_per_microbatch": 512}
    ),
}


def score(submission: Any) -> float:
    """The verifier: 1 for about half of the responses, whatever they say."""
    return float(hashlib.sha256(submission.response.encode()).digest()[0] % 2)


def write_problems(path: Path) -> None:
    """Questions of `WORDS` words that every tokenizer here has."""
    draw = Random(0)
    rows = (
        {
            "question": " ".join(f"t{draw.randint(3, 999)}" for _ in range(WORDS)),
            "answer": "t1",
            "solution": "t1 " * WORDS,
        }
        for _ in range(200)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def model_of(name: str, folder: Path) -> str:
    """What `model` is to be for a case: made or fetched once, and every `LENGTH`-th of its tokens is an end."""
    from benchmarks.training.work import SHAPES, make_model

    if name not in SHAPES:
        return name
    target = folder / name
    if not target.is_dir():
        target.mkdir()
        made = make_model(SHAPES[name], target)
        if made != target:
            for file in made.iterdir():
                (target / file.name).symlink_to(file)
        vocabulary = json.loads((target / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        ends = {"eos_token_id": [1, *range(LENGTH, vocabulary, LENGTH)], "pad_token_id": 0}
        (target / "generation_config.json").unlink(missing_ok=True)
        (target / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")
    return str(target)


def run(name: str, folder: Path) -> dict[str, Any]:
    """One case: what it announced and what it took, MiB."""
    case = CASES[name]
    settings = EVERY_RUN | {"data": folder / "problems.jsonl", "model": model_of(case.model, folder)} | case.settings
    command = [sys.executable, "-m", "rlsd_cli.app", "--root", str(folder / name), "train", "--quiet", "--json"]
    done = subprocess.run(
        [*command, *(f"{key}={value}" for key, value in settings.items())],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    summary = json.loads(done.stdout)
    path = Path(summary["run"])
    status = json.loads((path / "status.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    if not all(row["trained_tokens"] for row in rows):
        raise SystemExit(f"{name}: a step had nothing to learn from")
    estimated, measured = status["estimated_memory_mb"], summary["peak_memory_mb"]
    return {
        "case": name,
        "model": case.model,
        "settings": dict(case.settings),
        "response_tokens_mean": rows[-1]["response_tokens_mean"],
        "estimated_mib": estimated,
        "measured_mib": measured,
        "error": estimated / measured - 1,
    }


def earlier() -> dict[str, dict[str, Any]]:
    """The cases that are recorded already, by name, if every run had these settings."""
    path = RESULTS / "memory.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = found.get("every_run") == dict(EVERY_RUN)
    return {row["case"]: row for row in found["cases"] if row["case"] in CASES} if same else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    names = parser.parse_args().cases
    rows = earlier()
    print("case\testimated MiB\tmeasured MiB\terror")
    with tempfile.TemporaryDirectory() as folder:
        write_problems(Path(folder) / "problems.jsonl")
        for name in names:
            row = rows[name] = run(name, Path(folder))
            print(f"{name}\t{row['estimated_mib']:,}\t{row['measured_mib']:,}\t{row['error']:+.1%}", flush=True)
            write("memory", {"every_run": dict(EVERY_RUN), "cases": [rows[case] for case in CASES if case in rows]})
    off = [name for name in names if abs(rows[name]["error"]) > TOLERANCE]
    if off:
        raise SystemExit(f"the estimate is off for {', '.join(off)}")


if __name__ == "__main__":
    main()
