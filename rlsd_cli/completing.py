"""What a shell completes: presets, keys, methods, runs, models, tasks. Nothing that is loaded for it loads torch."""

from collections.abc import Iterable
from pathlib import Path

import typer


def _beginning(incomplete: str, *names: Iterable[str]) -> list[str]:
    return sorted({name for some in names for name in some if name.startswith(incomplete)})


def methods(incomplete: str) -> list[str]:
    """Methods and their other names."""
    from rlsd_cli.methods.table import ALIASES, METHODS

    return _beginning(incomplete, METHODS, ALIASES)


def presets(incomplete: str) -> list[str]:
    """Presets."""
    from rlsd_cli.config.resolve import preset_names

    return _beginning(incomplete, preset_names())


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Runs under the root."""
    from rlsd_cli.runs.rundir import list_runs

    return _beginning(incomplete, (run.name for run in list_runs(_root(context))), ["latest"])


def presets_and_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Presets, and keys with their `=`; behind that the values that a key may have, as far as they can be listed."""
    from rlsd_cli.report.completion import names

    return _beginning(incomplete, names(incomplete, _root(context)))


def subjects(context: typer.Context, incomplete: str) -> list[str]:
    """What is evaluated: runs, models, presets, keys."""
    return sorted({*runs(context, incomplete), *presets_and_keys(context, incomplete)})


def _root(context: typer.Context) -> Path:
    """The root that was typed, or the default: callbacks do not run while a shell completes."""
    parent = context.find_root()
    return Path(parent.params.get("root_dir") or "runs")
