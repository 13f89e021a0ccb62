"""Legs T, D and G on one GPU, without a network: training, distillation and generation in one table.

    python benchmarks/gpu.py                      # random weights in the shape of a 0.5B model
    python benchmarks/gpu.py --model DIRECTORY
    python benchmarks/gpu.py --device cpu --shape tiny   # to see that it runs

Each way of doing the same work runs in this process, in turns; the first round is discarded, and medians with their
range are shown. `plain` is what one writes by hand with transformers: every row padded with its own prompt, bfloat16
autocast, the whole tensor of logits; `generate` is transformers' own. MFU is the share of the fastest bfloat16 matrix
product measured here that the necessary operations (3 passes of 2 a weight and token, each prompt read once) come to.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.common import write
from benchmarks.limit.bench import peak_gflops
from rlsd_cli.core.divergences import reverse_kl
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.compile_check import compile_fault
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.meter import forget_peak, peak_bytes
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.probes import can_pack, head_is_plain
from rlsd_cli.policy.scoring import features, score_divergence, score_tokens
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.probes import twin
from rlsd_cli.rollout.sampler import Sampling

SHAPES = {
    "0.5b": {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
    | {"num_attention_heads": 14, "num_key_value_heads": 2},
    "tiny": {"vocab_size": 2_000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "num_key_value_heads": 2},
}
GROUP = 8


class Row(NamedTuple):
    """One way of one leg: seconds of each round, and the most memory that was allocated."""

    leg: str
    way: str
    seconds: list[float]
    peak_gib: float
    tokens: int
    gflop: float


class Work(NamedTuple):
    """Groups of responses to prompts, and to the teacher's longer prompts."""

    prompts: list[list[int]]
    privileged: list[list[int]]
    responses: list[list[int]]


def draw_work(vocabulary: int, groups: int, prompt: int, response: tuple[int, int]) -> Work:
    draw = Random(0)
    work = Work([], [], [])
    for _ in range(groups):
        ids, hint = ([draw.randrange(3, vocabulary) for _ in range(length)] for length in (prompt, 2 * prompt))
        for _ in range(GROUP):
            work.prompts.append(ids)
            work.privileged.append(hint + ids)
            work.responses.append([draw.randrange(3, vocabulary) for _ in range(draw.randint(*response))])
    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model directory instead of random weights")
    parser.add_argument("--shape", choices=SHAPES, default="0.5b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=4)
    arguments = parser.parse_args()
    policy = make_policy(arguments)
    small = arguments.shape == "tiny" and not arguments.model
    prompt, response, new = (16, (8, 24), 16) if small else (256, (128, 512), 256)
    vocabulary = policy.model.get_output_embeddings().weight.shape[0]
    work = draw_work(vocabulary, arguments.groups, prompt, response)
    fault = compile_fault(policy)
    if fault:
        print(f"compiled ways are left out: {fault}")
    rows = [
        *take_turns(
            "T", training_ways(policy, work, compiled=not fault), arguments.rounds, policy, count(policy, work)
        ),
        *take_turns("D", distillation_ways(policy, work), arguments.rounds, policy, count(policy, work, teacher=True)),
        *take_turns("G", generation_ways(policy, work, new), arguments.rounds, policy, (new * len(work.prompts), 0.0)),
    ]
    show(rows, policy)


def make_policy(arguments: argparse.Namespace) -> Policy:
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    if arguments.model:
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[arguments.shape], tie_word_embeddings=True))
    model = model.to(device).eval()
    end = model.get_output_embeddings().weight.shape[0] - 1
    plain_head = head_is_plain(model, device)
    attention = "packed" if plain_head and can_pack(model, device) else "padded"
    execution = Execution("bfloat16", "bfloat16", attention)
    return Policy(model, None, device, frozenset({end}), end, 0, 1 << 20, execution, plain_head)


def count(policy: Policy, work: Work, *, teacher: bool = False) -> tuple[int, float]:
    """Response tokens, and the GFLOP that a pass over them needs; a teacher's is forward only."""
    weights = sum(p.numel() for p in policy.model.base_model.layers.parameters() if p.ndim == 2)
    head = policy.model.get_output_embeddings().weight.numel()
    tokens = sum(map(len, work.responses))
    read = tokens + sum(map(len, work.prompts[::GROUP]))
    flop = 6 * (weights * read + head * tokens)
    if teacher:
        flop += 2 * (weights * (tokens + sum(map(len, work.privileged[::GROUP]))) + head * tokens)
    return tokens, flop / 1e9


# -- the ways ---------------------------------------------------------------------------------------------------------


def batch_of(policy: Policy, work: Work, *, privileged: bool = False) -> TokenBatch:
    return policy.batch(work.privileged if privileged else work.prompts, work.responses)


