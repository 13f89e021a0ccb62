"""The `gym` verifier: an answer is right if the scorer of its reasoning-gym task gives it full marks.

`tests` is `[{"task": name, "settings": {...}, "entry": ...}]`: the task, what its configuration has beyond the
defaults, and the entry that its generator made, in the form of `rlsd_sandbox.values`, which keeps tuples and whole
numbers as keys where JSON does not. Loading this module takes seconds: it imports reasoning-gym, and in a worker sets
up every scorer, so that no row pays for that out of its time.

Some scorers hand the answer to `eval` or to sympy's `parse_expr`, which evaluates it too. Within reasoning-gym both are
replaced here by functions that take literals and arithmetic, and formulas, and no other names.
"""

import ast
import functools
import importlib
import json
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from rlsd_sandbox.values import NotPlainError, decode
from rlsd_verifiers.extract import extract, only_line, why_no_answer
from rlsd_verifiers.verdict import Outcome, Submission, Verdict, shorten

FULL_MARKS = 1 - 1e-9

UNUSABLE: Mapping[str, str] = {
    "composite": "it is made of other tasks: name one of those",
    "codeio": "making its problems runs programs outside the sandbox",
    "coin_flip": "its scorer takes 0 for every probability below 1",
    "complex_arithmetic": "its scorer takes `nan` for every number",
    "game_of_life_halting": "its scorer takes any text",
    "puzzle24": "its scorer takes any four numbers that make 24",
}
"""Tasks that are neither offered nor graded, and why."""

Scorer = Callable[[str | None, dict[str, Any]], float]


class BadEntryError(ValueError):
    """Tests that are no entry of a task; the message says why."""


def grade_gym(submission: Submission) -> Verdict:
    """Grade by the task's own scorer: full marks for the extracted answer are right, all others wrong.

    Partial marks are named in the reason and give no score: most scorers give them for the form, and some to a guess
    that holds the answer among others. A scorer that fails on an answer cannot read it, unless it fails on the
    reference too.
    """
    try:
        task, score, encoded = _read(submission.tests)
        reference = _entry(encoded).get("answer")
    except BadEntryError as error:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, f"tests: {error}")
    found = extract(submission.response, last_number=False) or only_line(submission.response)
    if found is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, why_no_answer(submission.response))
    what = f"`{shorten(found.text)}` ({found.rule})"
    try:
        marks = float(score(found.text, _entry(encoded)))
    except MemoryError:
        raise
    except Exception as error:
        outcome = Outcome.UNPARSEABLE if _grades(score, reference, _entry(encoded)) else Outcome.BAD_REFERENCE
        return Verdict(outcome, 0.0, found.text, f"the scorer of `{task}` failed with {type(error).__name__} on {what}")
    right = marks >= FULL_MARKS
    reason = f"{what} gets {'full marks' if right else f'{marks:.2g} of 1'} in `{task}`"
    return Verdict(Outcome.CORRECT if right else Outcome.WRONG, float(right), found.text, reason)


def scorer(task: str, settings: Mapping[str, Any]) -> Scorer:
    """The scorer of a task with these settings.

    Raises:
        BadEntryError: there is no such task, it is `UNUSABLE`, or it does not take the settings.
    """
    if task in UNUSABLE:
        raise BadEntryError(f"the task `{task}` cannot be used: {UNUSABLE[task]}")
    if task not in TASKS:
        raise BadEntryError(f"reasoning-gym has no task `{shorten(task)}`")
    try:
        return _scorer(task, json.dumps(settings, sort_keys=True))
    except Exception as error:
        raise BadEntryError(f"the task `{task}` does not take these settings: {shorten(str(error), 200)}") from error


@functools.cache
def _scorer(task: str, settings: str) -> Scorer:
    dataset, config = TASKS[task]
    return dataset(config=config(**json.loads(settings))).score_answer  # type: ignore[no-any-return]


def _read(tests: object) -> tuple[str, Scorer, Any]:
    row = tests[0] if isinstance(tests, list) and len(tests) == 1 else None
    if not isinstance(row, dict) or not isinstance(row.get("task"), str) or "entry" not in row:
        raise BadEntryError("expected one object with `task` and `entry`")
    settings = row.get("settings") or {}
    if not isinstance(settings, dict):
        raise BadEntryError("`settings` is no object")
    return row["task"], scorer(row["task"], settings), row["entry"]


def _entry(encoded: object) -> dict[str, Any]:
    """A copy of the entry of its own for every call: scorers may change what they are given."""
    try:
        entry = decode(encoded)
    except NotPlainError as error:
        raise BadEntryError(f"`entry` cannot be read: {error}") from error
    if not isinstance(entry, dict):
        raise BadEntryError("`entry` is no object")
    return entry


def _grades(score: Scorer, reference: str | None, entry: dict[str, Any]) -> bool:
    try:
        score(reference, entry)
    except MemoryError:
        raise
    except Exception:
        return False
    return True


_LITERALS = (
    ast.Expression,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Load,
    ast.UnaryOp,
    ast.unaryop,
    ast.BinOp,
    ast.operator,
)

_FORMULA = re.compile(r"(?:[A-Za-z_]\w*+|\d++(?:\.\d*+)?|\.\d++|[-+*/^(),!\s])*+", re.ASCII)
_FUNCTIONS = frozenset(
    "pi exp log ln sqrt cbrt root abs Abs sign factorial binomial gamma erf erfi Si Ci Ei li "
    "sin cos tan cot sec csc asin acos atan acot arcsin arccos arctan sinh cosh tanh asinh acosh atanh".split()
)


def literal(text: str) -> Any:
    """`eval` for literals, lists and arithmetic. Raises ValueError for anything that has a name or a call in it."""
    tree = ast.parse(text.strip(), mode="eval")
    for node in ast.walk(tree):
        if not isinstance(node, _LITERALS):
            raise ValueError(f"{type(node).__name__} in an answer")
    return eval(compile(tree, "answer", "eval"), {"__builtins__": {}})


def formula(text: str, *arguments: Any, **options: Any) -> Any:
    """sympy's `parse_expr` for numbers, one-letter variables, the usual functions and arithmetic; else ValueError."""
    names = re.findall(r"[A-Za-z_]\w*", text)
    if not _FORMULA.fullmatch(text) or not all(name in _FUNCTIONS or len(name) == 1 for name in names):
        raise ValueError("no plain formula")
    return _sympy.parse_expr(text, *arguments, **options)


def _refuse(*_: object, **__: object) -> None:
    raise ValueError("this would run an answer")


def _disarm() -> None:
    """Replace what evaluates text, in reasoning-gym alone: a module's own `eval` hides the builtin."""
    harmless = types.ModuleType("sympy")
    vars(harmless).update(vars(_sympy), parse_expr=formula, sympify=formula, S=formula)
    replaced = {id(_sympy): harmless, id(_sympy.parse_expr): formula, id(_sympy.sympify): formula}
    for name, module in [*sys.modules.items()]:
        if name.partition(".")[0] == "reasoning_gym":
            for key, value in [*vars(module).items()]:
                if id(value) in replaced:
                    setattr(module, key, replaced[id(value)])
            vars(module).update(eval=literal, exec=_refuse)


try:
    TASKS: dict[str, Any] = importlib.import_module("reasoning_gym.factory").DATASETS
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("reasoning-gym is not installed: `pip install 'rlsd[gym]'`") from error
_sympy: Any = importlib.import_module("sympy")
_disarm()
if "rlsd_verifiers.worker" in sys.modules:
    for _task in TASKS.keys() - UNUSABLE.keys():
        _scorer(_task, "{}")
