"""How far a training pass is from what the machine's matrix products allow, and where the rest goes.

    python benchmarks/limit/bench.py [MODEL]

Floating-point operations of one forward and backward pass over its seconds, as a share of the fastest matrix product
measured in between with the same threads and type. Counted are 6 operations a weight of the trunk and token, 8 a weight
of the head and response token, since its tiles are made twice, and the causal half of attention. The profile sums the
time of each kind of operation.
"""

import argparse
import statistics
import time
from random import Random
from typing import Any

from benchmarks.common import write

GROUPS, GROUP, PROMPT, RESPONSES = 1, 8, 96, (40, 200)
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "mkldnn"),
    "attention": ("scaled_dot_product",),
    "rows in and out of attention": ("aten::index_select", "embedding_dense_backward", "aten::cat"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    result = {dtype: limit(arguments.model, dtype, arguments.passes) for dtype in ("float32", "bfloat16")}
    print("dtype\tpass s\tGFLOP/s\tpeak GFLOP/s\tshare\t" + "\t".join(result["float32"]["profile"]))
    for dtype, row in result.items():
        shares = "\t".join(f"{share:.0%}" for share in row["profile"].values())
        print(
            f"{dtype}\t{row['seconds']:.2f}\t{row['gflops']:.0f}\t{row['peak_gflops']:.0f}\t{row['share']:.0%}\t{shares}"
        )
    write("limit", {"model": arguments.model, "passes": arguments.passes, "results": result})


def limit(model: str, dtype: str, passes: int) -> dict[str, Any]:
    import torch
    from torch.profiler import ProfilerActivity, profile

    from rlsd_cli.config.resolve import Layer, merge
    from rlsd_cli.policy.model import load_policy
    from rlsd_cli.policy.scoring import score_tokens

    config = merge([], Layer("limit", {"model": model, "dtype": dtype, "device": "cpu"})).config
    policy, draw = load_policy(config), Random(0)
    vocabulary, hidden = policy.model.get_output_embeddings().weight.shape
    prompts, responses = [], []
    for _ in range(GROUPS):
        prompt = [draw.randrange(vocabulary) for _ in range(PROMPT)]
        for _ in range(GROUP):
            prompts.append(prompt)
            responses.append([draw.randrange(vocabulary) for _ in range(draw.randint(*RESPONSES))])
    batch = policy.batch(prompts, responses)
    trunk = sum(p.numel() for p in policy.model.base_model.layers.parameters() if p.ndim == 2)
    scored = int(batch.mask.sum())
    attended = sum((len(prompt) + len(response)) ** 2 / 2 for prompt, response in zip(prompts, responses, strict=True))
    flops = (
        6 * trunk * batch.input_ids.numel()
        + 8 * vocabulary * hidden * scored
        + 3 * 4 * attended * hidden * policy.model.config.num_hidden_layers
    )

    def one_pass() -> None:
        score_tokens(policy, batch, batch.mask, 1.0).logp.mean().backward()
        policy.model.zero_grad(set_to_none=True)

    kind = getattr(torch, dtype)
    one_pass()
    peaks, seconds = [peak_gflops(kind)], []
    for _ in range(passes):
        started = time.perf_counter()
        one_pass()
        seconds.append(time.perf_counter() - started)
        peaks.append(peak_gflops(kind))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        one_pass()
    median, peak = statistics.median(seconds), max(peaks)
    return {
        "tokens": batch.input_ids.numel(),
        "scored_tokens": scored,
        "gflop": flops / 1e9,
        "seconds": median,
        "range": [min(seconds), max(seconds)],
        "gflops": flops / 1e9 / median,
        "peak_gflops": peak,
        "share": flops / 1e9 / median / peak,
        "profile": shares({event.key: event.self_cpu_time_total for event in profiled.key_averages()}),
    }


def shares(times: dict[str, float]) -> dict[str, float]:
    """The share of each kind of operation in all of the time."""
    total = sum(times.values())
    found = {
        kind: sum(value for key, value in times.items() if any(part in key for part in parts)) / total
        for kind, parts in KINDS.items()
    }
    return found | {"everything else": 1 - sum(found.values())}


def peak_gflops(dtype: Any, size: int = 2048, device: Any = "cpu") -> float:
    """The best of five square products."""
    import torch

    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        (left @ right)[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return float(2 * size**3 / min(seconds) / 1e9)


if __name__ == "__main__":
    main()
