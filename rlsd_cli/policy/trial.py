"""A few tokens through a model, before anything is done with it: whether it computes, and looks back only."""

from typing import Any

import torch
from torch import Tensor

from rlsd_cli.errors import EXIT_MACHINE, RlsdError, first_line

NUM_TOKENS = 8
_LEAST_LEAK = 1e-4
"""As a share of the change that the other tokens make to their own logits. Rounding makes 1e-6 of it where experts sort
tokens, an encoder with fresh weights 1e-2."""


def refuse_what_looks_ahead(model: Any, name: str) -> None:
    """Refuse a model whose logits at a place depend on later tokens, as an encoder's do, or that computes none.

    Raises:
        RlsdError: (exit 3)
    """
    half = NUM_TOKENS // 2
    tokens = trial_tokens(model, NUM_TOKENS + half)
    rows = torch.stack([tokens[:-half], torch.cat([tokens[:half], tokens[-half:]])])
    hint = "its config and weights do not fit each other, or this `transformers` cannot run it: try the model there"
    logits = trial_logits(model, rows, f"model `{name}` cannot compute", hint)
    change = (logits[0] - logits[1]).abs().amax(dim=-1)
    if change[:half].max() > _LEAST_LEAK * change[half:].max():
        raise RlsdError(
            f"model `{name}` ({type(model).__name__}) looks at later tokens, as encoders do, and cannot write text",
            hint="give a causal language model, as Llama or Qwen",
            exit_code=EXIT_MACHINE,
        )


def trial_tokens(model: Any, count: int = NUM_TOKENS) -> Tensor:
    """A few different tokens that every model has, [count]."""
    embedding: Tensor = model.get_input_embeddings().weight
    return torch.arange(1, 1 + count, device=embedding.device) % embedding.shape[0]


@torch.no_grad()
def trial_logits(model: Any, ids: Tensor, failing: str, hint: str | None = None) -> Any:
    """Logits of rows of tokens.

    Raises:
        RlsdError: (exit 3) `failing`, and why.
    """
    try:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        reason = f"{failing}: {type(error).__name__}: {first_line(error)}"
        raise RlsdError(reason, hint=hint, exit_code=EXIT_MACHINE) from error
