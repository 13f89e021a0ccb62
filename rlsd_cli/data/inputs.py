"""What is prepared: sources as a user names them, files of folders among them, and the split that each belongs to."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.data.readers import SUFFIXES
from rlsd_cli.data.sources import Source, hub_data, is_hub, parse_source
from rlsd_cli.errors import RlsdError

TRAIN, TEST = "train", "test"
EVALUATION = ("test", "valid", "validation", "val", "dev", "eval", "evaluation")
NOT_PROBLEMS = ("manifest.json", "report.jsonl", "dataset_info.json", "dataset_infos.json", "dataset_dict.json")


class Input(NamedTuple):
    """A source and the split it goes to; None for problems that are only looked for, not written."""

    source: Source
    split: str | None


class Inputs(NamedTuple):
    """All of them; a name for what they make; the files of folders that are no problem files."""

    inputs: list[Input]
    name: str
    skipped: list[Path]


def find_inputs(sources: Sequence[str], against: Sequence[str] = ()) -> Inputs:
    """The inputs that these words name. A folder stands for the problem files in it.

    Raises:
        RlsdError: a folder holds no problem file.
    """
    inputs: list[Input] = []
    skipped: list[Path] = []
    for text in sources:
        if Path(text).is_dir():
            files, others = _files_of(Path(text))
            inputs += [Input(Source(str(path), str(path)), split_of(path.name)) for path in files]
            skipped += others
        else:
            source = parse_source(text)
            inputs.append(Input(source, _split_of_source(source)))
    inputs += [Input(parse_source(text), None) for text in against]
    return Inputs(inputs, _name(sources[0]), skipped)


def _files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    inside = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
    files = [path for path in inside if _suffix(path) in SUFFIXES and path.name not in NOT_PROBLEMS]
    if not files:
        raise RlsdError(f"{folder} holds no problem file", hint=f"they end in {', '.join(SUFFIXES)}")
    return files, [path for path in inside if path not in files]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def split_of(name: str) -> str:
    """The split that a name opens with, as `test-00000-of-00001.parquet` does; `train` if none of `EVALUATION`."""
    word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return word if word in EVALUATION else TRAIN


def _split_of_source(source: Source) -> str:
    if is_hub(source):
        return split_of(str(source.options.get("split", TRAIN)))
    return split_of(Path(source.text).name) if Path(source.text).is_file() else TRAIN


def _name(text: str) -> str:
    """What to call the result: by the name of a file, a folder or a data set of the hub; of a task with its knobs."""
    source = parse_source(text)
    text = source.name if is_hub(source) else text
    path = Path(text).resolve() if Path(text).exists() else Path(re.sub(r"[^\w.-]+", "-", text))
    name = path.name.removesuffix(".gz")
    return name.removesuffix(Path(name).suffix) if Path(name).suffix in SUFFIXES else name


def describe(given: Input) -> dict[str, Any]:
    """A source as a manifest names it: a file by its content, a data set of the hub by its commit."""
    source, path = given.source, Path(given.source.text)
    use = {"split": given.split} if given.split else {"use": "overlap"}
    if path.is_file():
        return {**use, "file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
    if is_hub(source):
        return {**use, **hub_data(source)._asdict()}
    return {**use, "source": source.text}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(inputs: Sequence[Input]) -> Iterator[Path]:
    """The files among the sources."""
    return (path for given in inputs if (path := Path(given.source.text)).is_file())
