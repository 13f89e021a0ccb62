"""How time and memory of scoring grow: with the vocabulary, the group and the length.

    python benchmarks/scale/bench.py

One forward and backward pass over a group of responses, in a fresh process a point, the first pass discarded. Beside it
the plain way: every row padded with its own copy of the prompt, and the whole tensor of logits. Peak memory is what the
process held above what it held before the first pass.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.common import write
from rlsd_cli.policy.meter import peak_bytes, resident_bytes

BASE = {"vocabulary": 32_000, "hidden": 128, "layers": 4, "group": 8, "prompt": 128, "response": 128}
AXES = {
    "vocabulary": (32_000, 64_000, 128_000, 256_000),
    "group": (1, 4, 16, 64),
    "prompt": (64, 256, 1024),
    "response": (64, 256, 1024),
}
WAYS = ("rlsd", "plain")


def measure(point: dict[str, Any]) -> dict[str, float]:
    """Median seconds of a pass, and MiB above the base, in this process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlsd_cli.policy.batch import make_batch, trunk_states
    from rlsd_cli.policy.head import Head, token_logp

    torch.manual_seed(0)
    heads = point["hidden"] // 32
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=point["vocabulary"],
            hidden_size=point["hidden"],
            intermediate_size=3 * point["hidden"],
            num_hidden_layers=point["layers"],
            num_attention_heads=heads,
            num_key_value_heads=heads,
            tie_word_embeddings=True,
        )
    ).eval()
    prompt, *responses = (
        torch.randint(point["vocabulary"], (length,)).tolist()
        for length in (point["prompt"], *[point["response"]] * point["group"])
    )
    prompts = [prompt] * point["group"]
    packed = point["way"] == "rlsd"

    def one_pass() -> None:
        batch = make_batch(prompts, responses, 0, torch.device("cpu"), packed=packed)
        states = trunk_states(model, batch)[batch.predictors[batch.mask]]
        target = batch.response_ids[batch.mask]
        if packed:
            logp, _ = token_logp(Head(model.lm_head.weight, None, 1.0), states, target)
        else:
            all_logp = torch.log_softmax(model.lm_head(states), -1)
            logp = all_logp.gather(-1, target[:, None])
            with torch.no_grad():
                -(all_logp.exp() * all_logp).sum(-1)
        logp.mean().backward()

    base, seconds = resident_bytes(), []
    for _ in range(point["passes"] + 1):
        started = time.perf_counter()
        one_pass()
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds[1:]), "mib": (peak_bytes() - base) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure(json.loads(arguments.point))))
        return
    rows = []
    print("axis\tvalue\trlsd s\tplain s\tplain/rlsd\trlsd MiB\tplain MiB\trlsd/plain")
    for axis, values in AXES.items():
        for value in values:
            row: dict[str, Any] = {"axis": axis, "value": value}
            for way in WAYS:
                point = BASE | {axis: value, "way": way, "passes": arguments.passes}
                command = [sys.executable, __file__, "--point", json.dumps(point)]
                row[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append(row)
            ours, plain = row["rlsd"], row["plain"]
            print(
                f"{axis}\t{value}\t{ours['seconds']:.3f}\t{plain['seconds']:.3f}\t"
                f"{plain['seconds'] / ours['seconds']:.2f}\t{ours['mib']:.0f}\t{plain['mib']:.0f}\t"
                f"{ours['mib'] / plain['mib']:.2f}",
                flush=True,
            )
    write("scale", {"base": BASE, "passes": arguments.passes, "rows": rows})


if __name__ == "__main__":
    main()