def plain_logp(policy: Policy, batch: TokenBatch) -> Tensor:
    """Log-probabilities [N, V] of every response token, all at once."""
    with policy.autocast():
        logits = policy.model(input_ids=batch.input_ids, use_cache=False).logits
    return torch.log_softmax(logits.flatten(0, 1)[batch.predictors[batch.mask]].float(), -1)


def training_ways(policy: Policy, work: Work, *, compiled: bool) -> dict[str, Callable[[], None]]:
    def ours(policy: Policy) -> None:
        batch = batch_of(policy, work)
        score_tokens(policy, batch, batch.mask, 1.0).logp.sum().backward()

    def plain() -> None:
        batch = batch_of(policy.run_as(attention="padded"), work)
        all_logp = plain_logp(policy, batch)
        with torch.no_grad():
            -(all_logp.exp() * all_logp).sum(-1)
        all_logp.gather(-1, batch.response_ids[batch.mask][:, None]).sum().backward()

    ways = {"plain": plain, "rlsd": lambda: ours(policy)}
    return ways | ({"rlsd, compiled": lambda: ours(policy.run_as(compile=True))} if compiled else {})


def distillation_ways(policy: Policy, work: Work) -> dict[str, Callable[[], None]]:
    def ours() -> None:
        student, teacher = (batch_of(policy, work, privileged=side) for side in (False, True))
        feature = features(policy, policy.model, student, student.mask)
        with torch.no_grad():
            teacher_feature = features(policy, policy.model, teacher, student.mask)
        weight = torch.ones(student.mask.shape, device=policy.device)
        result = score_divergence(policy, student, weight, 1.0, policy.model, feature, teacher_feature, reverse_kl)
        result.loss.sum().backward()

    def plain() -> None:
        padded = policy.run_as(attention="padded")
        student, teacher = (batch_of(padded, work, privileged=side) for side in (False, True))
        with torch.no_grad():
            teacher_logp = plain_logp(policy, teacher)
        reverse_kl(plain_logp(policy, student), teacher_logp).sum().backward()

    return {"plain": plain, "rlsd": ours}


def generation_ways(policy: Policy, work: Work, new_tokens: int) -> dict[str, Callable[[], Any]]:
    """Both in bfloat16; the end token is suppressed, so that every response is as long as the next."""
    endless = replace(policy, eos_ids=frozenset({-1}))
    prompts = work.prompts[::GROUP]
    sampler = TransformersSampler(endless, len(work.prompts))
    baseline = twin(policy.model, torch.bfloat16)
    ids = torch.tensor(prompts, device=policy.device)

    def ours() -> Any:
        keys = [str(place) for place in range(len(prompts))]
        return sampler.sample(prompts, keys, GROUP, Sampling(new_tokens), "gpu")

    def generate() -> Any:
        return baseline.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            num_return_sequences=GROUP,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=policy.pad_id,
        )

    return {"generate": generate, "rlsd": ours}


# -- timing -----------------------------------------------------------------------------------------------------------


def take_turns(
    leg: str, ways: dict[str, Callable[[], Any]], rounds: int, policy: Policy, size: tuple[int, float]
) -> list[Row]:
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks = dict.fromkeys(ways, 0.0)
    on_gpu = policy.device.type == "cuda"
    for number in range(rounds + 1):
        for way, work in ways.items():
            policy.model.zero_grad(set_to_none=True)
            if on_gpu:
                forget_peak(str(policy.device))
                torch.cuda.synchronize()
            started = time.perf_counter()
            work()
            if on_gpu:
                torch.cuda.synchronize()
                peaks[way] = peak_bytes(str(policy.device)) / 2**30
            if number:
                seconds[way].append(time.perf_counter() - started)
    policy.model.zero_grad(set_to_none=True)
    return [Row(leg, way, seconds[way], peaks[way], *size) for way in ways]


def show(rows: list[Row], policy: Policy) -> None:
    peak = peak_gflops(torch.bfloat16, size=8192 if policy.device.type == "cuda" else 512, device=policy.device)
    name = torch.cuda.get_device_name(policy.device) if policy.device.type == "cuda" else "CPU"
    base = {row.leg: statistics.median(row.seconds) for row in reversed(rows) if row.way in ("plain", "generate")}
    print(f"{name}, fastest bfloat16 product {peak / 1e3:.1f} TFLOP/s")
    print("leg\tway\tseconds\trange\tratio\ttokens/s\tMFU\tpeak GiB")
    for row in rows:
        median = statistics.median(row.seconds)
        share = f"{row.gflop / median / peak:.1%}" if row.gflop else "-"
        print(
            f"{row.leg}\t{row.way}\t{median:.3f}\t{min(row.seconds):.3f}-{max(row.seconds):.3f}\t"
            f"{base[row.leg] / median:.2f}\t{row.tokens / median:,.0f}\t{share}\t{row.peak_gib:.2f}"
        )
    write(f"gpu-{policy.device.type}", {"device": name, "peak_gflops": peak, "rows": [row._asdict() for row in rows]})


if __name__ == "__main__":
    main()
