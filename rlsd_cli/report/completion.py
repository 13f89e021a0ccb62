"""Words that a command with `PRESET key=value` may go on with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from rlsd_cli.config.resolve import FIELDS, preset_names
from rlsd_cli.data.tasks import TASKS
from rlsd_cli.methods.table import METHODS
from rlsd_cli.policy.catalog import catalog
from rlsd_cli.runs.rundir import list_runs


def names(begun: str, root: Path) -> Iterator[str]:
    """Presets and keys; behind the `=` of a key the values that it may have."""
    key, equals, _ = begun.partition("=")
    if not equals:
        yield from preset_names()
        yield from (f"{key}=" for key in FIELDS)
    elif key in FIELDS:
        yield from (f"{key}={value}" for value in _values(key, root))


def _values(key: str, root: Path) -> Iterator[str]:
    if key == "method":
        yield from METHODS
    elif key in ("data", "eval_data"):
        yield from TASKS
    elif key == "model":
        yield from (model.name for model in catalog())
        yield from (run.name for run in list_runs(root))
    else:
        annotation = FIELDS[key].annotation
        for option in (annotation, *get_args(annotation)):
            if get_origin(option) is Literal:
                yield from map(str, get_args(option))
            elif option is bool:
                yield from ("true", "false")
