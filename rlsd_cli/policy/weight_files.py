"""The weight files of a directory, by their names and headers: whether all of them are there, and whole."""

import json
from collections.abc import Iterable
from pathlib import Path

from rlsd_cli.errors import EXIT_MACHINE, RlsdError

_INDEX = "*.safetensors.index.json"
_SHOWN = 3
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, a little-endian integer."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a directory holds, or that its index names: those of a model, or of an adapter.

    Raises:
        RlsdError: (exit 3) the index cannot be read.
    """
    files = set(folder.glob("*.safetensors"))
    for index in folder.glob(_INDEX):
        try:
            files |= {folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _broken(index, "it is no index of weight files") from error
    return sorted(files)


def check_whole(file: Path) -> None:
    """Refuse a safetensors file that is not there or ends before its last tensor does.

    Raises:
        RlsdError: (exit 3) naming the file, and the first tensor that is cut off.
    """
    if not file.is_file():
        raise _broken(file, "it is not there, and the index names it")
    size = file.stat().st_size
    with file.open("rb") as opened:
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
