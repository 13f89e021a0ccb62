"""A model is loaded right, or it is refused with the reason: every tensor found, finite, and looking back only."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlsd_cli import console
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.adapter import merge_adapter
from rlsd_cli.policy.source import Source, blaming, look_at, read_tokenizer, refuse_more_tokens
from rlsd_cli.policy.weight_files import few, weight_files

WRAPPERS = {r"_orig_mod\.": "_orig_mod.", r"^module\.": "module.", r"^base_model\.model\.": "base_model.model."}
"""What `torch.compile`, data parallelism and `peft` put into the names of tensors when they wrap a model."""
_HARMLESS = re.compile(
    r"\.(attn|attention)\.(masked_)?bias$|\.attn\.causal_mask$|(^|\.)position_ids$|rotary_emb\.inv_freq$"
)
"""Tensors of old checkpoints that are computed now: causal masks, positions, rotary frequencies."""


def load_model(name: str) -> tuple[Any, Any]:
    """A model in float32 and its tokenizer.

    Raises:
        RlsdError: (exit 3) it cannot be had, is not whole, or is none that can be trained.
    """
    source = look_at(name)
    tokenizer = read_tokenizer(source)
    model = load_causal_lm(source)
    refuse_more_tokens(source.where, tokenizer, model.get_input_embeddings().weight.shape[0])
    return model, tokenizer


def load_causal_lm(source: Source) -> Any:
    """A model in float32, with its adapter, if it is one, merged into it; all of it can be trained.

    Raises:
        RlsdError: (exit 3) tensors are missing, left over, of another shape or not finite.
    """
    where = source.base or source.where
    with blaming(where):
        model, found = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            key_mapping=dict.fromkeys(WRAPPERS, ""),
            trust_remote_code=False,
        )
    _refuse_other_tensors(where, model, found, part=type(model.config) is not type(source.config))
    _forget_wrappers(where, model)
    if source.base:
        model = merge_adapter(model, source.where)
    _refuse_what_is_not_finite(model, source)
    return model


def _refuse_other_tensors(where: str, model: Any, found: dict[str, Collection[Any]], *, part: bool) -> None:
    """Refuse a checkpoint of another model. `part`: what was loaded is the text part of what is there."""
    unexpected = {name for name in found["unexpected_keys"] if not _HARMLESS.search(name)}
    if part:
        unexpected -= (others := {name for name in unexpected if _is_of_another_part(name, model)})
        rest = f"; {len(others):,} tensors of other parts are left out ({few(others)})" if others else ""
        console.talk(f"model {where}: its text part is loaded, {type(model).__name__}{rest}")
    shapes = [f"{name} {tuple(stored)} for {tuple(wanted)}" for name, stored, wanted in found["mismatched_keys"]]
    faults = [
        f"{len(names):,} {what} ({few(names)})"
        for what, names in (
            ("missing", found["missing_keys"]),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    if faults:
        raise RlsdError(
            f"the tensors of model `{where}` are not those of its config.json: {', '.join(faults)}",
            hint=f"`{type(model).__name__}` has other tensors: save the model again, whole and by their names",
            exit_code=EXIT_MACHINE,
        )


def _is_of_another_part(name: str, model: Any) -> bool:
    """Whether a tensor lies in no module of the model but the outermost ones."""
    modules = {name for name, _ in model.named_modules()}
    path = name.split(".")
    deepest = next(".".join(path[:end]) for end in range(len(path), -1, -1) if ".".join(path[:end]) in modules)
    return deepest in ("", model.base_model_prefix)


def _forget_wrappers(where: str, model: Any) -> None:
    """Say which prefixes were taken off the names of tensors, and save the model without them."""
    done = {pattern: each for each in model._weight_conversions for pattern in each._original_source_patterns}
    if found := WRAPPERS.keys() & done:
        model._weight_conversions = [each for each in model._weight_conversions if each not in map(done.get, found)]
        prefixes = ", ".join(f"`{WRAPPERS[pattern]}`" for pattern in sorted(found))
        console.talk(f"model {where}: {prefixes} is taken off the names of its tensors, where a wrapper left it")


@torch.no_grad()
def _refuse_what_is_not_finite(model: Any, source: Source) -> None:
    for name, value in {id(value): (name, value) for name, value in model.state_dict(keep_vars=True).items()}.values():
        if not _is_finite(value):
            file, tensor = next(_not_finite(source), (None, name))
            raise RlsdError(
                f"model `{source.where}` has weights that are not finite: `{tensor}`" + (f" of {file}" if file else ""),
                hint="they cannot be trained; take an earlier checkpoint, or download the model again",
                exit_code=EXIT_MACHINE,
            )


def _is_finite(value: Tensor) -> bool:
    """A sum is much cheaper than a comparison of each; it may overflow, so that it does not condemn by itself."""
    return not value.is_floating_point() or bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _not_finite(source: Source) -> Iterator[tuple[Path, str]]:
    """File and name of each stored tensor that is not finite."""
    for folder in source.folders:
        for file in weight_files(folder):
            stored = torch.load(file, "cpu", weights_only=True) if file.suffix == ".bin" else load_file(file)
            yield from ((file, name) for name, value in stored.items() if not _is_finite(value))
