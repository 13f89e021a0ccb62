"""One side of the generation leg, as a program: reads a task from stdin, does it, prints what it took as JSON.

Memory is resident, in MiB: the base is held before the task, with weights loaded and a few tokens drawn, and the peak,
which the kernel is told to forget at that point, is that of the task.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from rlsd_cli.config.resolve import Layer, merge
from rlsd_cli.policy.meter import forget_peak, peak_bytes, resident_bytes
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Sampler, Sampling

Generate = Callable[[Sequence[list[int]], int], list[list[int]]]
"""Prompts of one length, and how many tokens to draw behind each; gives the responses, prompt by prompt."""


def endless(model: str) -> Policy:
    """A model that nothing ends: its end token is a token like the others."""
    policy = load_policy(merge([], Layer("task", {"model": model, "device": "cpu", "dtype": "float32"})).config)
    return replace(policy, eos_ids=frozenset((-1,)))


def rlsd(task: dict[str, Any]) -> Generate:
    policy = endless(task["model"]).run_as(sampling_dtype=task["dtype"])
    return drawing(TransformersSampler(policy, task["batch_size"]), policy, task)


def drawing(sampler: Sampler, policy: Policy, task: dict[str, Any]) -> Generate:
    """What a sampler draws; the task keeps the rollouts, and the policy that they are of."""

    def generate(prompts: Sequence[list[int]], num_tokens: int) -> list[list[int]]:
        keys = [json.dumps(prompt) for prompt in prompts]
        task["policy"] = policy
        task["rollouts"] = sampler.sample(prompts, keys, task["group"], Sampling(num_tokens), task["seed"])
        return [rollout.token_ids for rollout in task["rollouts"]]

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


def vllm(task: dict[str, Any]) -> Generate:
    """The engine of `rollout.engine=vllm`, with its own check of the weights."""
    return engine(task, {"rollout.engine": "vllm", "rollout.dtype": task["dtype"]})


def engine(task: dict[str, Any], settings: dict[str, Any]) -> Generate:
    """A sampler as a run makes it, and what the trainer says of its tokens: `gaps` in nats, where the task asks."""
    settings |= {"device": "cpu", "dtype": task["dtype"], "model": task["model"]}
    settings["rollout.batch_size"] = task["batch_size"]
    config = merge([], Layer("task", settings)).config
    policy = replace(load_policy(config), eos_ids=frozenset())
    sampler = make_sampler(policy, config)
    sampler.update_weights()
    return drawing(sampler, policy, task)


@torch.no_grad()
def gaps(task: dict[str, Any]) -> dict[str, float]:
    """Between the sampler's log-probabilities and the trainer's, of every token drawn, nats."""
    policy, rollouts = task["policy"], task["rollouts"]
    found = []
    for number, rollout in enumerate(rollouts):
        prompt = task["prompts"][number // task["group"]]
        batch = policy.batch([prompt], [rollout.token_ids])
        scored = score_tokens(policy, batch, batch.mask, 1.0).logp[batch.mask].float()
        found.append((scored - torch.tensor(rollout.sampled_logp)).abs())
    every = torch.cat(found)
    return {"gap_mean": every.mean().item(), "gap_max": every.max().item()}


SIDES = {
    "rlsd": rlsd,
    "transformers": transformers,
    "vllm": vllm,
    "here": lambda task: engine(task, {"rollout.dtype": task["dtype"]}),
}


def main() -> None:
    task = json.load(sys.stdin)
    generate = SIDES[task["side"]](task)
    generate(task["prompts"][:1], 2)
    forget_peak()
    base = resident_bytes() / 2**20
    started, cpu_started = time.perf_counter(), time.process_time()
    responses = generate(task["prompts"], task["num_tokens"])
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if {len(response) for response in responses} != {task["num_tokens"]}:
        raise AssertionError("a response is shorter or longer than it should be")
    said = {"seconds": seconds, "cpu_seconds": cpu_seconds, "base_mib": base, "peak_mib": peak_bytes() / 2**20}
    if task["side"] in ("vllm", "here"):
        said |= gaps(task)
    print(json.dumps(said | {"threads": torch.get_num_threads(), "responses": responses if task["show"] else None}))


if __name__ == "__main__":
    main()
