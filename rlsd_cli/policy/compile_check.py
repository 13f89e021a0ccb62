"""Whether compiled layers can be trusted: tried before the first step, watched while they run."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.errors import first_line
from rlsd_cli.policy.batch import TokenBatch
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.scoring import score_tokens

NUM_SAMPLED = 4096
"""Numbers compared of the gradient of each parameter."""
EXACT_BOUNDS = 1e-3, 1e-3
"""What float32 may differ by: mean gap of log-probabilities (nats), and gradients relative to their norm."""
ROUNDING_FACTOR = 2.0
"""How much farther from float32 than plain layers compiled ones may be in a smaller type."""


class Pass(NamedTuple):
    """Log-probabilities of a batch, and numbers from the gradient of every parameter."""

    logp: Tensor
    gradient: Tensor

    def distance(self, other: "Pass") -> tuple[float, float]:
        """Mean absolute gap of log-probabilities (nats), and of gradients relative to the other's norm."""
        gap = (self.logp - other.logp).abs().mean().item()
        return gap, ((self.gradient - other.gradient).norm() / other.gradient.norm()).item()


def compile_fault(policy: Policy) -> str | None:
    """Why compiled layers cannot be used: they do not compile, or compute something else on a first batch.

    Scores and gradients are compared: in float32 with those of plain layers; in a smaller type, where rounding may
    set both far apart, each with float32, and compiled layers must not be farther from it than `ROUNDING_FACTOR` times
    the distance of plain ones.
    """
    batch = example_batch(policy)
    as_it_is = policy.run_as(compile=False)
    plain = _pass(as_it_is, batch)
    try:
        compiled = _pass(policy.run_as(compile=True), batch)
    except Exception as error:
        return f"compiling failed ({type(error).__name__}: {first_line(error)})"
    if policy.compute_dtype == torch.float32:
        exact, bounds = plain, EXACT_BOUNDS
    else:
        exact = _pass(as_it_is.run_as(dtype="float32"), batch)
        rounding = plain.distance(exact)
        bounds = ROUNDING_FACTOR * rounding[0], ROUNDING_FACTOR * rounding[1]
    found = compiled.distance(exact)
    for gap, bound, what in zip(found, bounds, ("scores", "gradients"), strict=True):
        if not gap <= bound:
            unit = "nats" if what == "scores" else "of their norm"
            return f"the {what} of compiled layers differ from plain ones by {gap:.2g} {unit}, of {bound:.2g} allowed"
    return None


def example_batch(policy: Policy) -> TokenBatch:
    """About 500 tokens: two prompts with responses of such lengths that packed rows fall into many buckets.

    Fewer where the model does not hold so many in a row.
    """
    vocabulary = int(policy.model.get_output_embeddings().weight.shape[0])
    longest = max(1, policy.context_length // 2)

    def tokens(count: int, first: int) -> list[int]:
        return [(first + 37 * place * place + 11 * place) % vocabulary for place in range(min(count, longest))]

    prompts = [tokens(count, first) for count, first in ((48, 1), (9, 2)) for _ in range(5)]
    responses = [tokens(count, 3 + number) for number, count in enumerate((96, 60, 33, 14, 3, 80, 50, 25, 8, 1))]
    return policy.batch(prompts, responses)


def _pass(policy: Policy, batch: TokenBatch) -> Pass:
    """One forward and backward pass; leaves no gradients behind."""
    try:
        logp = score_tokens(policy, batch, batch.mask, 1.0).logp
        weights = torch.arange(logp.numel(), device=logp.device).reshape(logp.shape).cos()
        (logp * weights).sum().backward()  # type: ignore[no-untyped-call]
        return Pass(logp.detach()[batch.mask], torch.cat([_sampled(each) for each in policy.model.parameters()]))
    finally:
        policy.model.zero_grad(set_to_none=True)


def _sampled(parameter: Tensor) -> Tensor:
    """At most `NUM_SAMPLED` numbers, evenly spread, of a gradient, or of this process's part of it."""
    gradient: Any = parameter.grad
    if gradient is None:
        return parameter.new_zeros(0, device="cpu")
    numbers: Tensor = getattr(gradient, "to_local", lambda: gradient)().detach().flatten()
    return numbers[:: max(1, math.ceil(len(numbers) / NUM_SAMPLED))].float().cpu()


@contextlib.contextmanager
def recompilation_limits(report: Callable[[str], None]) -> Iterator[None]:
    """Within it `report` hears of every function that `torch.compile` stops compiling, so that it runs as it is."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "hit config." in str(record.msg) and isinstance(record.args, tuple):
                _, limit, function, reason, *_ = record.args
                report(
                    f"torch.compile stopped at {limit} versions of {function}: further ones run uncompiled "
                    f"({str(reason).strip().splitlines()[-1].strip()})"
                )

    listener, logger = Listener(), logging.getLogger("torch._dynamo.convert_frame")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
