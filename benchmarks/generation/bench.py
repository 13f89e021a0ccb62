"""Generation: sampling of groups of responses, against `generate` of transformers in the same type.

    python benchmarks/generation/bench.py --pairs 5
    python benchmarks/generation/bench.py --model quickstart --dtype float32 --tokens 64 --pairs 2 --dry-run

Both sides have the same weights and prompts, draw 8 responses of one length to each prompt at temperature 1, and never
end one early. They take turns in fresh processes; the first pair is not counted. Then it is tested that both draw from
the model's own distribution (chi-square, first and third token), and counted how many tokens of rlsd's change with the
number of rows in a batch and with the order of prompts, which only the rounding of kernels can do.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common import write
from benchmarks.training.pairs import VARIABLES, spread, summary
from rlsd_cli.config.resolve import Layer, merge
from rlsd_cli.data.prompts import prompt_ids, student_text
from rlsd_cli.data.sources import load_source
from rlsd_cli.policy.model import load_policy
from rlsd_cli.policy.tokenizer import load_room


class Model(NamedTuple):
    """A model by its name, with the tokens that prompts are made of and how many a prompt has."""

    name: str
    vocabulary: range
    prompt_tokens: int


MODELS = {
    "smollm2": Model("smollm2-135m-instruct", range(3, 49152), 256),
    "quickstart": Model("quickstart", range(2, 20), 128),
}
"""The embedded model has room for 256 tokens, prompt and response."""
TINY = "quickstart-untrained"
NUM_DRAWS = 4000
POSITIONS = (0, 2)
TASK = {"group": 8, "batch_size": 256, "seed": "generation", "show": False}


def run(side: str, task: dict[str, Any]) -> dict[str, Any]:
    """What a side in a process of its own says; what it says on stderr is shown only if it fails."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("side.py"))],
        input=json.dumps(TASK | task | {"side": side}),
        capture_output=True,
        text=True,
        env=os.environ | VARIABLES,
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


# -- speed and memory -------------------------------------------------------------------------------------------------

COLUMNS = (
    "model, type, new tokens",
    "rlsd tokens/s",
    "generate tokens/s",
    "ratio",
    "rlsd tokens/CPU s",
    "generate tokens/CPU s",
    "ratio",
    "rlsd peak MiB",
    "generate peak MiB",
    "rlsd/generate above base",
)


def speed(model: Model, dtype: str, num_tokens: int, num_prompts: int, num_pairs: int) -> dict[str, Any]:
    """Medians with their range over pairs of processes."""
    drawn = random.Random(0)
    prompts = [drawn.choices(model.vocabulary, k=model.prompt_tokens) for _ in range(num_prompts)]
    task = {"model": model.name, "dtype": dtype, "prompts": prompts, "num_tokens": num_tokens}
    pairs = [(run("rlsd", task), run("transformers", task)) for _ in range(1 + num_pairs)][1:]
    total = num_prompts * TASK["group"] * num_tokens

    def above(said: dict[str, Any]) -> float:
        return float(said["peak_mib"] - said["base_mib"])

    sides = {
        name: {
            "tokens_per_second": summary([total / said["seconds"] for said in saids]),
            "tokens_per_cpu_second": summary([total / said["cpu_seconds"] for said in saids]),
            "peak_mib": summary([said["peak_mib"] for said in saids]),
            "base_mib": summary([said["base_mib"] for said in saids]),
            "threads": saids[0]["threads"],
        }
        for name, saids in zip(("rlsd", "transformers"), zip(*pairs, strict=True), strict=True)
    }
    return {
        "pairs": num_pairs,
        "prompts": num_prompts,
        "prompt_tokens": model.prompt_tokens,
        "group": TASK["group"],
        "new_tokens": num_tokens,
        "speedup": summary([peer["seconds"] / ours["seconds"] for ours, peer in pairs]),
        "cpu_speedup": summary([peer["cpu_seconds"] / ours["cpu_seconds"] for ours, peer in pairs]),
        "share_above_base": summary([above(ours) / above(peer) for ours, peer in pairs]),
        "sides": sides,
    }


def line(name: str, found: dict[str, Any]) -> str:
    """A row of the table of `COLUMNS`."""
    ours, peer = found["sides"]["rlsd"], found["sides"]["transformers"]
    cells = [name]
    for quantity, ratio in (("tokens_per_second", "speedup"), ("tokens_per_cpu_second", "cpu_speedup")):
        cells += [f"{side[quantity]['median']:.0f}" for side in (ours, peer)] + [spread(found[ratio])]
    cells += [f"{side['peak_mib']['median']:.0f}" for side in (ours, peer)] + [spread(found["share_above_base"])]
    return "\t".join(cells)


# -- the distribution -------------------------------------------------------------------------------------------------


