"""Shapes in the annotations of `rlsd_cli.core` are checked while these tests run.

The modules are executed again when something imported them before: same module objects, so whoever holds one of their
functions still shares the classes it returns.
"""

import importlib
import sys

from jaxtyping import install_import_hook

MODULES = (
    "advantages",
    "evidence",
    "ratios",
    "rewards",
    "credit",
    "contrast",
    "gates",
    "token_rules",
    "future_kl",
    "divergences",
    "schedules",
    "surrogates",
    "weights",
)
"""Each after those that it imports."""

with install_import_hook("rlsd_cli.core", "beartype.beartype"):
    for name in (f"rlsd_cli.core.{module}" for module in MODULES):
        if name in sys.modules:
            importlib.reload(sys.modules[name])
        else:
            importlib.import_module(name)
