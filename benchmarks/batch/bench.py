"""Batch assembly: nanoseconds a token, by lists as it was and by tensors as it is.

    python benchmarks/batch/bench.py

1. make_batch  groups of 8 responses to a prompt of 128, packed and padded, from tuples and from int64 tensors
2. cut         micro_batches of 64k tokens under a budget of 4k
3. floats      log-probabilities of a batch from rows to [B, T] and back

Responses have half to one and a half times the named length. Tokens are those a micro-batch counts: packed, a prompt
once and its responses; padded, rows times their width; of floats, those of responses. Sides take turns in one process,
on one thread. Each time is the least of its repetitions, since other work on the machine only adds to it. The sides
must make the same before any is timed.
"""

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from benchmarks.batch.lists import list_batch, list_padded, list_unpadded
from benchmarks.common import write
from rlsd_cli.policy.batch import TokenBatch, TokenIds, make_batch, micro_batches
from rlsd_cli.policy.ragged import Ragged, unpad

CPU = torch.device("cpu")
GROUP = 8
PROMPT = 128
VOCABULARY = 150_000
BUDGETS = (4_096, 16_384, 65_536)
RESPONSES = (64, 512, 4_096)
TURNS = 10
BURST = 3
"""Times a side runs in its turn: the first finds the memory that the side before gave back to the system."""


def draw(budget: int, length: int, *, packed: bool) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], int]:
    """Prompts and responses of about `budget` tokens, at least one of each, and the tokens they count as."""
    random = Random(budget + length)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(random.randrange(VOCABULARY) for _ in range(count))

    prompts, responses = [ids(PROMPT)], [ids(length)]
    while (counted := count_tokens(prompts, responses, packed=packed)) < budget:
        prompts.append(ids(PROMPT) if len(prompts) % GROUP == 0 else prompts[-1])
        responses.append(ids(random.randint(length // 2, 3 * length // 2)))
    return prompts, responses, counted


def count_tokens(prompts: Sequence[TokenIds], responses: Sequence[TokenIds], *, packed: bool) -> int:
    if packed:
        return -(-len(prompts) // GROUP) * PROMPT + sum(map(len, responses))
    return len(prompts) * (PROMPT + max(map(len, responses)))


def as_tensors(rows: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """One tensor a row; rows that are one object stay one."""
    made = {id(row): torch.tensor(row) for row in rows}
    return [made[id(row)] for row in rows]


def fastest(works: dict[str, Callable[[], Any]], num_tokens: int) -> dict[str, float]:
    """Nanoseconds a token of each, taking turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(TURNS):
        for name, work in works.items():
            for _ in range(BURST):
                started = time.perf_counter()
                work()
                best[name] = min(best[name], time.perf_counter() - started)
    return {name: 1e9 * seconds / num_tokens for name, seconds in best.items()}


def flat(batch: TokenBatch) -> list[Any]:
    rows = batch.rows and (batch.rows.slots, batch.rows.home)
    return [each for each in (*batch[:2], *batch[3:], *(rows or ())) if each is not None]


def assembly(budget: int, length: int, *, packed: bool) -> dict[str, Any]:
    prompts, responses, num_tokens = draw(budget, length, packed=packed)
    tensors = as_tensors(prompts), as_tensors(responses)
    works: dict[str, Callable[[], TokenBatch]] = {
        "lists": lambda: list_batch(prompts, responses, 0, CPU, packed=packed),
        "tuples": lambda: make_batch(prompts, responses, 0, CPU, packed=packed),
        "tensors": lambda: make_batch(*tensors, 0, CPU, packed=packed),
    }
    batches = [flat(work()) for work in works.values()]
    if not all(torch.equal(*pair) for batch in batches[1:] for pair in zip(batches[0], batch, strict=True)):
        raise AssertionError("batches differ")
    case = {"leg": "packed" if packed else "padded", "response": length, "responses": len(responses)}
    return case | {"tokens": num_tokens, "nanoseconds_a_token": fastest(works, num_tokens)}


def cutting(length: int, *, packed: bool) -> dict[str, Any]:
    prompts, responses, num_tokens = draw(BUDGETS[-1], length, packed=packed)
    tensors = as_tensors(prompts), as_tensors(responses)
    works = {
        "tuples": lambda: micro_batches(prompts, responses, BUDGETS[0], packed=packed),
        "tensors": lambda: micro_batches(*tensors, BUDGETS[0], packed=packed),
    }
    case = {"leg": f"cut, {'packed' if packed else 'padded'}", "response": length, "responses": len(responses)}
    return case | {"tokens": num_tokens, "nanoseconds_a_token": fastest(works, num_tokens)}


def floats(budget: int, length: int) -> list[dict[str, Any]]:
    _, responses, _ = draw(budget, length, packed=True)
    lengths = [*map(len, responses)]
    random = Random(0)
    rows = [tuple(-random.random() for _ in range(count)) for count in lengths]
    tensors, width = [torch.tensor(row) for row in rows], max(lengths)
    padded, ragged = list_padded(rows, width), Ragged.of(rows)
    if not (torch.equal(padded, ragged.padded(width)) and torch.equal(unpad(padded, lengths).values, ragged.values)):
        raise AssertionError("rows differ")
    legs: dict[str, dict[str, Callable[[], Any]]] = {
        "to [B, T]": {
            "lists": lambda: list_padded(rows, width),
            "tuples": lambda: Ragged.of(rows).padded(width),
            "tensors": lambda: Ragged.of(tensors).padded(width),
        },
        "back": {"lists": lambda: list_unpadded(padded, lengths), "tensors": lambda: unpad(padded, lengths).rows()},
    }
    case = {"response": length, "responses": len(rows), "tokens": sum(lengths)}
    return [{"leg": leg} | case | {"nanoseconds_a_token": fastest(works, sum(lengths))} for leg, works in legs.items()]


def main() -> None:
    torch.set_num_threads(1)
    layouts = (True, False)
    found = [assembly(size, length, packed=each) for each in layouts for size in BUDGETS for length in RESPONSES]
    found += [cutting(length, packed=each) for each in layouts for length in RESPONSES]
    found += [leg for size in BUDGETS for length in RESPONSES for leg in floats(size, length)]
    print("leg\tresponse\tresponses\ttokens\tlists, ns a token\tfrom tuples\tfrom tensors")
    for case in sorted(found, key=lambda case: str(case["leg"])):
        times = (case["nanoseconds_a_token"].get(side) for side in ("lists", "tuples", "tensors"))
        cells = "\t".join("" if each is None else f"{each:.1f}" for each in times)
        print(f"{case['leg']}\t{case['response']}\t{case['responses']}\t{case['tokens']:,}\t{cells}")
    write("batch", {"turns": TURNS, "burst": BURST, "group": GROUP, "prompt": PROMPT, "cases": found})


if __name__ == "__main__":
    main()
