"""Files as digests of their content: data, weights, the source of a verifier. Nothing is loaded."""

import contextlib
import hashlib
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from io import BufferedReader
from pathlib import Path

from rlsd_cli.errors import RlsdError
from rlsd_cli.runs.inputs import Input

MIB = 2**20
HASHED_WHOLE_BYTES = 50 * MIB
NUM_BLOCKS = 8
"""How many blocks of a MiB stand for a larger file of weights."""


def data_input(name: str) -> Input | None:
    """The file of a `data` value; None where it names none."""
    with contextlib.suppress(OSError, ValueError):  # what cannot be a path is none
        if Path(name).is_file():
            return Input(name, file_digest(Path(name)))
    return None


def verifier_input(name: str) -> Input | None:
    """The source of a function of the user's, a verifier or a reward; None for one of rlsd, or where there is no such
    file."""
    path = source_of(name.rpartition(":")[0]) if ":" in name else None
    return None if path is None else Input(str(path), file_digest(path))


def source_of(module: str) -> Path | None:
    """The file of a module, looked for in the working directory and on Python's path; nothing is imported for it.

    A module may be named by its file, `file.py`.
    """
    if module.endswith(".py"):
        return path if (path := Path(module).absolute()).is_file() else None
    importlib.invalidate_caches()
    places, spec = [str(Path.cwd()), *sys.path], None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places = [*(spec.submodule_search_locations or [])]
    found = Path(spec.origin) if spec and spec.origin else None
    return found if found and found.is_file() else None


def file_digest(path: Path) -> str:
    """The SHA-256 of a file. Raises RlsdError where it cannot be read."""
    with _opened(path) as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def weights_digest(path: Path) -> str:
    """The SHA-256 of a file of weights, of one above 50 MiB that of a part.

    The part is its size, the header of a safetensors file, which lists its tensors, and eight blocks of a MiB that are
    spread evenly from the first to the last. Raises RlsdError where it cannot be read.
    """
    size = path.stat().st_size
    if size <= HASHED_WHOLE_BYTES:
        return file_digest(path)
    digest = hashlib.sha256(str(size).encode())
    with _opened(path) as file:
        if path.suffix == ".safetensors":
            digest.update(file.read(min(int.from_bytes(file.read(8), "little"), HASHED_WHOLE_BYTES)))
        for block in range(NUM_BLOCKS):
            file.seek((size - MIB) * block // (NUM_BLOCKS - 1))
            digest.update(file.read(MIB))
    return f"sha256 {digest.hexdigest()}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise RlsdError(f"cannot read {path}: {error.strerror}") from error
