"""`rlsd data list`: what is built in."""

from typing import Annotated, Any

import typer

from rlsd_cli import console


def list_sources(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List tasks with their knobs, other sources, and the layouts of files that are recognised."""
    rows = [*_rows()]
    if as_json:
        console.data_json(rows)
        return
    header = ("name", "kind", "problems", "about", "options")
    console.table(header, [["" if row[key] is None else row[key] for key in header] for row in rows])


def _rows() -> "list[dict[str, Any]]":
    from rlsd_cli.data.layouts import LAYOUTS
    from rlsd_cli.data.sources import BENCHMARKS
    from rlsd_cli.data.tasks import TASKS

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
