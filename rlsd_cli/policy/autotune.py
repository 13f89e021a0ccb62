"""How a model is best run on this machine: measured in about a second, remembered, overridden by the config.

A run keeps what is chosen, so that it continues as it began; the measurement is kept by machine and model in the user's
cache folder.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from torch.nn.functional import linear

from rlsd_cli import console
from rlsd_cli.config.schema import Config
from rlsd_cli.errors import first_line
from rlsd_cli.policy.batch import TokenBatch, decoder_layers
from rlsd_cli.policy.catalog import models_home
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.memory_estimate import LIKELY_MICROBATCH
from rlsd_cli.policy.model import DTYPES, Policy
from rlsd_cli.policy.scoring import features

WORTHWHILE = 1.25
"""How much faster bfloat16 must be before its rounding is accepted."""
NEARLY_BEST = 0.95
"""Share of the best speed that a smaller micro-batch may have and be preferred."""
SIZES = {"cpu": (1024, 2048, 4096, 8192), "cuda": (4096, 8192, 16384, 32768)}
"""Tokens of the micro-batches that are tried. Smaller ones cut groups apart, whose prompts are then read again."""


class Measured(NamedTuple):
    """Speed of bfloat16 over float32, training and sampling, and the smallest micro-batch of nearly the best speed."""

    bfloat16_speedup: float
    bfloat16_sampling_speedup: float
    tokens_per_microbatch: int


def tune(policy: Policy, config: Config) -> Execution:
    """What the config asks for, and the machine's choice where it says `auto`.

    Compiled layers are still to be checked, see `policy.compile_check`.
    """
    on_gpu = policy.device.type == "cuda"
    dtype, sampling_dtype, tokens = config.dtype, config.rollout.dtype, config.optim.tokens_per_microbatch
    if tokens is None or "auto" in (dtype, sampling_dtype):
        measured = remembered(policy) if policy.layout == "whole" else ASSUMED[policy.device.type]
        tokens = tokens or measured.tokens_per_microbatch
        if dtype == "auto":
            dtype = "bfloat16" if measured.bfloat16_speedup > WORTHWHILE else "float32"
        if sampling_dtype == "auto":
            sampling_dtype = "bfloat16" if measured.bfloat16_sampling_speedup > WORTHWHILE else dtype
    return policy.execution._replace(
        dtype=dtype,
        sampling_dtype=sampling_dtype,
        compile=config.compile == "on" or (config.compile == "auto" and on_gpu),
        tokens_per_microbatch=tokens,
    )


ASSUMED = {
    "cpu": Measured(1.0, 1.0, LIKELY_MICROBATCH["cpu"]),
    "cuda": Measured(math.inf, math.inf, LIKELY_MICROBATCH["cuda"]),
}
"""For weights that no process has whole, which are not measured, and for models whose measurement fails."""


# -- measuring --------------------------------------------------------------------------------------------------------


def remembered(policy: Policy) -> Measured:
    """The measurement of this machine and model, made now if it was not made before; `ASSUMED` where that fails."""
    path, key = models_home().parent / "measured.json", _key(policy)
    known = _read(path)
    if known.get(key, {}).keys() != set(Measured._fields):
        try:
            known[key] = measure(policy)._asdict()
        except Exception as error:
            kind, fault = policy.model.config.model_type, f"{type(error).__name__}: {first_line(error)}"
            console.warning(f"the speed of `{kind}` cannot be measured ({fault}): the plan is an assumed one")
            policy.model.zero_grad(set_to_none=True)
            return ASSUMED[policy.device.type]
        path.parent.mkdir(parents=True, exist_ok=True)
        built = path.with_suffix(f".{os.getpid()}")
        built.write_text(json.dumps(_read(path) | {key: known[key]}, indent=2) + "\n", encoding="utf-8")
        built.replace(path)
    return Measured(**known[key])


def _read(path: Path) -> dict[str, Any]:
    """What was measured before; nothing where the file is missing or is not ours."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: row for key, row in known.items() if isinstance(row, dict)} if isinstance(known, dict) else {}


