"""Problems of the package `reasoning-gym`: about a hundred tasks, each with a generator and a scorer.

They are made in a process of their own, whose hashes are fixed: some generators go through sets of text, so that in
two ordinary processes one seed makes two problems. What they print goes nowhere, and what they import stays there.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from itertools import count
from typing import Any

from rlsd_cli.data.packages import find_package
from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, did_you_mean

SIZE, SEED = 1000, 0

Settings = Mapping[str, int | float | str]


def load_gym(task: str, settings: Settings) -> list[Problem]:
    """`size` problems of a task from `seed`, less repeated questions; other settings are fields of its configuration.

    Each has the verifier `gym`, and its entry as the `tests`. `solution` is the worked text, which `gsm_symbolic` alone
    has. Where a task has no one answer, `answer` is an example that its scorer accepts, or empty if it gives none
    (`boxnet`, `rush_hour`).

    Raises:
        RlsdError: the package is missing (exit code 3), there is no such task or setting, or the task cannot be graded.
    """
    kept: dict[str, Problem] = {}
    for row in _ask({"task": task, "settings": dict(settings)}):
        kept.setdefault(row["question"], Problem(fingerprint=content_hash(row["question"]), verifier="gym", **row))
    return [*kept.values()]


def gym_tasks() -> list[str]:
    """The names of the tasks that `load_gym` makes. Raises RlsdError if the package is missing (exit code 3)."""
    return [*map(str, _ask({}))]


def _ask(request: Mapping[str, Any]) -> list[Any]:
    """The reply of `answer` in another process."""
    find_package("gym")
    code = f"import sys; sys.path[:] = {sys.path!r}; from rlsd_cli.data.gym import serve; serve()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONHASHSEED": "0"},
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise RlsdError(f"reasoning-gym failed: {last}", exit_code=EXIT_MACHINE)
    reply = json.loads(done.stdout)
    if isinstance(reply, dict):
        raise RlsdError(reply["message"], hint=reply["hint"])
    return list(reply)


def serve() -> None:
    """Answer the request on stdin on stdout, where nothing else is printed."""
    request = json.load(sys.stdin)
    try:
        with redirect_stdout(sys.stderr):
            reply: object = answer(**request)
    except RlsdError as error:
        reply = {"message": error.message, "hint": error.hint}
    json.dump(reply, sys.stdout)


def answer(task: str | None = None, settings: Settings | None = None) -> list[Any]:
    """The names of the tasks, or the rows of one. Imports reasoning-gym."""
    from rlsd_verifiers.gym import TASKS, UNUSABLE

    names = sorted(TASKS.keys() - UNUSABLE.keys())
    if task is None:
        return names
    if task in UNUSABLE:
        raise RlsdError(f"the task `{task}` of reasoning-gym cannot be used: {UNUSABLE[task]}")
    if task not in TASKS:
        raise RlsdError(f"reasoning-gym has no task `{task}`", hint=did_you_mean(task, names))
    dataset, config = TASKS[task]
    given = _read_settings(task, config, {"size": SIZE, "seed": SEED, **(settings or {})})
    try:
        checked = config(**given)
        if hasattr(checked, "validate"):
            checked.validate()
        made = dataset(config=checked)
        entries = [made[index] for index in range(made.size)]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise RlsdError(f"the task `{task}` of reasoning-gym cannot be made with these settings: {reason}") from error
    return [*_rows(task, given, entries)]


def _read_settings(task: str, config: Any, settings: Settings) -> dict[str, Any]:
    """Settings checked against the fields of a configuration. Lists and tables cannot be set."""
    defaults = {field.name: _default(field) for field in dataclasses.fields(config)}
    plain = [name for name, value in defaults.items() if not isinstance(value, list | tuple | dict)]
    for name in settings:
        if name not in plain:
            reason = "that is set by a list or a table" if name in defaults else "no such setting"
            hint = did_you_mean(name, plain) or f"settings: {', '.join(plain)}"
            raise RlsdError(f"`gym:{task}`: `{name}`: {reason}", hint=hint)
    for name in ("size", "seed"):
        value = settings[name]
        if not isinstance(value, int) or value < (name == "size"):
            raise RlsdError(f"`gym:{task}`: `{name}` must be a whole number{' from 1' if name == 'size' else ''}")
    return {name: _as(task, name, value, defaults[name]) for name, value in settings.items()}


def _default(field: Any) -> object:
    made = field.default_factory is not dataclasses.MISSING
    return field.default_factory() if made else field.default


def _as(task: str, name: str, value: int | float | str, default: object) -> object:
    """A setting in the type of its default: a truth value is one, and text is no number."""
    truth = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
    fits = {bool: truth is not None, int: isinstance(value, int), float: isinstance(value, int | float)}
    if not fits.get(type(default), True):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise RlsdError(f"`gym:{task}`: `{name}` must be {kind}, found `{value}`")
    return truth if isinstance(default, bool) else value


def _rows(task: str, settings: Mapping[str, Any], entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The fields of a problem for every entry. An example is its answer only if the scorer accepts it."""
    from rlsd_sandbox.values import NotPlainError, decode, encode
    from rlsd_verifiers.gym import FULL_MARKS, scorer

    beyond = {name: value for name, value in settings.items() if name not in ("size", "seed")}
    score = scorer(task, beyond)
    for index, entry in zip(count(), entries):
        try:
            encoded = json.loads(json.dumps(encode(_plain(entry))))
        except NotPlainError as error:
            raise RlsdError(f"the task `{task}` of reasoning-gym cannot be graded: its entries hold {error}") from error
        given = _example(entry) if entry["answer"] is None else str(entry["answer"])
        accepted = entry["answer"] is not None or (given and score(given, decode(encoded)) >= FULL_MARKS)
        yield {
            "id": f"{task}/{settings['seed']}/{index}",
            "question": entry["question"],
            "answer": given if accepted else "",
            "solution": entry["metadata"].get("answer_cot"),
            "tests": [{"task": task, "settings": beyond, "entry": encoded}],
        }


def _plain(value: Any) -> Any:
    """A value with the parts that are no builtin values, such as fractions, as their text."""
    from rlsd_sandbox.values import NotPlainError, encode

    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    try:
        encode(value)
    except NotPlainError:
        return str(value)
    return value


def _example(entry: dict[str, Any]) -> str:
    """The answer that an entry without one gives as an example, under a name that differs by task."""
    names = ("example_correct_answer", "example_answer", "possible_answer")
    found = next((entry["metadata"][name] for name in names if entry["metadata"].get(name)), "")
    return found if isinstance(found, str) else json.dumps(found)
