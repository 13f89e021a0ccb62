"""How much memory a run takes at its highest, part by part, from its config and the shape of its model.

What trains is always there: weights, moments of the optimiser, copies for teacher, reference and sampler. On top come
the keys and values of a rollout, all responses at their limit, and the gradients and activations of an update. On a GPU
that is whichever is larger. On a CPU it is both: glibc keeps tensors of up to 32 MiB when they are freed, and what one
phase leaves is in pieces that hardly fit what the other needs.

`benchmarks/memory/bench.py` compares all this with measured runs.
"""

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.memory_parts import PHASES, Memory, Setting, in_words
from rlsd_cli.policy.memory_rollout import rollout_parts
from rlsd_cli.policy.memory_update import update_parts
from rlsd_cli.policy.memory_weights import weight_parts
from rlsd_cli.policy.shape import ModelShape

LIKELY_PROMPT = 256
"""Tokens of the longest prompt, where nobody has read it."""
LIKELY_MICROBATCH = {"cpu": 1024, "cuda": 8192}
"""Tokens of a micro-batch that a measurement may choose, see `policy.autotune`."""


def expected(config: Config, shape: ModelShape, device: str, *, bfloat16_sampling: bool, processes: int = 1) -> Setting:
    """The setting of a run whose prompts have not been read and whose machine has not been measured.

    What is left to the machine is assumed to be what takes more memory; prompts are assumed to be short.
    """
    usual = "bfloat16" if device == "cuda" else "float32"
    dtype = usual if config.dtype == "auto" else config.dtype
    sampling = "bfloat16" if bfloat16_sampling else dtype
    return Setting(
        device=device,
        dtype=dtype,
        sampling_dtype=sampling if config.rollout.dtype == "auto" else config.rollout.dtype,
        tokens_per_microbatch=config.optim.tokens_per_microbatch or LIKELY_MICROBATCH[device],
        packed=config.attention != "padded",
        prompt_tokens=max(1, min(LIKELY_PROMPT, shape.context_length - config.rollout.max_new_tokens)),
        processes=processes,
    )


def estimate(config: Config, shape: ModelShape, setting: Setting) -> Memory:
    """The memory of a run of `config`: main memory on a CPU; on a GPU its own, as torch counts it."""
    sources = (weight_parts, rollout_parts, update_parts)
    return Memory(tuple(part for parts in sources for part in parts(config, shape, setting) if part.num_bytes))


def check_fits(memory: Memory, free_bytes: int) -> str | None:
    """A warning where a run may need more than is free, and None where it fits.

    Raises:
        RlsdError: (exit 3) it takes more than is free however few tokens it works on at a time.
    """
    if memory.fixed_bytes > free_bytes:
        largest = memory.fixed.largest()
        raise RlsdError(
            f"the run takes at least {in_words(memory.fixed_bytes)}, and {in_words(free_bytes)} are free",
            hint=f"the largest part is {largest.name}, {in_words(largest.num_bytes)}: {largest.remedy}",
            exit_code=EXIT_MACHINE,
        )
    if memory.peak_bytes <= free_bytes:
        return None
    loose = [part for part in memory.components if not part.fixed and part.phase in PHASES[memory.highest]]
    largest = Memory(tuple(loose)).largest() if loose else memory.largest()
    return (
        f"the run may take {in_words(memory.peak_bytes)}, and {in_words(free_bytes)} are free; "
        f"{largest.name} are {in_words(largest.num_bytes)} of it: {largest.remedy}"
    )
