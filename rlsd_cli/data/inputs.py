"""What is prepared: sources as a user names them, files of folders among them, and the split that each belongs to."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.data.packages import package_version
from rlsd_cli.data.readers import SUFFIXES, suffix_of
from rlsd_cli.data.sources import Source, hub_data, is_hub, parse_source
from rlsd_cli.data.tasks import TASKS
from rlsd_cli.errors import RlsdError

TRAIN, TEST = "train", "test"
EVALUATION = ("test", "valid", "validation", "val", "dev", "eval", "evaluation")
NOT_PROBLEMS = (
    "manifest.json",
    "report.jsonl",
    "overlap.tsv",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
)


class Input(NamedTuple):
    """A source, the split it goes to, and what it is called where rows are named: a file by its place in its folder.

    Without a split its problems are only looked for, not written.
    """

    source: Source
    split: str | None
    name: str

    @property
    def is_generated(self) -> bool:
        return self.source.name in TASKS


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
    for text in dict.fromkeys(sources):
        path = Path(text)
        if path.is_dir():
            files, others = _files_of(path)
            inputs += [Input(Source(str(file)), *_place(file.relative_to(path))) for file in files]
            skipped += others
        else:
            inputs.append(_input(text))
    inputs += [_input(text)._replace(split=None) for text in against]
    names = Counter(given.name for given in inputs)
    inputs = [given if names[given.name] == 1 else given._replace(name=given.source.text) for given in inputs]
    return Inputs(inputs, name_of(sources[0]), skipped)


def _input(text: str) -> Input:
    source = parse_source(text)
    if not source.name:
        return Input(source, split_of(Path(text).name), Path(text).name)
    found = Input(source, split_of(str(source.options.get("split", TRAIN))) if is_hub(source) else TRAIN, text)
    if found.is_generated and TASKS[source.name].demonstrates:
        raise RlsdError(
            f"`{source.name}` holds several demonstrations of one question, which are no duplicates",
            hint=f"`rlsd train --mode sft data={text}` trains on it as it is",
        )
    return found


def _place(path: Path) -> tuple[str, str]:
    """The split of a file in a folder, by its own name or else by that of a folder it is in, and the path as a name."""
    splits = [split_of(part) for part in (path.name, *reversed(path.parent.parts))]
    return next((split for split in splits if split != TRAIN), TRAIN), str(path)


def _files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    inside = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
    files = [path for path in inside if suffix_of(path.name) in SUFFIXES and path.name not in NOT_PROBLEMS]
    if not files:
        raise RlsdError(f"{folder} holds no problem file", hint=f"they end in {', '.join(SUFFIXES)}")
    return files, [path for path in inside if path not in files]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def split_of(name: str) -> str:
    """The split that a name opens with, as `test-00000-of-00001.parquet` does; `train` if none of `EVALUATION`."""
    word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return word if word in EVALUATION else TRAIN


def name_of(text: str) -> str:
    """What to call the result: by the name of a file, a folder or a data set of the hub; of a task with its knobs."""
    source = parse_source(text)
    if source.name:
        return re.sub(r"[^\w.-]+", "-", source.name if is_hub(source) else text)
    name = Path(text).resolve().name
    return name.removesuffix(".gz").removesuffix(suffix_of(name)) if suffix_of(name) in SUFFIXES else name


def describe(given: Input) -> dict[str, Any]:
    """A source as a manifest names it: by the content of a file, a commit of the hub, or the version of a package."""
    source, path = given.source, Path(given.source.text)
    use = {"split": given.split} if given.split else {"use": "overlap"}
    if not source.name:
        return {**use, "file": given.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
    if is_hub(source):
        return {**use, **hub_data(source)._asdict()}
    return {**use, "source": source.text, "package": package_version(source.name)}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
