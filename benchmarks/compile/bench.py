"""What `torch.compile` makes of packed batches of lifelike lengths: graphs, recompilations, and whether values stay.

    python benchmarks/compile/bench.py

A Qwen3 of 12 layers on toy widths takes a step: 32 groups of 8 responses whose lengths are log-normal, cut into
micro-batches, each read without gradients, as a teacher reads, and then trained on. Graphs are counted after each.
"""

import argparse
import time
from random import Random
from typing import Any

import torch
from torch._dynamo.utils import counters
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.common import write
from rlsd_cli.policy.batch import TokenBatch, make_batch, micro_batches
from rlsd_cli.policy.compile_check import Pass, compile_fault, recompilation_limits
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.scoring import score_tokens

VOCABULARY = 2048
BUDGET = 2048


def make_policy() -> Policy:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    return Policy(
        model=Qwen3ForCausalLM(config).eval(),
        tokenizer=None,
        device=torch.device("cpu"),
        eos_ids=frozenset([0]),
        eos_id=0,
        pad_id=0,
        context_length=4096,
        execution=Execution(attention="packed"),
    )


def step_batches(groups: int) -> list[TokenBatch]:
    random = Random(0)
    prompts: list[list[int]] = []
    responses: list[list[int]] = []
    for _ in range(groups):
        prompt = [random.randrange(VOCABULARY) for _ in range(random.randint(20, 120))]
        for _ in range(8):
            length = min(1024, max(4, round(random.lognormvariate(4.8, 0.8))))
            prompts.append(prompt)
            responses.append([random.randrange(VOCABULARY) for _ in range(length)])
    return [
        make_batch([prompts[at] for at in cut], [responses[at] for at in cut], 0, torch.device("cpu"), packed=True)
        for cut in micro_batches(prompts, responses, BUDGET, packed=True)
    ]


def work(policy: Policy, batch: TokenBatch) -> Pass:
    with torch.no_grad():
        score_tokens(policy, batch, batch.mask, 1.0)
    logp = score_tokens(policy, batch, batch.mask, 1.0).logp
    logp.sum().backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([each.grad.flatten() for each in policy.model.parameters() if each.grad is not None])
    policy.model.zero_grad()
    return Pass(logp.detach()[batch.mask], gradient)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=32)
    batches, policy = step_batches(parser.parse_args().groups), make_policy()
    limits: list[str] = []
    rows: list[dict[str, Any]] = []
    print("batch\tbuckets\tframes compiled\tgraphs\tseconds\tmean gap, nats\tgradient gap")
    with recompilation_limits(limits.append):
        for number, batch in enumerate(batches, start=1):
            started = time.perf_counter()
            compiled = work(policy.run_as(compile=True), batch)
            seconds = time.perf_counter() - started
            gap, gradient = compiled.distance(work(policy, batch))
            assert batch.rows is not None
            row = {
                "buckets": len(batch.rows.buckets),
                "frames": counters["frames"]["total"],
                "graphs": counters["stats"]["unique_graphs"],
                "seconds": round(seconds, 2),
                "score_gap_nats": gap,
                "gradient_gap": gradient,
            }
            rows.append(row)
            print(number, *row.values(), sep="\t", flush=True)
        fault = compile_fault(policy)
    print(f"limits hit: {limits or 'none'}; check before a run: {fault or 'passed'}")
    write("compile", {"layers": 12, "batches": rows, "limits_hit": limits, "compile_fault": fault})


if __name__ == "__main__":
    main()
