"""What fits which machine, and what a step of it takes: the preflight's estimate, and a model of time, up to 70B.

    python benchmarks/fits/bench.py

Memory is that of `rlsd train --dry-run`, for published shapes instead of a model that is there. For each model and
machine the first plan that fits is named, plainest first. Time counts operations and bytes (`step_seconds`). It is
compared with recorded steps of `training` on a CPU; its figures for GPUs rest on the assumed rates of `GPU` and have
not been measured.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, write
from rlsd_cli.config.resolve import Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.policy.memory_estimate import estimate
from rlsd_cli.policy.memory_parts import FLOAT32, Memory, Setting
from rlsd_cli.policy.memory_weights import keeps_teacher, num_trained
from rlsd_cli.policy.shape import ModelShape, llama_shape, read_shape

GIB = 2**30
PROMPT, RESPONSE = 512, 4096
BASE: Mapping[str, Any] = {
    "method": "rlsd",
    "prompts_per_step": 32,
    "samples_per_prompt": 8,
    "rollout.max_new_tokens": RESPONSE,
    "rollout.batch_size": 64,
    "optim.tokens_per_microbatch": 8192,
    "evaluation.max_new_tokens": RESPONSE,
}
SERVERS = {"rollout.engine": "vllm", "rollout.servers": ["http://elsewhere:8000"]}


def _shape(
    parameters: float, vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, keys: int, tied: bool
) -> ModelShape:
    return ModelShape(int(parameters * 1e9), vocabulary, hidden, intermediate, layers, heads, hidden, keys, 32768, tied)


MODELS = {
    "0.5B": _shape(0.494, 151936, 896, 4864, 24, 14, 128, True),
    "1.5B": _shape(1.544, 151936, 1536, 8960, 28, 12, 256, True),
    "7B": _shape(7.616, 152064, 3584, 18944, 28, 28, 512, False),
    "14B": _shape(14.77, 152064, 5120, 13824, 48, 40, 1024, False),
    "32B": _shape(32.76, 152064, 5120, 27648, 64, 40, 1024, False),
    "70B": _shape(70.55, 128256, 8192, 28672, 80, 64, 1024, False),
}
"""Sizes from the configs of Qwen2.5 (0.5B to 32B) and Llama 3.1 (70B)."""


class Machine(NamedTuple):
    """GPUs, what each has, GiB, and how much of it the driver and the allocator's leftovers are counted with."""

    gpus: int
    gib: int
    usable: float = 0.92


MACHINES = {"24 GB": Machine(1, 24), "80 GB": Machine(1, 80), "8 x 80 GB": Machine(8, 80)}
RECOMPUTE = {"optim.recompute": 1.0}
ADAPTER = {"adapter.rank": 16}
LIVE = {"teacher.weights": "live"}
OFFLOADED = {"optim.layout": "offloaded"}
SHARDED = {"optim.layout": "sharded"}
ALONE: Mapping[str, Mapping[str, Any]] = {
    "all weights": {},
    "all weights, R": RECOMPUTE,
    "all weights, R, `optim.state=8bit`, `teacher.device=cpu`": RECOMPUTE
    | {"optim.state": "8bit", "teacher.device": "cpu"},
    "adapter, R": RECOMPUTE | ADAPTER,
    "all weights, R, offloaded, servers": RECOMPUTE | SERVERS | OFFLOADED,
    "adapter, R, offloaded, live teacher, servers": RECOMPUTE | SERVERS | ADAPTER | OFFLOADED | LIVE,
}
TOGETHER: Mapping[str, Mapping[str, Any]] = {
    "all weights": {},
    "all weights, R": RECOMPUTE,
    "all weights, R, sharded": RECOMPUTE | SHARDED,
    "all weights, R, sharded, servers": RECOMPUTE | SERVERS | SHARDED,
    "adapter, R, sharded, servers": RECOMPUTE | SERVERS | ADAPTER | SHARDED,
    "all weights, R, offloaded, servers": RECOMPUTE | SERVERS | OFFLOADED,
}
"""Plainest first. R: `optim.recompute=1`; adapter: of rank 16."""


class Fit(NamedTuple):
    """A plan, what it takes of each GPU at its highest, and the main memory that weights pass through, bytes."""

    plan: str
    settings: Mapping[str, Any]
    memory: Memory
    host_bytes: int


def configure(settings: Mapping[str, Any]) -> Config:
    return merge([], Layer("fits", dict(BASE) | dict(settings))).config


def first_fit(shape: ModelShape, machine: Machine) -> Fit | None:
    for plan, settings in (ALONE if machine.gpus == 1 else TOGETHER).items():
        config = configure(settings)
        setting = Setting("cuda", "bfloat16", "bfloat16", 8192, True, PROMPT, machine.gpus)
        memory = estimate(config, shape, setting)
        if memory.peak_bytes <= machine.usable * machine.gib * GIB:
            return Fit(plan, settings, memory, host_bytes(config, shape, machine.gpus))
    return None


def host_bytes(config: Config, shape: ModelShape, processes: int) -> int:
    """Of all processes of the machine: each loads the model whole, and makes its copies there where weights are split;
    offloaded ones stay, with gradients and moments."""
    copies = 1 + (keeps_teacher(config) and config.optim.layout != "whole")
    loaded = FLOAT32 * shape.num_parameters * copies * processes
    kept = FLOAT32 * (shape.num_parameters * copies + 3 * num_trained(config, shape))
    return max(loaded, kept if config.optim.layout == "offloaded" else 0)


