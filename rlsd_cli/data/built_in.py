"""The list of built-in sources of problems."""

from typing import Any

from rlsd_cli.data.layouts import LAYOUTS
from rlsd_cli.data.sources import BENCHMARKS
from rlsd_cli.data.tasks import TASKS


def built_in() -> list[dict[str, Any]]:
    """List tasks with their knobs, benchmarks, other sources and layouts, a row each."""
    tasks = [
        {
            "name": name,
            "kind": "task",
            "problems": task.num_problems,
            "about": task.summary,
            "options": "  ".join(
                f"{key}={knob.default} ({knob.low}..{knob.high}: {knob.meaning})" for key, knob in task.knobs.items()
            ),
        }
        for name, task in TASKS.items()
    ]
    others = [
        *(("benchmark", name, (load.__doc__ or "").split("; ")[0]) for name, load in BENCHMARKS.items()),
        ("package", "gym:TASK", "a task of reasoning-gym with its settings, e.g. gym:gsm_symbolic:size=500"),
        ("hub", "OWNER/NAME", "a data set of the hub, e.g. openai/gsm8k:main:split=train:revision=main"),
        *(("layout", name, f"rows with {layout.summary}") for name, layout in LAYOUTS.items()),
    ]
    return tasks + [
        {"name": name, "kind": kind, "problems": None, "about": about, "options": ""} for kind, name, about in others
    ]
