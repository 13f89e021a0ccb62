"""The weight files of a directory, by their names and headers: whether all of them are there, and whole."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from rlsd_cli.errors import EXIT_MACHINE, RlsdError

_NAMES = ("model*.safetensors", "adapter_model.safetensors")
_OLD_NAMES = ("pytorch_model*.bin", "adapter_model.bin")
_INDEX = "*.safetensors.index.json"
_SHOWN = 3
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, a little-endian integer."""


def weight_files(folder: Path) -> list[Path]:
    """The files that the weights of a directory are read from, its index names some: a model's, or an adapter's.

    Raises:
        RlsdError: (exit 3) the index cannot be read.
    """
    files = {file for name in _NAMES for file in folder.glob(name)}
    for index in folder.glob(_INDEX):
        try:
            files |= {folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _broken(index, "it is no index of weight files") from error
    return sorted(files or {file for name in _OLD_NAMES for file in folder.glob(name)})


def check_whole(file: Path) -> None:
    """Refuse a weight file that is not there or ends before its last tensor does.

    Raises:
        RlsdError: (exit 3) naming the file, and the first tensor that is cut off.
    """
    if not file.is_file():
        raise _broken(file, "it is not there, and the index names it")
    size = file.stat().st_size
    with file.open("rb") as opened:
        if file.suffix == ".bin":
            if opened.read(2) == b"PK" and not zipfile.is_zipfile(file):
                raise _broken(file, f"it ends within its tensors, after {size:,} bytes")
            return
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        if _LENGTH_BYTES + length > size:
            raise _broken(file, f"it ends within its header, after {size:,} bytes")
        try:
            header = json.loads(opened.read(length))
            ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _broken(file, "its header cannot be read") from error
    held = size - _LENGTH_BYTES - length
    cut = sorted((end, name) for name, end in ends.items() if end > held)
    if cut:
        raise _broken(file, f"it ends within `{cut[0][1]}`: {held:,} bytes of weights instead of {cut[-1][0]:,}")


def _broken(file: Path, finding: str) -> RlsdError:
    return RlsdError(
        f"the weight file {file} is broken: {finding}",
        hint="download or save the model again",
        exit_code=EXIT_MACHINE,
    )


def few(names: Iterable[str]) -> str:
    """The first of many names of tensors."""
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (", ..." if len(ordered) > _SHOWN else "")