# -- time -------------------------------------------------------------------------------------------------------------


class Rates(NamedTuple):
    """What a device does in a second: operations of a pass, bytes of its memory, bytes sent to other devices."""

    operations: float
    memory_bytes: float
    link_bytes: float


GPU = Rates(0.4 * 989e12, 0.6 * 3.35e12, 0.6 * 450e9)
"""Assumed: 40 % of the products (dense bfloat16), 60 % of memory and links, of the data sheet of an H100 SXM."""


def pass_operations(
    shape: ModelShape, tokens: float, scored: float, *, backward: bool, recompute: float = 0.0
) -> float:
    """2 a weight and token forwards, twice that backwards; the head's tiles are made twice, layers as recomputed."""
    if not backward:
        return 2.0 * (shape.trunk * tokens + shape.head * scored)
    return (6.0 + 2.0 * recompute) * shape.trunk * tokens + 8.0 * shape.head * scored


def step_seconds(config: Config, shape: ModelShape, rates: Rates, gpus: int, response: int) -> dict[str, float]:
    """Seconds of each phase of a step with responses of one length; phases follow one another, as in the loop.

    rollout: a decoding step reads all weights and the keys and values so far, in 2 bytes a number. The servers of a
    plan that has them are taken to be as many GPUs again. update: operations, or the gathers and the reduction of every
    micro-batch, in 4 bytes a number, whichever is longer.
    """
    rollouts = config.rollouts_per_step / gpus
    prompts = config.prompts_per_step / gpus
    tokens, scored = rollouts * response + prompts * PROMPT, rollouts * response
    rows = min(rollouts, config.rollout.batch_size)
    keys = 2 * shape.num_layers * shape.keys * (PROMPT / config.group_size + response / 2)
    decode = response * rollouts / rows * (2 * shape.num_parameters + 2 * rows * keys) / rates.memory_bytes
    update = pass_operations(shape, tokens, scored, backward=True, recompute=config.optim.recompute)
    teacher = pass_operations(shape, tokens, scored, backward=False)
    passes = max(1.0, tokens / (config.optim.tokens_per_microbatch or 8192))
    sent = 0.0
    if config.optim.layout == "sharded" and gpus > 1:
        sent = passes * 3 * FLOAT32 * shape.num_parameters * (gpus - 1) / gpus / rates.link_bytes
    return {
        "rollout": decode,
        "teacher": max(teacher / rates.operations, sent / 3),
        "update": max(update / rates.operations, sent),
    }


def checks() -> list[dict[str, Any]]:
    """Recorded optimiser steps on a CPU (`training.json`) against the model: CPU seconds measured and computed.

    One rate for all: that of SmolLM2's pass in `limit.json`, for one of its two threads.
    """
    from benchmarks.training.work import SHAPES

    limit = json.loads((RESULTS / "limit.json").read_text(encoding="utf-8"))["results"]["float32"]
    training = json.loads((RESULTS / "training.json").read_text(encoding="utf-8"))
    rate = limit["gflops"] * 1e9 / 2
    rows = []
    for name, found in training["rows"].items():
        config = SHAPES[name.partition(",")[0]].config
        shape = (
            read_shape(found["model"]) if config is None else llama_shape(config | {"max_position_embeddings": 2048})
        )
        rollouts, mean = found["groups"] * found["group_size"], found["mean_tokens"]
        scored = rollouts * mean["completion"]
        tokens = scored + found["groups"] * mean["prompt"]
        computed = pass_operations(shape, tokens, scored, backward=True) / rate
        measured = found["sides"]["rlsd"]["cpu_seconds"]["median"]
        rows.append({"step": name, "computed": computed, "measured": measured, "ratio": measured / computed})
    return rows


def main() -> None:
    rows = {}
    print("model\tmachine\tplan\tof each GPU, GiB\tmain memory, GiB\trollout, s\tteacher, s\tupdate, s")
    for model, shape in MODELS.items():
        for machine_name, machine in MACHINES.items():
            fit = first_fit(shape, machine)
            name = f"{model}, {machine_name}"
            if fit is None:
                print(f"{model}\t{machine_name}\tnone")
                rows[name] = None
                continue
            seconds = step_seconds(configure(fit.settings), shape, GPU, machine.gpus, RESPONSE // 2)
            peak, host = fit.memory.peak_bytes / GIB, fit.host_bytes / GIB
            times = "\t".join(f"{value:.0f}" for value in seconds.values())
            print(f"{model}\t{machine_name}\t{fit.plan}\t{peak:.1f}\t{host:,.0f}\t{times}")
            rows[name] = {"plan": fit.plan, "peak_gib": peak, "host_gib": host, "seconds": seconds}
    print("step\tcomputed, CPU s\tmeasured, CPU s\tratio")
    checked = checks()
    for row in checked:
        print(f"{row['step']}\t{row['computed']:.2f}\t{row['measured']:.2f}\t{row['ratio']:.2f}")
    write("fits", {"base": dict(BASE), "prompt_tokens": PROMPT, "rows": rows, "checks": checked})


if __name__ == "__main__":
    main()
