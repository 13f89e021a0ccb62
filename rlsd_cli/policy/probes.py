"""What of our ways to run a model is exact for it, tried when it is loaded against plain forward passes.

No list says which model is run how, so that this holds for whatever `transformers` adds. A probe that finds something
else, or raises, means no, and the next slower way is taken. Probes are small, so what shows only in long sequences or
in large numbers is made to show: windows are short while a probe runs, hidden states are scaled until logits are large.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import torch
from torch import Tensor

from rlsd_cli.errors import EXIT_MACHINE, RlsdError, first_line
from rlsd_cli.policy.batch import make_batch, trunk_of, trunk_states
from rlsd_cli.policy.tokenizer import LENGTH_DEPENDENT, context_length, rope_parameters

P = ParamSpec("P")

WINDOW = 4
"""Tokens that a layer which attends within a window or a chunk sees while a probe runs."""
WINDOWS = ("window", "window_size", "attention_chunk_size")
"""How the names of such lengths end, in models and their configs."""
TOLERANCE = 1e-3
"""Largest gap that is rounding, as a share of the deviation of what is compared."""
LARGE_LOGIT = 1000.0
"""At this size a soft cap shows."""


class Example(NamedTuple):
    """Three responses to two prompts, [row][token]; the first two rows share one longer than `WINDOW`, the last is the
    shortest."""

    prompts: list[list[int]]
    responses: list[list[int]]

    @property
    def sequences(self) -> list[list[int]]:
        """Prompt and response of each row."""
        return [[*prompt, *response] for prompt, response in zip(self.prompts, self.responses, strict=True)]


def example(model: Any) -> Example:
    """Tokens of the model's vocabulary, few of them twice."""
    vocabulary = model.get_input_embeddings().num_embeddings
    long, short, *responses = (
        [(1 + first + 7 * place) % vocabulary for place in range(count)]
        for first, count in ((0, 6), (3, 3), (1, 4), (4, 2), (2, 3))
    )
    return Example([long, long, short], responses)


def padded_logits(model: Any, rows: Example) -> tuple[Tensor, Tensor]:
    """Ids [3, S] of the rows, padded on the right, and the logits [3, S, V] of the model's own forward pass."""
    width = max(map(len, rows.sequences))
    ids = [[*row, *[0] * (width - len(row))] for row in rows.sequences]
    together = torch.tensor(ids, device=model.device)
    return together, model(input_ids=together, use_cache=False).logits


def agrees(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are equal but for rounding."""
    return found.shape == expected.shape and bool((found - expected).abs().max() <= TOLERANCE * expected.std())


def probe(test: Callable[P, bool]) -> Callable[P, bool]:
    """A test that answers no where it raises, but for lack of memory; gradients are not recorded."""

    @wraps(test)
    def answer(*arguments: P.args, **options: P.kwargs) -> bool:
        try:
            with torch.no_grad():
                return test(*arguments, **options)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            return False

    return answer


@contextlib.contextmanager
def short_windows(model: Any) -> Iterator[None]:
    """Within it windows and chunks of attention have `WINDOW` tokens, so that a short sequence leaves them.

    Not those that no sequence of the model leaves.
    """
    holders = [
        *model.modules(),
        *{id(part.config): part.config for part in model.modules() if hasattr(part, "config")}.values(),
    ]
    changed = [
        (holder, name, value)
        for holder in holders
        for name, value in vars(holder).items()
        if name.endswith(WINDOWS) and type(value) is int and WINDOW < value < context_length(model.config)
    ]
    for holder, name, _ in changed:
        setattr(holder, name, WINDOW)
    try:
        yield
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


def check_positions(model: Any, max_new_tokens: int) -> None:
    """Refuse responses beyond the length at which a model's rotary factors change (LongRoPE, dynamic).

    A token that crosses it changes what all before it were: their log-probabilities are no longer those that they were
    sampled with, so that nothing exact could be trained.

    Raises:
        RlsdError: (exit 3) no prompt is short enough for such a response.
    """
    kinds = {rope["rope_type"] for rope in rope_parameters(model.config.get_text_config())}
    limit = context_length(model.config)
    if kinds & set(LENGTH_DEPENDENT) and max_new_tokens >= limit:
        raise RlsdError(
            f"`{model.config.model_type}` reads sequences of more than {limit} tokens with other rotary factors, and "
            f"`rollout.max_new_tokens` = {max_new_tokens} crosses that length",
            hint=f"choose it so that prompt and response have at most {limit} tokens",
            exit_code=EXIT_MACHINE,
        )


@torch.no_grad()
def check_rows_stand_alone(model: Any) -> None:
    """Refuse a model whose logits of a sequence depend on what shares its batch, or on padding behind it.

    Raises:
        RlsdError: (exit 3) they do, are not finite, or cannot be computed.
    """
    kind = f"`{model.config.model_type}`"
    rows = example(model)
    try:
        with short_windows(model):
            ids, together = padded_logits(model, rows)
            length = len(rows.sequences[-1])
            alone = model(input_ids=ids[-1:, :length], use_cache=False).logits[0]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise RlsdError(
            f"{kind} cannot be run: {type(error).__name__}: {first_line(error)}",
            hint="it must give logits to token ids alone, as causal language models do",
            exit_code=EXIT_MACHINE,
        ) from error
    if not together.isfinite().all():
        raise RlsdError(
            f"{kind} computes logits that are not finite", hint="its weights are damaged", exit_code=EXIT_MACHINE
        )
    if not agrees(together[-1, :length], alone):
        raise RlsdError(
            f"{kind} computes something else for a sequence when others are behind or beside it",
            hint="only causal language models can be trained; this may be an encoder",
            exit_code=EXIT_MACHINE,
        )


@torch.no_grad()
def fault_of(model: Any) -> str | None:
    """Why a model does not read two tokens as it is; None where it does."""
    try:
        model(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=False)
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"
    return None


@probe
def head_is_plain(model: Any, device: torch.device) -> bool:
    """Whether logits are the output embedding applied to the trunk's last hidden state, however large they are.

    Models that cap or scale their logits fail this check, and are scored through their own forward pass instead.
    """
    head, seen = model.get_output_embeddings(), []

    def enlarge(_: Any, __: Any, outputs: Any) -> Any:
        outputs.last_hidden_state *= LARGE_LOGIT / head(outputs.last_hidden_state).abs().max()
        seen.append(head(outputs.last_hidden_state))
        return outputs

    ids = torch.arange(1, 5, device=device)[None] % model.get_input_embeddings().num_embeddings
    with trunk_of(model).register_forward_hook(enlarge):
        logits = model(input_ids=ids, use_cache=False).logits
    return agrees(seen[0], logits)


@probe
def can_pack(model: Any, device: torch.device) -> bool:
    """Whether the model computes the same from a packed batch as from a padded one.

    Models fail whose layers carry a state along the sequence, attend within a window, or bring their own attention.
    """
    takes_options = inspect.signature(trunk_of(model).forward).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes_options):
        return False
    if set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return False
    with short_windows(model):
        batches = [make_batch(*example(model), 0, device, packed=packed) for packed in (False, True)]
        padded, packed = (trunk_states(model, batch)[batch.predictors[batch.mask]] for batch in batches)
    return agrees(packed, padded)
