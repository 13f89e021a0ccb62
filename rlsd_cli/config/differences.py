"""Where two configs differ, key by key."""

from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import resolve
from rlsd_cli.config.schema import Config, flatten


class Difference(NamedTuple):
    """A key whose values differ. `only`: the side, 0 or 1, whose method alone reads the key; None where both do."""

    key: str
    first: Any
    second: Any
    only: int | None = None

    def row(self) -> tuple[str, str, str]:
        """The key and both values, `-` where the method does not read it."""
        first, second = ("-" if self.only == 1 - side else repr(value) for side, value in enumerate(self[1:3]))
        return self.key, first, second


def differences(first: Config, second: Config) -> list[Difference]:
    """The keys whose values differ, and those that the method of one side alone reads, in the order of the tree."""
    one, other = flatten(first), flatten(second)
    found = []
    for key in dict.fromkeys([*one, *other]):
        only = None if key in one and key in other else 0 if key in one else 1
        if only is not None or one[key] != other[key]:
            found.append(Difference(key, one.get(key), other.get(key), only))
    return found


def config_named(target: str, root: Path) -> Config:
    """The config of a preset, a file, or a run by path or name.

    Raises:
        RlsdError: there is none of this name.
    """
    folders = [folder for folder in (Path(target), root / target) if (folder / "status.json").is_file()]
    return resolve([str(folders[0] / "config.toml") if folders else target], {}).config
