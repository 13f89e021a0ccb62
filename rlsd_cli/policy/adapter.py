"""Low-rank adapters (LoRA, Hu et al. 2021): two thin matrices beside each linear layer are trained, the weights stay.

`peft` makes and merges them. An adapter is saved as `peft` saves it; a directory that holds one is merged into its base
when it is loaded, so that whoever only reads a model need not know.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlsd_cli.config.schema import AdapterConfig
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, first_line
from rlsd_cli.policy.catalog import base_of, locate
from rlsd_cli.policy.sharding import is_sharded, load_whole_state, settle, whole

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
"""What `peft` puts before the names of a model's modules in a file."""


def load_causal_lm(where: str) -> Any:
    """The model of a directory or hub name in float32, with its adapter, if it is one, merged into it."""
    base = base_of(where)
    if base is None:
        return AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)
    peft = require_peft()
    model = AutoModelForCausalLM.from_pretrained(locate(base), dtype=torch.float32)
    return peft.PeftModel.from_pretrained(model, where).merge_and_unload()


def add_adapter(model: Any, settings: AdapterConfig, seed: int) -> None:
    """Give a model an adapter that changes nothing yet, and freeze its own weights.

    Raises:
        RlsdError: `peft` is missing (exit 3), or there are no such modules.
    """
    peft = require_peft()
    chosen = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale * settings.rank,
        target_modules=settings.targets or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model.add_adapter(chosen)
        except ValueError as error:
            hint = "name modules that can have one, for instance `adapter.targets=[q_proj,v_proj]`"
            raise RlsdError(f"`adapter.targets`: {first_line(error)}", hint=hint) from error
    for part in (model.get_output_embeddings(), model.get_input_embeddings()):
        if hasattr(part, "lora_A") or hasattr(part, "lora_embedding_A"):
            raise RlsdError("`adapter.targets` names the output head or the embedding", hint="name modules of layers")
    base = Path(model.name_or_path)
    model.peft_config["default"].base_model_name_or_path = str(base.resolve() if base.is_dir() else base)


@torch.no_grad()
def merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in the model without an adapter, with what the adapter adds to it; a tied head, too.

    Of a sharded model all processes ask for them together.
    """
    settle(model)
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    if tied:
        name = next(name for name, module in model.named_modules() if module is head)
        yield f"{name}.weight", whole(head.weight.detach())
    changed = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    for name, value in model.named_parameters():
        module = changed.get(name.removesuffix(".base_layer.weight"))
        if module is not None:
            (adapter,) = module.active_adapters
            yield name.replace(".base_layer.", "."), whole(value + module.get_delta_weight(adapter))
        elif ".lora_" not in name:
            yield name.replace(".base_layer.", "."), whole(value.detach())


def has_adapter(model: Any) -> bool:
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def load_adapter(model: Any, folder: Path) -> None:
    """Take over the adapter of a directory, made for the same base and settings."""
    found = {name.removeprefix(_PREFIX): value for name, value in load_file(folder / WEIGHTS).items()}
    state = {re.sub(r"\.(lora_\w+)\.", r".\1.default.", name): value for name, value in found.items()}
    unknown = sorted(state.keys() - {name for name, _ in model.named_parameters()})
    if unknown:
        raise RlsdError(f"{folder / WEIGHTS} is another model's adapter: it has `{unknown[0]}`")
    if is_sharded(model):
        load_whole_state(model, state)
    else:
        model.load_state_dict(state, strict=False)


def require_peft() -> Any:
    """The package.

    Raises:
        RlsdError: (exit 3) it is not installed.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # `peft` loads it, and it tells what it lacks on a CPU
    try:
        import peft
    except ImportError as error:
        raise RlsdError(
            "adapters need the package `peft`", hint="`pip install 'rlsd[lora]'`", exit_code=EXIT_MACHINE
        ) from error
    return peft
