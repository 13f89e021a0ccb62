"""The table of methods: every module of this package that has a `METHOD`, and the names it is asked for by."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import rlsd_cli.methods as package
from rlsd_cli.methods.base import Method

ORDER = ("rlvr", "opsd", "rlsd", "sft")
"""Those that come first in lists; the others follow by name."""


def _found() -> Iterator[Method]:
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if isinstance(method := getattr(importlib.import_module(module.name), "METHOD", None), Method):
            yield method


def _place(method: Method) -> tuple[int, str]:
    return ORDER.index(method.name) if method.name in ORDER else len(ORDER), method.name


METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in sorted(_found(), key=_place)})
ALIASES: Mapping[str, str] = MappingProxyType(
    {alias: method.name for method in METHODS.values() for alias in method.aliases}
)
