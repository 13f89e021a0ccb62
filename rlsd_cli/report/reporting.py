"""What `rlsd report` writes: a page, its twin in JSON, and charts."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import known_method
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.report.contents import contents, title
from rlsd_cli.report.page import page, rollouts_data
from rlsd_cli.report.rollouts import shown_of, with_methods
from rlsd_cli.report.sides import Arm, arms_of
from rlsd_cli.runs.rundir import RunDir


class Wanted(NamedTuple):
    """What goes into a report.

    rollouts: how many are shown with their tokens; methods, alternatives: what is asked about them by a replay
    png: a folder for the charts
    """

    suites: Sequence[str] | None = None
    step: int | None = None
    rollouts: int = 256
    methods: str | None = None
    alternatives: int = 0
    png: Path | None = None


def write_report(names: Sequence[str], root: Path, out: Path, wanted: Wanted) -> Iterator[str]:
    """Write the page and its twin; lines on what else there is to say.

    Raises:
        RlsdError: a name is no run, they share no evaluation, or a file cannot be written.
    """
    arms, notes = arms_of(names, root, wanted.step)
    data = contents(arms, notes, wanted.suites)
    yield from data["verdict"]
    shown, chunks = _rollouts(arms, wanted)
    told = None if shown is None else {key: shown[key] for key in ("run", "step", "methods", "skipped")}
    if data["problems"]:
        chunks["problems"] = data["problems"].pop("responses")
    heading = title(arms)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(heading, data | {"rollouts": shown}, chunks), encoding="utf-8")
        out.with_suffix(".json").write_text(
            json.dumps({"title": heading, **data, "rollouts": told}, indent=1) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise RlsdError(f"cannot write {out}: {error.strerror}", exit_code=EXIT_MACHINE) from error
    if wanted.png:
        from rlsd_cli.report.pictures import draw

        draw(data["curves"], [arm.name for arm in arms], wanted.png)
        yield f"charts in {wanted.png}"


def _rollouts(arms: Sequence[Arm], wanted: Wanted) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The rollouts of the last run that has any: whole groups, as many as are asked for."""
    run = next((side.run for arm in reversed(arms) for side in arm.sides if side.run and _has_rollouts(side.run)), None)
    if run is None or not wanted.rollouts:
        return None, {}
    shown = shown_of(run, wanted.step)
    kept = {each.record.group for each in shown[: wanted.rollouts]}
    methods = [known_method(part.strip()).name for part in wanted.methods.split(",")] if wanted.methods else []
    whole = [each for each in shown if each.record.group in kept]
    chosen, skipped = with_methods(whole, run, methods, wanted.alternatives)
    said = [name for name in dict.fromkeys(methods) if any(name in each.signals for each in chosen)]
    return rollouts_data(run, chosen, said, skipped)


def _has_rollouts(run: RunDir) -> bool:
    return next(run.path.glob("rollouts/*.jsonl.gz"), None) is not None
