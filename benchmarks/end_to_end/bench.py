"""End to end: both tools train the embedded policy on `arithmetic`, each generating for itself, against TRL.

    make bench-env
    python benchmarks/end_to_end/bench.py --seeds 5

Both get the same problems in every step, the same group size, loss, optimiser, number of steps and verifier, in
float32. They take turns in fresh processes, once a seed. Reward at equal trained tokens: the mean score of the last
five steps that a tool finished within the number of tokens that both had sampled at the end. Intervals are Student's
over seeds; the difference is taken between runs with the same seed. A step's seconds are all it takes, from the
problems to the new weights; the first step is not counted.
"""

import argparse
import sys
from itertools import accumulate
from typing import Any

from benchmarks.common import write
from benchmarks.quickstart.bench import interval
from benchmarks.training.pairs import PEER_PYTHON, Pair, Report, run, spread, summary

SETTINGS = {
    "method": "rlvr",
    "model": "quickstart",
    "data": "arithmetic",
    "device": "cpu",
    "dtype": "float32",
    "rollout.dtype": "float32",
    "prompts_per_step": 16,
    "samples_per_prompt": 8,
    "prompt.template": "{question}",
    "rollout.max_new_tokens": 56,
    "advantage.ddof": 1,
    "advantage.eps": 1e-4,
    "loss.clip_low": 0.2,
    "loss.clip_high": 0.2,
    "loss.reduction": "constant",
    "optim.lr": 1e-4,
    "optim.weight_decay": 0.0,
    "optim.max_grad_norm": 1.0,
}
PEER = {"loss_type": "dr_grpo", "scale_rewards": "group", "epsilon": 0.2, "learning_rate": 1e-4}
WINDOW = 5


def task_of(seed: int, num_steps: int) -> dict[str, Any]:
    """One seed's task: settings of both sides, and the problems of every step, which rlsd draws."""
    from rlsd_cli.config.resolve import Layer, merge
    from rlsd_cli.data.curriculum import step_problems
    from rlsd_cli.data.prompts import student_text
    from rlsd_cli.data.sources import load_splits
    from rlsd_cli.policy.catalog import local_path

    settings = SETTINGS | {"seed": seed, "steps": num_steps}
    config = merge([Layer("leg", settings)], Layer("task", {})).config
    train = load_splits(config).train
    steps = [step_problems(train, config, number) for number in range(1, num_steps + 1)]
    return {
        "settings": settings,
        "peer": PEER | {"seed": seed},
        "model": str(local_path("quickstart")),
        "problems": [[(student_text(problem, config), problem.answer) for problem in step] for step in steps],
        "num_steps": num_steps,
        "sequences_per_step": config.prompts_per_step * config.group_size,
        "group": config.group_size,
        "max_new_tokens": config.rollout.max_new_tokens,
        "defaults": False,
    }


def reward_within(report: Report, budget: int) -> float:
    """Mean score of the last `WINDOW` steps that ended within so many sampled tokens."""
    done = sum(total <= budget for total in accumulate(report.details["tokens"]))
    window = report.details["rewards"][max(0, done - WINDOW) : done]
    return sum(window) / len(window)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    chosen = parser.parse_args()
    pairs, ends = [], []
    for seed in range(chosen.seeds):
        task = task_of(seed, chosen.steps)
        pair = Pair(run(sys.executable, "end_to_end/side.py", task), run(PEER_PYTHON, "end_to_end/peer.py", task))
        budget = min(sum(report.details["tokens"]) for report in pair)
        pairs.append(pair)
        ends.append([reward_within(report, budget) for report in pair])
    print(f"side\treward of the first {WINDOW} steps\treward at equal tokens\ttokens a step\ts a step\tCPU s\tpeak MiB")
    sides = {}
    for place, name in enumerate(("rlsd", "trl")):
        reports = [pair[place] for pair in pairs]
        sides[name] = {
            "reward_start": interval([sum(report.details["rewards"][:WINDOW]) / WINDOW for report in reports]),
            "reward_end": interval([end[place] for end in ends]),
            "tokens": summary([sum(report.details["tokens"]) / chosen.steps for report in reports]),
            "seconds": summary([report.mean("seconds") for report in reports]),
            "cpu_seconds": summary([report.mean("cpu_seconds") for report in reports]),
            "peak_mib": summary([report.peak_mib for report in reports]),
            "runs": [report.details | {"steps": [step._asdict() for step in report.steps]} for report in reports],
        }
        found = sides[name]
        cells = [found["reward_start"], found["reward_end"], f"{found['tokens']['median']:.0f}"]
        cells += [spread(found["seconds"]), spread(found["cpu_seconds"]), f"{found['peak_mib']['median']:.0f}"]
        print("\t".join([name, *cells]))
    speedup, cpu_speedup = (
        summary([peer.mean(quantity) / ours.mean(quantity) for ours, peer in pairs])
        for quantity in ("seconds", "cpu_seconds")
    )
    difference = interval([ours - peer for ours, peer in ends])
    print(f"rlsd - trl: reward at equal tokens {difference}")
    print(f"trl / rlsd: seconds a step {spread(speedup)}, CPU seconds {spread(cpu_speedup)}")
    if not chosen.dry_run:
        about = {"seeds": chosen.seeds, "steps": chosen.steps, "settings": SETTINGS, "peer_settings": PEER}
        ratios = {"speedup": speedup, "cpu_speedup": cpu_speedup, "reward_difference": difference}
        write("end_to_end", about | ratios | {"sides": sides})


if __name__ == "__main__":
    main()