def _key(policy: Policy) -> str:
    """What a measurement depends on."""
    if policy.device.type == "cuda":
        machine = torch.cuda.get_device_name(policy.device)
    else:
        machine = f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    shape = policy.model.config.to_dict()
    shape.pop("_name_or_path", None)
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True, default=str).encode()).hexdigest()[:12]
    trained = "" if all(part.requires_grad for part in policy.model.parameters()) else " adapter"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{machine} | {versions} | {digest} {policy.execution.attention}{trained}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def measure(policy: Policy, seconds: float = 1.0) -> Measured:
    """Forward and backward of the first two layers, and the products of the first layer alone for sampling.

    Goes to larger micro-batches while the time lasts.
    """
    started = time.perf_counter()
    sizes = SIZES[policy.device.type]
    with _shallow(policy.model, 2):
        probe = sizes[0] // 2
        _pass_seconds(policy.run_as(dtype="float32"), probe)  # the first pass pays for allocation
        base = dict.fromkeys(DTYPES, math.inf)
        while math.inf in base.values() or time.perf_counter() - started < seconds / 2:
            for dtype, best in base.items():  # taking turns, the best of each: others may use the machine too
                base[dtype] = min(best, _pass_seconds(policy.run_as(dtype=dtype), probe))
        speedup = base["float32"] / base["bfloat16"]
        faster = policy.run_as(dtype="bfloat16" if speedup > WORTHWHILE else "float32")
        rates: dict[int, float] = {}
        for size in sizes:
            expected = size / max([probe / base[faster.execution.dtype], *rates.values()])
            if time.perf_counter() - started + expected > seconds:
                break
            try:
                rates[size] = size / _pass_seconds(faster, size)
            except torch.OutOfMemoryError:
                break
    enough = NEARLY_BEST * max(rates.values(), default=0.0)
    fast = [size for size, rate in rates.items() if rate >= enough]
    return Measured(speedup, _sampling_speedup(policy), min(fast, default=sizes[0]))


def _pass_seconds(policy: Policy, size: int) -> float:
    """Seconds of one forward and backward pass over about `size` tokens; leaves no gradients behind."""
    batch = _example(policy, size)
    _synchronise(policy.device)
    started = time.perf_counter()
    states = features(policy, policy.model, batch, batch.mask).sum()
    if states.requires_grad:
        states.backward()  # type: ignore[no-untyped-call]
    _synchronise(policy.device)
    taken = time.perf_counter() - started
    policy.model.zero_grad(set_to_none=True)
    return taken


def _example(policy: Policy, size: int) -> TokenBatch:
    """A group of responses of 64 tokens to a prompt of 64, `size` tokens in all; shorter ones where 128 do not fit."""
    vocabulary = int(policy.model.get_output_embeddings().weight.shape[0])
    half = min(64, policy.context_length // 2)
    part = [token % vocabulary for token in range(half)]
    count = max(1, size // half - 1 if policy.execution.packed else size // (2 * half))
    return policy.batch([part] * count, [part] * count)


def _sampling_speedup(policy: Policy, rows: int = 64) -> float:
    """How much faster the products of one layer are in bfloat16, for as many rows as are sampled at a time."""
    weights = [part for part in decoder_layers(policy.model)[0].parameters() if part.ndim == 2]
    taken = {}
    for dtype in DTYPES.values():
        pairs = [
            (weight.detach().to(dtype), torch.ones(rows, weight.shape[1]).to(weight.device, dtype))
            for weight in weights
        ]

        def products(pairs: list[tuple[Tensor, Tensor]] = pairs) -> None:
            for weight, states in pairs:
                linear(states, weight)

        taken[dtype] = _best_of(products, policy.device)
    return taken[torch.float32] / taken[torch.bfloat16]


def _best_of(work: Callable[[], None], device: torch.device, times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        _synchronise(device)
        started = time.perf_counter()
        work()
        _synchronise(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def _shallow(model: Any, num_layers: int) -> Iterator[None]:
    """Within it the model runs its first layers only; one that does not read this from its config runs whole."""
    config = model.config.get_text_config()
    whole = config.num_hidden_layers
    config.num_hidden_layers = min(whole, num_layers)
    try:
        yield
    finally:
        config.num_hidden_layers = whole
