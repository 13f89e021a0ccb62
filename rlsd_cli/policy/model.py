"""A causal language model with what the loop needs to know about it: device, end tokens, room, how it is run."""

import contextlib
import copy
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rlsd_cli.config.schema import Config
from rlsd_cli.config.sections import Layout
from rlsd_cli.distributed.ranks import num_processes
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy import adapter
from rlsd_cli.policy.adapter import add_adapter, has_adapter, load_adapter, require_peft
from rlsd_cli.policy.batch import TokenBatch, TokenIds, make_batch
from rlsd_cli.policy.catalog import ADAPTER, base_of, locate
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.loading import load_causal_lm, load_model
from rlsd_cli.policy.probes import can_pack, check_positions, check_rows_stand_alone, head_is_plain
from rlsd_cli.policy.quickstart import SHAPES, untrained
from rlsd_cli.policy.sharding import full_state, is_sharded, load_full_state
from rlsd_cli.policy.source import look_at, read_tokenizer
from rlsd_cli.policy.tokenizer import context_length
from rlsd_cli.policy.trial import refuse_what_looks_ahead

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROUNDING_GAP = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest gap (nats) between log-probabilities of the same weights from different kernels, by compute type."""


@dataclass(frozen=True, eq=False)
class Policy:
    """Weights, float32, their tokenizer, and how they are run.

    eos_ids: any of them ends a sampled response
    eos_id: the one that a given response is taught to end with
    plain_head: True where logits are the output embedding of the last hidden state
    layout: where the weights lie once they are trained; until then those that will be split are whole, in main memory
    """

    model: Any
    tokenizer: Any
    device: torch.device
    eos_ids: frozenset[int]
    eos_id: int
    pad_id: int
    context_length: int
    execution: Execution
    plain_head: bool = True
    layout: Layout = "whole"

    def run_as(self, **choices: Any) -> "Policy":
        """The same weights, run otherwise: fields of `Execution` by name."""
        return replace(self, execution=self.execution._replace(**choices))

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of forward passes."""
        return DTYPES[self.execution.dtype]

    @property
    def sampling_dtype(self) -> torch.dtype:
        """The type in which responses are sampled."""
        return DTYPES[self.execution.sampling_dtype]

    def batch(self, prompts: Sequence[TokenIds], responses: Sequence[TokenIds]) -> TokenBatch:
        """Responses after prompts, on the device, packed where the policy is run so."""
        return make_batch(prompts, responses, self.pad_id, self.device, packed=self.execution.packed)

    def check_fits(self, num_tokens: int) -> None:
        """Raise RlsdError (exit 3) for a sequence that is longer than the model reads as it should."""
        if num_tokens > self.context_length:
            kind = self.model.config.model_type
            raise RlsdError(
                f"a sequence of {num_tokens} tokens is longer than the {self.context_length} that this `{kind}` model "
                "reads as it was made to",
                hint="lower `rollout.max_new_tokens`, or leave long prompts out of the data",
                exit_code=EXIT_MACHINE,
            )

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Forward passes in the compute type; a no-op for float32.

        Copies of weights in that type are kept for the next use; not those of split weights, which are whole nowhere.
        """
        enabled, kept = self.compute_dtype != torch.float32, self.layout == "whole"
        with torch.autocast(self.device.type, self.compute_dtype, enabled=enabled, cache_enabled=kept):
            yield

    def load_weights(self, folder: Path) -> None:
        """Take over the weights of a model directory of the same architecture, or its adapter."""
        if has_adapter(self.model):
            load_adapter(self.model, folder)
        elif is_sharded(self.model):
            load_full_state(self.model, load_causal_lm(look_at(str(folder))).state_dict())
        else:
            self.model.load_state_dict(load_causal_lm(look_at(str(folder))).state_dict())

    def save(self, folder: Path, *, writes: bool = True) -> None:
        """Write a plain model directory, or an adapter, that `transformers` and `peft` load as it is.

        Of processes that share the weights all take part, and one `writes`.
        """
        weights = full_state(self.model) if is_sharded(self.model) else None
        if writes:
            self.model.save_pretrained(folder, state_dict=weights)
            self.tokenizer.save_pretrained(folder)


def copy_modules(model: Any, shared: dict[int, Any]) -> Any:
    """A copy of a model that has the objects of `shared` in place of those with these ids.

    States that forward passes have left in modules (RecurrentGemma) are copied without their graphs.
    """
    left = [value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    return copy.deepcopy(model, shared | {id(value): value.detach().clone() for value in left if not value.is_leaf})


def export_model(source: Path, target: Path, dtype: str) -> None:
    """Copy a model directory in another type, leaving out whatever is not the model; an adapter is merged."""
    model, tokenizer = load_model(str(source))
    _clear(target)
    model.to(DTYPES[dtype]).save_pretrained(target)
    tokenizer.save_pretrained(target)


def export_adapter(source: Path, target: Path, dtype: str) -> None:
    """Copy an adapter in another type, with its tokenizer, leaving out whatever else is there."""
    weights = {name: value.to(DTYPES[dtype]) for name, value in load_file(source / adapter.WEIGHTS).items()}
    tokenizer = read_tokenizer(look_at(str(source)))
    _clear(target)
    target.mkdir(parents=True, exist_ok=True)
    save_file(weights, target / adapter.WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(source / ADAPTER, target / ADAPTER)
    tokenizer.save_pretrained(target)


def _clear(target: Path) -> None:
    """Remove the weights of the model, or of the adapter, that a directory holds."""
    for name in ("config.json", "model*.safetensors*", ADAPTER, adapter.WEIGHTS):
        for file in target.glob(name):
            file.unlink()


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU when there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = RlsdError(f"`device` = {name!r}: not a device to train on", hint="auto, cpu, cuda or cuda:N")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise unknown from error
    if device.type not in ("cpu", "cuda"):
        raise unknown
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RlsdError(
            f"`device` = {name!r}: no such CUDA device here",
            hint="use `device=cpu` or `device=auto`",
            exit_code=EXIT_MACHINE,
        )
    return device


def load_policy(config: Config, layout: Layout = "whole") -> Policy:
    """The model a config names, in float32 on its device; raises RlsdError (exit 3) when it cannot be had.

    With another layout it is in main memory, see `policy.sharding`.
    """
    device = choose_device(config.device)
    if config.model in SHAPES:
        model, tokenizer = untrained(config.seed, config.model)
    else:
        model, tokenizer = load_model(config.model)
    if config.prompt.chat_template:
        tokenizer.chat_template = config.prompt.chat_template
    home = device if layout == "whole" else torch.device("cpu")
    model = model.to(home).eval()
    refuse_what_looks_ahead(model, config.model)
    eos_ids = _eos_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(eos_ids)
    check_positions(model, config.rollout.max_new_tokens)
    check_rows_stand_alone(model)
    plain_head = head_is_plain(model, home)
    packs = plain_head and config.attention != "padded" and can_pack(model, home)
    if config.attention == "packed" and not packs:
        raise RlsdError(
            f"model `{config.model}` computes something else from packed batches",
            hint="leave `attention=auto`: it pads for such models",
            exit_code=EXIT_MACHINE,
        )
    return Policy(
        model=model,
        tokenizer=tokenizer,
        device=device,
        eos_ids=eos_ids,
        eos_id=int(min(eos_ids) if tokenizer.eos_token_id is None else tokenizer.eos_token_id),
        pad_id=int(pad_id),
        context_length=context_length(model.config),
        execution=_execution(config, device, packs=packs),
        plain_head=plain_head,
        layout=layout,
    )


def _execution(config: Config, device: torch.device, *, packs: bool) -> Execution:
    """What the config asks for, and what is usual where it leaves the choice to a measurement; nothing is compiled."""
    usual = "bfloat16" if device.type == "cuda" else "float32"
    dtype = usual if config.dtype == "auto" else config.dtype
    asked = Execution(
        dtype=dtype,
        sampling_dtype=dtype if config.rollout.dtype == "auto" else config.rollout.dtype,
        attention="packed" if packs else "padded",
        recompute=config.optim.recompute,
    )
    tokens = config.optim.tokens_per_microbatch
    return asked._replace(tokens_per_microbatch=tokens) if tokens else asked


def load_trainable(config: Config) -> Policy:
    """`load_policy` for a run that trains it: where the config asks for an adapter, that is trained, not the weights.

    Raises:
        RlsdError: `peft` is missing (exit 3), there are no such modules, or no model directory is its base.
    """
    if config.adapter.rank:
        require_peft()
    nobody_else = config.optim.layout == "sharded" and num_processes() == 1
    policy = load_policy(config, "whole" if nobody_else else config.optim.layout)
    if not config.adapter.rank:
        return policy
    if config.model in SHAPES or base_of(locate(config.model)):
        raise RlsdError(
            f"`adapter.rank`: model `{config.model}` cannot be the base of an adapter",
            hint="make a model directory of it first: `rlsd models export`",
        )
    add_adapter(policy.model, config.adapter, config.seed)
    return policy


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a response: the generation config's and the tokenizer's."""
    listed = getattr(model.generation_config, "eos_token_id", None)
    found = listed if isinstance(listed, list) else [listed]
    ids = frozenset(int(token) for token in [*found, tokenizer.eos_token_id] if token is not None)
    if not ids:
        raise RlsdError(f"model `{model.name_or_path}` has no end token, so no response could end")
    return ids
