"""Every built-in task learned from nothing: worked solutions first (`sft`), then the verifier (`rlvr`).

    python benchmarks/tasks/bench.py --tasks linear knights --seed 0

`tiny-untrained`, a Llama of 0.87 million parameters that reads characters, is trained on a task with small knobs;
the `rlvr` run starts from the last checkpoint of the `sft` run. `arithmetic` starts from the packaged `quickstart`
policy and has no first phase. Accuracy is greedy, on held-out problems, with its 95 % Wilson interval.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, write


class Setting(NamedTuple):
    """What a task is trained on: `data` with its knobs, the longest response, steps of both phases."""

    data: str
    max_new_tokens: int
    sft_steps: int
    rl_steps: int
    model: str = "tiny-untrained"


SETTINGS = {
    "arithmetic": Setting("arithmetic", 56, 0, 40, model="quickstart"),
    "sums": Setting("sums:terms=2:largest=50", 30, 600, 150),
    "linear": Setting("linear:largest=3", 50, 1000, 20),
    "base-conversion": Setting("base-conversion:base_from=10:base_to=2:digits=3", 175, 1000, 20),
    "countdown": Setting("countdown:numbers=3:largest=9", 130, 1500, 20),
    "latin": Setting("latin:blanks=4", 155, 600, 20),
    "knights": Setting("knights", 230, 600, 20),
}
SFT = {
    "prompts_per_step": 16,
    "optim.lr": 2e-3,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 20,
    "optim.beta2": 0.98,
}
RL = {"prompts_per_step": 8, "samples_per_prompt": 8, "optim.lr": 1e-4}
EVERY_RUN = {
    "prompt.template": "{question}",
    "optim.tokens_per_microbatch": 8192,
    "evaluation.problems": 200,
    "evaluation.every": 0,
    "checkpoint.every": 0,
}


SHARED: dict[str, Any] = {"sft": SFT, "rl": RL, "every_run": EVERY_RUN}


def train(method: str, model: str, setting: Setting, steps: int, seed: int, root: Path) -> dict[str, Any]:
    """One run in a process of its own; its summary."""
    keys = EVERY_RUN | (SFT if method == "sft" else RL)
    keys |= {"method": method, "model": model, "data": setting.data, "steps": steps, "seed": seed}
    keys["rollout.max_new_tokens"] = setting.max_new_tokens
    command = [sys.executable, "-m", "rlsd_cli.app", "--root", str(root), "train", "--json", "--quiet"]
    done = subprocess.run(
        [*command, *(f"{key}={value}" for key, value in keys.items())], check=True, capture_output=True, text=True
    )
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def phases(setting: Setting, seed: int, root: Path) -> dict[str, dict[str, Any]]:
    """Both phases of a task, by method; the second goes on where the first ended."""
    model, done = setting.model, {}
    for method, steps in (("sft", setting.sft_steps), ("rlvr", setting.rl_steps)):
        if steps:
            run = train(method, model, setting, steps, seed, root)
            summary = next(Path(run["run"]).glob("evals/*/*/summary.json"))
            problems = json.loads(summary.read_text(encoding="utf-8"))["n"]
            kept = {key: run[key] for key in ("start", "final", "seconds")}
            done[method] = {"steps": steps, "held_out_problems": problems} | kept
            model = f"{run['run']}/checkpoints/{steps:06d}"
    return done


def num_parameters(model: str, seed: int) -> int:
    from rlsd_cli.config.schema import Config
    from rlsd_cli.policy.model import load_policy

    policy = load_policy(Config(model=model, seed=seed, device="cpu"))
    return sum(parameter.numel() for parameter in policy.model.parameters())


def earlier(seed: int) -> dict[str, dict[str, Any]]:
    """The tasks that are recorded already with this seed and these settings, by name."""
    path = RESULTS / "tasks.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = all(found.get(name) == value for name, value in ({"seed": seed} | SHARED).items())
    return {row["task"]: row for row in found["tasks"]} if same else {}


def show(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{score['accuracy']:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--sft-steps", type=int, help="instead of each task's own")
    parser.add_argument("--rl-steps", type=int, help="instead of each task's own")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = earlier(options.seed)
    print("task\tmethod\tsteps\tproblems\taccuracy at start\taccuracy at the end\tseconds")
    for task in options.tasks:
        setting = SETTINGS[task]
        if options.sft_steps is not None and setting.sft_steps:
            setting = setting._replace(sft_steps=options.sft_steps)
        if options.rl_steps is not None:
            setting = setting._replace(rl_steps=options.rl_steps)
        with tempfile.TemporaryDirectory() as folder:
            done = phases(setting, options.seed, Path(folder))
        parameters = num_parameters(setting.model, options.seed)
        rows[task] = {"task": task, **setting._asdict(), "parameters": parameters, "phases": done}
        for method, run in done.items():
            cells = [run["steps"], run["held_out_problems"], show(run["start"]), show(run["final"])]
            print("\t".join(map(str, [task, method, *cells, f"{run['seconds']:.0f}"])), flush=True)
        rows = earlier(options.seed) | {task: rows[task]}
        write("tasks", {"seed": options.seed, **SHARED, "tasks": [rows[name] for name in SETTINGS if name in rows]})


if __name__ == "__main__":
    main()