def distribution() -> list[dict[str, Any]]:
    """p-values of what both sides draw at two positions behind one prompt: against the model, and one another."""
    policy = load_policy(merge([], Layer("leg", {"model": TINY, "device": "cpu", "dtype": "float32"})).config)
    prompt = list(range(2, 12))
    task = {"model": TINY, "dtype": "float32", "prompts": [prompt], "num_tokens": 1 + max(POSITIONS)}
    task |= {"group": NUM_DRAWS, "batch_size": NUM_DRAWS, "show": True}
    ours, peer = (torch.tensor(run(side, task)["responses"]) for side in ("rlsd", "transformers"))
    rows = []
    for position in POSITIONS:
        expected = NUM_DRAWS * marginal(policy.model, prompt, position)
        counts = [torch.bincount(drawn[:, position], minlength=len(expected)).double() for drawn in (ours, peer)]
        rows.append(
            {
                "position": position,
                "draws": NUM_DRAWS,
                "p_rlsd": p_value(((counts[0] - expected) ** 2 / expected).sum(), len(expected) - 1),
                "p_transformers": p_value(((counts[1] - expected) ** 2 / expected).sum(), len(expected) - 1),
                "p_both": p_value(((counts[0] - counts[1]) ** 2 / (counts[0] + counts[1])).sum(), len(expected) - 1),
            }
        )
    return rows


@torch.no_grad()
def marginal(model: Any, prompt: Sequence[int], position: int) -> torch.Tensor:
    """The probability of every token [V] at a position of a response, over all that can come before it; float64."""
    vocabulary = model.get_output_embeddings().weight.shape[0]
    prefixes = torch.tensor([[*prompt, *path] for path in product(range(vocabulary), repeat=position)])
    logp = torch.log_softmax(model(prefixes).logits.double(), -1)
    before = logp[:, len(prompt) - 1 : -1].gather(-1, prefixes[:, len(prompt) :, None]).sum((1, 2))
    return (before[:, None] + logp[:, -1]).exp().sum(0)


def p_value(statistic: torch.Tensor, degrees: int) -> float:
    """The chance of a chi-square statistic at least as large."""
    return float(torch.special.gammaincc(torch.tensor(degrees / 2).double(), statistic / 2))


# -- draws and batches ------------------------------------------------------------------------------------------------


def agreement(model: Model, dtype: str, num_prompts: int, num_tokens: int) -> list[dict[str, Any]]:
    """Responses to arithmetic problems that change with the batch they are drawn in, and how soon."""
    config = merge([], Layer("leg", {"model": model.name})).config
    tokenizer = load_room(model.name).tokenizer
    problems = load_source(f"arithmetic:count={num_prompts}")
    prompts = [prompt_ids(student_text(problem, config), config, tokenizer) for problem in problems]
    task = {"model": model.name, "dtype": dtype, "prompts": prompts, "num_tokens": num_tokens, "show": True}
    group = TASK["group"]
    whole = run("rlsd", task)["responses"]
    reversed_groups = run("rlsd", task | {"prompts": prompts[::-1]})["responses"]
    others = {
        f"batch_size {3 * group + 1}": run("rlsd", task | {"batch_size": 3 * group + 1})["responses"],
        "prompts in reverse": [
            response
            for first in range(len(reversed_groups) - group, -1, -group)
            for response in reversed_groups[first : first + group]
        ],
    }
    return [{"dtype": dtype, "change": name} | changes(whole, other) for name, other in others.items()]


def changes(responses: Sequence[list[int]], others: Sequence[list[int]]) -> dict[str, Any]:
    """How many responses differ, and tokens drawn behind equal ones for each that came out different."""
    equal = [
        next((place for place, (a, b) in enumerate(zip(*pair, strict=True)) if a != b), None)
        for pair in zip(responses, others, strict=True)
    ]
    different = [place for place in equal if place is not None]
    compared = sum(place + 1 for place in different) + sum(
        len(response) for response, place in zip(responses, equal, strict=True) if place is None
    )
    return {"responses": len(responses), "different": len(different), "compared_tokens": compared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 128], help="tokens in a response")
    parser.add_argument("--prompts", type=int, default=4, help="prompts in the batch; each gets 8 responses")
    parser.add_argument("--pairs", type=int, default=5, help="processes of each side, besides the first")
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    chosen = parser.parse_args()
    rows = {}
    print("\t".join(COLUMNS))
    for model, dtype, num_tokens in product(chosen.model, chosen.dtype, chosen.tokens):
        name = f"{model}, {dtype}, {num_tokens}"
        rows[name] = speed(MODELS[model], dtype, num_tokens, chosen.prompts, chosen.pairs)
        print(line(name, rows[name]), flush=True)
    drawn = distribution()
    print("position\trlsd and the model\tgenerate and the model\trlsd and generate (p-values)")
    for row in drawn:
        print(f"{row['position']}\t{row['p_rlsd']:.3f}\t{row['p_transformers']:.3f}\t{row['p_both']:.3f}")
    agreed = {
        model: [row for dtype in chosen.dtype for row in agreement(MODELS[model], dtype, 8, 64)]
        for model in chosen.model
    }
    print("model\ttype\tchange\tresponses\tdifferent\ttokens compared")
    for model, found in agreed.items():
        for row in found:
            print("\t".join(map(str, (model, *row.values()))))
    if not chosen.dry_run:
        write("generation", {"rows": rows, "distribution": drawn, "agreement": agreed})


if __name__ == "__main__":
    main()
