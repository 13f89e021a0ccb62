"""One side of the generation leg, as a program: reads a task from stdin, does it, prints what it took as JSON.

Memory is resident, in MiB: the base is held before the task, with weights loaded and a few tokens drawn, and the peak,
which the kernel is told to forget at that point, is that of the task.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from training_meter import memory_mib

from rlsd_cli.config.resolve import Layer, merge
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.rollout.sampler import Sampling
from rlsd_cli.rollout.transformers import TransformersSampler

Generate = Callable[[Sequence[list[int]], int], list[list[int]]]
"""Prompts of one length, and how many tokens to draw behind each; gives the responses, prompt by prompt."""


def endless(model: str) -> Policy:
    """A model that nothing ends: its end token is a token like the others."""
    policy = load_policy(merge([], Layer("task", {"model": model, "device": "cpu", "dtype": "float32"})).config)
    return replace(policy, eos_ids=frozenset((-1,)))


def rlsd(task: dict[str, Any]) -> Generate:
    sampler = TransformersSampler(endless(task["model"]), task["dtype"], task["batch_size"])

    def generate(prompts: Sequence[list[int]], num_tokens: int) -> list[list[int]]:
        keys = [json.dumps(prompt) for prompt in prompts]
        rollouts = sampler.sample(prompts, keys, task["group"], Sampling(num_tokens), task["seed"])
        return [rollout.token_ids for rollout in rollouts]

    return generate


def transformers(task: dict[str, Any]) -> Generate:
    model = endless(task["model"]).model.to(getattr(torch, task["dtype"]))
    model.generation_config.eos_token_id = None
    torch.manual_seed(int.from_bytes(task["seed"].encode(), "big") % 2**63)

    def generate(prompts: Sequence[list[int]], num_tokens: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        sequences = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_return_sequences=task["group"],
            max_new_tokens=num_tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=0,
        )
        return sequences[:, ids.shape[1] :].tolist()

    return generate


SIDES = {"rlsd": rlsd, "transformers": transformers}


def main() -> None:
    task = json.load(sys.stdin)
    generate = SIDES[task["side"]](task)
    generate(task["prompts"][:1], 2)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    base = memory_mib("VmRSS")
    started, cpu_started = time.perf_counter(), time.process_time()
    responses = generate(task["prompts"], task["num_tokens"])
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if {len(response) for response in responses} != {task["num_tokens"]}:
        raise AssertionError("a response is shorter or longer than it should be")
    said = {"seconds": seconds, "cpu_seconds": cpu_seconds, "base_mib": base, "peak_mib": memory_mib("VmHWM")}
    print(json.dumps(said | {"threads": torch.get_num_threads(), "responses": responses if task["show"] else None}))


if __name__ == "__main__":
    main()
