"""What a model's files say before its weights are read: whether it is one that can be trained, and how it reads."""

import contextlib
import json
import logging
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging as transformers_logging

from rlsd_cli.errors import EXIT_MACHINE, RlsdError, first_line
from rlsd_cli.policy.catalog import base_of, locate, similar_to
from rlsd_cli.policy.weight_files import check_whole, weight_files

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
LONGEST_REASON = 300
"""Characters of what another library says."""
_ABOVE_THE_ROWS = tuple(f"{kind}_token" for kind in ("image", "video", "audio"))
"""Tokens that stand for what is not text: some text models keep them behind the last row of their embedding."""


class Source(NamedTuple):
    """A model whose files have been looked at.

    where: its directory or hub name. base: the same of the model that it is an adapter of, if it is one.
    """

    where: str
    base: str | None
    config: Any

    @property
    def folders(self) -> list[Path]:
        """The directories of this machine that its weights lie in."""
        return [path for path in map(Path, filter(None, (self.where, self.base))) if path.is_dir()]


def look_at(name: str) -> Source:
    """Find a model and refuse one that cannot be trained, as far as its files tell without reading the weights.

    Raises:
        RlsdError: (exit 3) it is not there, its files are broken, it is quantised, it needs code of its own or it is no
            causal language model.
    """
    where = locate(name)
    base = _base(where)
    source = Source(where, base, _config(base or where))
    for folder in source.folders:
        for file in weight_files(folder):
            check_whole(file)
    return source


def _base(where: str) -> str | None:
    named = base_of(where)
    if named is None:
        return None
    try:
        base = locate(named)
    except RlsdError as error:
        raise _refused(f"adapter `{where}` was made for another model: {error.message}", error.hint) from error
    if not weight_files(Path(where)):
        raise _refused(f"adapter `{where}` has no weights (adapter_model.safetensors)", "save the adapter again")
    if base_of(base):
        hint = "merge the other one first: `rlsd models export`"
        raise _refused(f"adapter `{where}` was made for another adapter, `{base}`", hint)
    return base


def _config(where: str) -> Any:
    with blaming(where):
        values, _ = PreTrainedConfig.get_config_dict(where)
    if not isinstance(values, dict):
        raise _refused(f"the config.json of model `{where}` is not a JSON object", "download or save the model again")
    _refuse_quantised(where, values)
    _refuse_own_code(where, values)
    with blaming(where):
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise _refused(
            f"model `{where}` is no causal language model (model type `{config.model_type}`)",
            "give one that predicts the next token, as Llama or Qwen",
        )
    return config


def _refuse_quantised(where: str, values: Mapping[str, Any]) -> None:
    parts = (values, values.get("text_config") or {})
    settings = [part.get(key) for part in parts for key in ("quantization_config", "compression_config")]
    for found in filter(None, settings):
        bits = next((f"{bits}-bit " for bits in (4, 8) if found.get(f"load_in_{bits}bit")), "")
        method = found.get("quant_method") or ("bitsandbytes" if bits else "no method named")
        raise _refused(
            f"model `{where}` is quantised ({bits}{method}), and weights are read in float32, bfloat16 or float16 only",
            "give the model that it was made from, or save it without its quantisation",
        )


def _refuse_own_code(where: str, values: Mapping[str, Any]) -> None:
    """Refuse a model that `transformers` has no class for; one of the same name there is what is used."""
    kind, classes = values.get("model_type"), values.get("auto_map") or {}
    own = classes.get("AutoModelForCausalLM") or classes.get("AutoModel") or classes.get("AutoConfig")
    if own and not (kind in CONFIG_MAPPING and hasattr(transformers, own.rsplit(".", 1)[-1])):
        raise _refused(
            f"model `{where}` needs code of its own (`{own}`), which rlsd does not run",
            "give a model whose architecture `transformers` has",
        )
    if kind and kind not in CONFIG_MAPPING:
        raise _refused(
            f"model `{where}` is of type `{kind}`, which transformers {transformers.__version__} does not know",
            "a newer `transformers` may know it",
        )


def read_tokenizer(source: Source) -> Any:
    """The tokenizer of a model; of an adapter without one its base's.

    Raises:
        RlsdError: (exit 3) there is none, it needs code of its own, or it has tokens that the model has no row for.
    """
    own = any((Path(source.where) / name).is_file() for name in TOKENIZER_FILES)
    where = source.base if source.base and not own else source.where
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except Exception as error:
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which rlsd does not run"
        elif str(error).startswith("Couldn't instantiate the backend tokenizer"):
            reason = "no file of one is there, or a package that reads it is missing (sentencepiece, tiktoken)"
        else:
            reason = reason_of(where, error)
        raise _refused(
            f"the tokenizer of model `{where}` cannot be loaded: {reason}",
            "copy the tokenizer files (tokenizer.json, tokenizer_config.json) of the model that it was made from",
        ) from error
    rows = getattr(source.config.get_text_config(), "vocab_size", None)
    if rows is not None:
        refuse_more_tokens(where, tokenizer, rows)
    return tokenizer


def refuse_more_tokens(name: str, tokenizer: Any, num_rows: int) -> None:
    """Refuse a tokenizer that makes tokens which have no row in the embedding."""
    apart = {getattr(tokenizer, attribute, None) for attribute in _ABOVE_THE_ROWS}
    above = {token: index for token, index in tokenizer.get_vocab().items() if index >= num_rows and token not in apart}
    if above:
        token = max(above, key=above.__getitem__)
        raise _refused(
            f"the tokenizer of model `{name}` has tokens up to number {above[token]:,} (`{token}`), and the embedding "
            f"has {num_rows:,} rows",
            "use the tokenizer that the model was trained with, or resize the embedding and save the model again",
        )


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Within it other libraries read a model: what they raise is due to its files or to what this machine lacks.

    Raises:
        RlsdError: (exit 3) in the place of whatever was raised, but for a lack of memory.
    """
    try:
        yield
    except (RlsdError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise cannot_load(name, error) from error


def cannot_load(name: str, error: Exception) -> RlsdError:
    """That a model is not to be had, in one line."""
    absent = similar_to(name) or "give a directory, a hub name that can be reached, or a name of `rlsd models list`"
    hint = "download or save the model again" if Path(name).is_dir() else absent
    return _refused(f"cannot load model `{name}`: {reason_of(name, error)}", hint)


def reason_of(where: str, error: Exception) -> str:
    """Why a model cannot be read, in a sentence: the file that is no JSON, if one is not, else what was raised."""
    for file in sorted(Path(where).glob("*.json")) if isinstance(error, OSError | ValueError) else ():
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as fault:
            return f"{file} is not valid JSON: {first_line(fault)}"
    said = textwrap.shorten(str(error).strip().split("\n\n")[0], LONGEST_REASON, placeholder=" ...")
    plain = isinstance(error, OSError | ValueError | ImportError | RuntimeError) and said
    return said if plain else f"{type(error).__name__}: {said}"


def _refused(message: str, hint: str | None = None) -> RlsdError:
    return RlsdError(message, hint=hint, exit_code=EXIT_MACHINE)
