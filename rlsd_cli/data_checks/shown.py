"""One problem as the student, the teacher and the verifier read it."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import preset_names, split_arguments
from rlsd_cli.config.schema import Config
from rlsd_cli.data.jsons import plain
from rlsd_cli.data.problems import Found, Problem, to_row
from rlsd_cli.data.prompts import prompt_ids, student_text, teacher_text
from rlsd_cli.data.sources import parse_source, read_source
from rlsd_cli.data.views import OF_PROBLEMS
from rlsd_cli.data_checks.check import Checked, Checking
from rlsd_cli.data_checks.check_views import Reading
from rlsd_cli.data_checks.reading import reading_of, resolve_for, sandboxed
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.grading.explain import explain
from rlsd_cli.grading.jobs import as_answer, is_unsolved, open_pool, submission

MAX_REMEMBERED = 10_000
"""Ids that a mistyped one is compared with."""


class View(NamedTuple):
    """A prompt: its text and tokens (None: unknown), or why there is none."""

    text: str | None
    tokens: int | None = None
    fault: str | None = None


class Shown(NamedTuple):
    """A row: the record of its problem, or where it is and why it holds none."""

    record: dict[str, Any] | None
    where: str
    fault: str | None = None

    def as_json(self) -> Any:
        return plain(self.record)


def show_problem(source: str, arguments: list[str]) -> Shown:
    """Find a problem by the ID among the arguments, and record its fields, both views and its verifier's verdicts."""
    wanted, rest = _split(arguments)
    resolved = resolve_for(rest)
    config, reading = resolved.config, reading_of(resolved)
    found = find(read_source(parse_source(source)), wanted, source)
    if found.problem is None:
        return Shown(None, found.where, found.fault)
    with open_pool(config) as pool:
        checked = next(each for each in Checking(sandboxed([found], config), config, pool, reading) if each)
    return Shown(_record(found.problem, checked, config, reading), found.where)


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The ID among the arguments, if there is one, and the rest: presets, `.toml` files and `key=value`."""
    targets, _ = split_arguments(arguments)
    presets = preset_names()
    ids = [target for target in targets if target not in presets and not target.endswith(".toml")]
    if len(ids) > 1:
        hint = did_you_mean(ids[1], presets) or "`rlsd presets list` shows the presets"
        raise RlsdError(f"one problem is shown at a time, not {len(ids)}: {', '.join(ids)}", hint=hint)
    return (ids[0] if ids else None), [argument for argument in arguments if argument not in ids]


# -- which one -----------------------------------------------------------------------------------------------------


def find(rows: Iterable[Found], wanted: str | None, source: str) -> Found:
    """The row with this id, else with this number, else the only one whose id begins so; the first if None is wanted.

    Raises:
        RlsdError: there is none, or several ids begin so.
    """
    numbered: Found | None = None
    beginning: dict[str, Found] = {}
    ids: list[str] = []
    for found in rows:
        name = found.problem.id if found.problem else None
        if wanted is None or name == wanted:
            return found
        if numbered is None and row_number(found.where) == wanted:
            numbered = found
        if name is not None and name.startswith(wanted) and len(beginning) < 4:
            beginning.setdefault(name, found)
        if name is not None and len(ids) < MAX_REMEMBERED:
            ids.append(name)
    if wanted is None:
        raise RlsdError(f"{source} holds no problems")
    if numbered:
        return numbered
    if len(beginning) == 1:
        return next(iter(beginning.values()))
    if beginning:
        names = [f"`{name}`" for name in beginning]
        raise RlsdError(f"several ids begin with `{wanted}`: {', '.join(names[:3])}{', ...' if names[3:] else ''}")
    known = f"its first ids: {', '.join(f'`{name}`' for name in ids[:3])}; or the number of a row"
    raise RlsdError(f"no problem `{wanted}` in {source}", hint=(did_you_mean(wanted, ids) or known) if ids else None)


def row_number(where: str) -> str | None:
    """The number at the end of a place, such as 17 in `train.jsonl:17` and 5 in `t.parquet: row 5`."""
    match = re.search(r"(\d+)\]?$", where)
    return match[1] if match else None


# -- what is shown -------------------------------------------------------------------------------------------------


def _record(problem: Problem, checked: Checked, config: Config, reading: Reading) -> dict[str, Any]:
    return {
        "where": checked.found.where,
        "id": problem.id,
        "fields": to_row(problem),
        "rest": dict(checked.found.rest),
        "student": _view(student_text(problem, config), config, reading)._asdict(),
        "teacher": _teacher_view(problem, config, reading)._asdict(),
        "verifier": _verified(problem, checked, config),
        "flags": [flag._asdict() | {"kind": "fault" if flag.is_fault else "note"} for flag in checked.flags],
    }


def _teacher_view(problem: Problem, config: Config, reading: Reading) -> View:
    try:
        return _view(teacher_text(problem, config), config, reading)
    except RlsdError as error:
        missing = f"there is no `{config.teacher.view}`, which the teacher is shown"
        return View(None, fault=missing if config.teacher.view in OF_PROBLEMS else error.message)


def _view(text: str, config: Config, reading: Reading) -> View:
    """The user message, or with a tokenizer everything that the model reads, special tokens and all."""
    if reading.tokenizer is None:
        return View(text)
    ids = prompt_ids(text, config, reading.tokenizer)
    return View(reading.tokenizer.decode(ids), len(ids))


def _verified(problem: Problem, checked: Checked, config: Config) -> dict[str, Any]:
    own, name = checked.own, checked.verifier
    if own is None or name is None:
        return {"name": name, "accepts_itself": None, "rejects_perturbed": None, "tried": []}
    graded_by = config.model_copy(update={"verifier": problem.verifier or config.verifier})
    steps = dict(explain(submission(problem, as_answer(problem, config)), name, own, graded_by))
    rejected = not all(each.verdict.correct for each in checked.tried) if checked.tried else None
    return {
        "name": name,
        "steps": {step: steps[step] for step in ("verifier", "reference", "extracted") if steps[step]},
        "outcome": str(own.outcome),
        "reason": own.reason,
        "accepts_itself": None if is_unsolved(problem, own, config) else own.correct is True,
        "rejects_perturbed": rejected,
        "tried": [
            {"answer": each.change.words, "outcome": str(each.verdict.outcome), "reason": each.verdict.reason}
            for each in checked.tried
        ],
    }
