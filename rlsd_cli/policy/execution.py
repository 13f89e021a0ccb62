"""How a policy is run: what may change rounding, speed and memory, and never what is computed."""

from typing import NamedTuple


class Execution(NamedTuple):
    """Choices under the names of the config's keys; `plan.json` keeps them.

    dtype: type of forward passes, `float32` or `bfloat16`; weights are float32 in either case
    sampling_dtype: type in which responses are sampled
    attention: `packed` or `padded` batches
    compile: layers and head run compiled where tokens are scored; sampling runs them as they are
    tokens_per_microbatch: the most tokens of a micro-batch
    recompute: share of layers whose activations are not kept
    """

    dtype: str = "float32"
    sampling_dtype: str = "float32"
    attention: str = "padded"
    compile: bool = False
    tokens_per_microbatch: int = 4096
    recompute: float = 0.0

    @property
    def packed(self) -> bool:
        return self.attention == "packed"

    def in_words(self) -> str:
        compiled = "compiled, " if self.compile else ""
        return (
            f"{self.dtype}, {compiled}{self.attention}, {self.tokens_per_microbatch:,} tokens a micro-batch, "
            f"sampling in {self.sampling_dtype}"
        )
