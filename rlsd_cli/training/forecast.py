"""The memory of a run before it begins: a table in a dry run, a refusal or a warning before a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlsd_cli.config.resolve import Resolved
from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, student_text
from rlsd_cli.distributed.ranks import num_processes
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy import meter
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.memory_estimate import check_fits, estimate, expected
from rlsd_cli.policy.memory_parts import MB, Memory, Setting, in_words
from rlsd_cli.policy.shape import read_shape
from rlsd_cli.runs.rundir import RunDir, run_name

if TYPE_CHECKING:
    from rlsd_cli.policy.model import Policy

NUM_LONG_PROMPTS = 8
"""How many of the texts with the most characters are read to find the one with the most tokens."""


class Forecast(NamedTuple):
    """What is known of the memory of a run before it begins.

    memory: the estimate, or None.
    unknown: why there is no estimate.
    free: bytes that are free here.
    measured: bytes that a run of this config has taken.
    """

    memory: Memory | None
    unknown: str | None
    free: int | None
    measured: int | None

    def as_json(self) -> dict[str, Any]:
        memory = self.memory
        estimated = memory and {
            "peak_bytes": memory.peak_bytes,
            "fixed_bytes": memory.fixed_bytes,
            "highest": memory.highest,
            "components": [component._asdict() for component in memory.components],
        }
        return {**(estimated or {"unknown": self.unknown}), "free_bytes": self.free, "measured_bytes": self.measured}

    def in_lines(self) -> list[str]:
        free = "" if self.free is None else f"; {in_words(self.free)} are free"
        measured = "" if self.measured is None else f"; the run of this config took {in_words(self.measured)}"
        if self.memory is None:
            return [f"memory   no estimate: {self.unknown}{free}{measured}"]
        width = max(len(component.name) for component in self.memory.components)
        head = f"memory   at most {in_words(self.memory.peak_bytes)}, in the {self.memory.highest}{free}{measured}"
        return [
            head,
            *(
                f"         {part.name:<{width}}  {in_words(part.num_bytes):>9}  {part.phase:<7}  {part.depends_on}"
                for part in self.memory.components
            ),
        ]


def forecast(resolved: Resolved, root: Path) -> Forecast:
    """The memory of a run, from files alone: by what it chose where it has begun, else by what is likely."""
    config, run = resolved.config, RunDir(root / run_name(resolved))
    measured = _measured(run)
    try:
        device = meter.device_type(config.device)
        shape = read_shape(config.model)
    except RlsdError as error:
        return Forecast(None, error.message, meter.free_bytes("cpu"), measured)
    faster = meter.samples_faster_in_bfloat16()
    setting = expected(config, shape, device, bfloat16_sampling=faster, processes=num_processes())
    if plan := run.plan():
        setting = setting._replace(**_choices(Execution(**plan)))
    free = meter.free_bytes(config.device if device == "cuda" and config.device != "auto" else device)
    return Forecast(estimate(config, shape, setting), None, free, measured)


def _measured(run: RunDir) -> int | None:
    """Bytes that a run has taken so far; None before its first step."""
    peaks = [row["peak_memory_mb"] for row in run.metrics()]
    return max((peak * MB for peak in peaks if peak is not None), default=None)


def refuse_what_cannot_fit(resolved: Resolved, root: Path) -> int | None:
    """Refuse a run that cannot fit. Returns the bytes that are free before its model is loaded.

    Raises:
        RlsdError: (exit 3) what does not depend on the number of tokens takes more than is free.
    """
    found = forecast(resolved, root)
    if found.memory and found.free is not None:
        check_fits(found.memory, found.free)
    return found.free


def memory_of(config: Config, policy: "Policy", problems: Sequence[Problem]) -> Memory | None:
    """The memory of a run by its model and its problems; None for a model whose files do not say how large it is."""
    try:
        shape = read_shape(config.model)
    except RlsdError:
        return None
    setting = Setting(
        device=policy.device.type,
        **_choices(policy.execution),
        prompt_tokens=longest_prompt(problems, config, policy.tokenizer),
        processes=num_processes(),
    )
    return estimate(config, shape, setting)


def _choices(execution: Execution) -> dict[str, Any]:
    """What an estimate needs to know of how a policy is run."""
    return {
        "dtype": execution.dtype,
        "sampling_dtype": execution.sampling_dtype,
        "tokens_per_microbatch": execution.tokens_per_microbatch,
        "packed": execution.packed,
    }


def longest_prompt(problems: Sequence[Problem], config: Config, tokenizer: Any) -> int:
    """Tokens of the longest prompt, among those with the most characters."""
    texts = sorted((student_text(problem, config) for problem in problems), key=len)[-NUM_LONG_PROMPTS:]
    return max(len(prompt_ids(text, config, tokenizer)) for text in texts)
