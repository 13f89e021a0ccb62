"""Low-rank adapters (LoRA, Hu et al. 2021): two thin matrices beside each linear layer are trained, the weights stay.

`peft` makes and merges them. An adapter is saved as `peft` saves it; a directory that holds one is merged into its base
when it is loaded, so that whoever only reads a model need not know.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rlsd_cli.config.sections import AdapterConfig
from rlsd_cli.errors import EXIT_MACHINE, EXIT_USAGE, RlsdError, first_line
from rlsd_cli.policy.sharding import full_tensor, is_sharded, load_full_state, reshard
from rlsd_cli.policy.source import blaming
from rlsd_cli.policy.trial import trial_logits, trial_tokens
from rlsd_cli.policy.weight_files import few

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
"""What `peft` puts before the names of a model's modules in a file."""


def merge_adapter(model: Any, where: str) -> Any:
    """A model with the adapter of a directory merged into it; all of its weights can be trained.

    Raises:
        RlsdError: (exit 3) it was not made for this model, or not saved whole.
    """
    peft = require_peft()
    if has_adapter(model):
        raise _unusable(where, "its base is another adapter", "merge that one first: `rlsd models export`")
    with blaming(where), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(model, where)
        found = adapted.load_adapter(where, "default")
    if not hasattr(adapted, "merge_and_unload"):
        kind = adapted.active_peft_config.peft_type.value
        raise _unusable(where, f"it is of kind {kind}, which cannot be merged into its base", "LoRA can")
    for what, names in (("missing", found.missing_keys), ("unexpected", found.unexpected_keys)):
        if names:
            reason = f"{len(names):,} of its tensors are {what} ({few(names)})"
            raise _unusable(where, reason, "it must be of the model that adapter_config.json names, and saved whole")
    with blaming(where):
        return adapted.merge_and_unload().requires_grad_(True)


def _unusable(where: str, reason: str, hint: str) -> RlsdError:
    return RlsdError(f"adapter `{where}` cannot be used: {reason}", hint=hint, exit_code=EXIT_MACHINE)


def add_adapter(model: Any, settings: AdapterConfig, seed: int) -> None:
    """Give a model an adapter that changes nothing yet, and freeze its own weights.

    Raises:
        RlsdError: `peft` is missing (exit 3), there are no such modules, or they cannot have an adapter (exit 3).
    """
    peft = require_peft()
    chosen = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale * settings.rank,
        target_modules=settings.targets or "all-linear",
        exclude_modules=None if settings.targets else _not_linear(model) or None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model.add_adapter(chosen)
        except ValueError as error:
            raise RlsdError(
                f"`adapter.targets`: {first_line(error)}",
                hint="name linear modules of the model's layers, as q_proj and v_proj",
                exit_code=EXIT_USAGE if settings.targets else EXIT_MACHINE,
            ) from error
    for part in (model.get_output_embeddings(), model.get_input_embeddings()):
        if hasattr(part, "lora_A") or hasattr(part, "lora_embedding_A"):
            raise RlsdError("`adapter.targets` names the output head or the embedding", hint="name modules of layers")
    kinds = {f"{name.rpartition('.')[2]} ({type(each.base_layer).__name__})" for name, each in _adapted(model)}
    trial_logits(
        model,
        trial_tokens(model)[None],
        f"the model cannot compute with an adapter of its modules {', '.join(sorted(kinds))}",
        hint="name fewer of them in `adapter.targets`",
    )
    base = Path(model.name_or_path)
    model.peft_config["default"].base_model_name_or_path = str(base.resolve() if base.is_dir() else base)


def _adapted(model: Any) -> list[tuple[str, Any]]:
    """The modules that have an adapter, by name."""
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "get_delta_weight")]


def _not_linear(model: Any) -> list[str]:
    """Names of modules that are linear layers by their class, and give something else: routers of experts do."""
    found = []

    def look(name: str, output: object) -> None:
        if not isinstance(output, Tensor):
            found.append(name)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    try:
        trial_logits(model, trial_tokens(model)[None], "the model cannot compute")
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in the model without an adapter, with what the adapter adds to it; a tied head, too.

    Of a sharded model all processes ask for them together.
    """
    reshard(model)
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    if tied:
        name = next(name for name, module in model.named_modules() if module is head)
        yield f"{name}.weight", full_tensor(head.weight.detach())
    changed = dict(_adapted(model))
    for name, value in model.named_parameters():
        module = changed.get(name.removesuffix(".base_layer.weight"))
        if module is not None:
            (adapter,) = module.active_adapters
            yield name.replace(".base_layer.", "."), full_tensor(value + module.get_delta_weight(adapter))
        elif ".lora_" not in name:
            yield name.replace(".base_layer.", "."), full_tensor(value.detach())


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
        load_full_state(model, state)
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
